"""Object discovery: LOST on the tokens of a backbone, scored by CorLoc.

``lost`` is the method, ``sweep`` every setting of it in one pass, ``box_iou`` the score,
``box_datasets`` the data sets with boxes (VOC, COCO).
"""
