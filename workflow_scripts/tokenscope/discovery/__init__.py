"""Object discovery: LOST on the tokens of a backbone, scored by CorLoc.

``lost`` is the method, ``sweep`` every setting of it in one pass, ``box_iou`` the score of a box,
``corloc`` that of a data set, ``box_datasets`` the data sets with boxes (VOC, COCO).
"""
