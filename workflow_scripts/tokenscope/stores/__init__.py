"""Files that are whole or absent: Zarr stores, their receipts, checkpoints, and who owns them.

``zarr_store`` writes and reads groups of tokens, ``checksums`` compares every file that is read,
``receipts`` says that they are complete and of what, ``lock`` lets one job at a time own unfinished
work, ``checkpoint`` keeps that of a training.
"""
