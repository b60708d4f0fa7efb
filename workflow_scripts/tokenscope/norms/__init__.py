"""Claims 1 to 3: which patch tokens are outliers, from which block on, and are they redundant.

``outliers`` has the rules side by side, ``exceedance`` exact counts above a ladder of thresholds,
``redundancy`` claim 3, ``emergence`` the norms while a backbone is trained.
"""
