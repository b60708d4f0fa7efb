"""The one pass on a GPU: images through a backbone, what it showed into a store.

``run`` is a job's pass from its inputs to its receipt, ``loop`` the loop inside (reader thread,
device, writer threads) with ``spans`` (chunks that go through the model together) and ``finite``
(what is looked at in each number), ``token_bank`` what is kept of a large data set.
"""
