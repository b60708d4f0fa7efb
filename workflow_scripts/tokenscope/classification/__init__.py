"""Claim 5: how well images are classified, by linear heads and by k nearest neighbours.

Table 4 (published heads) and Table 5 (retrained heads) of the main paper, "On the Reproducibility
of Vision Transformers Need Registers"; what registers gain is in tokenscope.tables.register_gains.

``features`` reads what a pass left behind, ``linear`` trains heads on it, ``knn`` needs none,
``published_heads`` are those that others released.
"""
