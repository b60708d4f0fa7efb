"""Object discovery: LOST on the tokens of a backbone, scored by CorLoc.

``lost`` is the method, ``settings`` the ways to run it, ``sweep`` all of them in one pass,
``box_iou`` the score of a box, ``corloc`` that of a data set, ``box_datasets`` the data sets with
boxes (VOC, COCO).
"""
