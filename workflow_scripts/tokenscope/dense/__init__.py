"""Dense tasks: linear heads for segmentation (ADE20K) and depth (NYUd) on frozen patch tokens.

``linear_eval`` trains and tests them, ``heads`` are the heads and their losses, ``crops`` how
images reach them, ``map_datasets`` the data sets with label or depth maps, ``metrics`` what one
image gives, ``scores`` what a test set gives. ``smoothness`` needs no head.
"""
