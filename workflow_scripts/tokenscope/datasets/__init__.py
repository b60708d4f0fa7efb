"""Data sets of images as they lie on a cluster: listed, labelled, and sampled.

``listing`` finds files by their names; ``layouts`` says what lies where (folders), ``webdataset``
and ``parquet`` list the other two; ``manifest`` is the index of all images, ``sample`` a seeded
choice, every image checked, ``overlap`` what two sets share; ``watched`` notices what has changed
since. Labels: ``label_files`` (ImageNet's, as found beside images), ``label_space`` (class numbers
by name).
"""
