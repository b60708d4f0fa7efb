"""Claim 5: how well images are classified, by linear heads and by k nearest neighbours.

``features`` reads what a pass left behind, ``linear`` trains heads on it, ``knn`` needs none,
``published_heads`` are those that others released.
"""
