"""Files that are whole or absent: Zarr stores, their receipts, checkpoints, and who owns them.

``zarr_store`` writes and reads groups of tokens, ``raw_chunks`` those of their chunks that have no
codec, ``hierarchy`` joins groups, ``maps_file`` is what figures are drawn from; ``checksums``
compares every file that is read, ``verification`` and ``mending`` look after those that are not,
``receipts`` says that they are complete and of what, ``lock`` lets one job at a time own unfinished
work, ``checkpoint`` keeps that of a training.
"""
