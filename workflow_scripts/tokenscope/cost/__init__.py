"""What a study will cost and has cost: models of time and memory, forecast, CO2, accounting.

Before: ``time_model`` and ``memory_model`` (by rule), ``calibration`` (by earlier jobs),
``job_graph``, ``schedule``, ``totals``, ``forecast``. After: ``accounting``, with ``carbon``.
"""
