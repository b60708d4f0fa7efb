"""From files as they lie on a cluster to the uint8 squares that a backbone sees.

In the order of the data: ``layouts`` (what lies where), ``manifest`` (index), ``sample`` (a seeded
choice, every image checked), ``preprocess`` with ``geometry`` (decoding as timm's evaluation does),
``readers`` (what a job reads). Labels: ``label_files``, ``label_space``.
"""
