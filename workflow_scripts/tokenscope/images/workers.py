"""Worker processes that read and decode images."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def forked_pool(workers: int) -> ProcessPoolExecutor:
    """Worker processes, started at once: they must be forked before torch starts its threads."""
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    list(pool.map(abs, range(workers)))
    return pool
