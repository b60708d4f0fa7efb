"""Claims 1 to 3: which patch tokens are outliers, from which block on, and are they redundant.

``token_norms`` reads a store, ``outlier_rule`` says who is an outlier, ``outliers`` has all rules
side by side with intervals, ``exceedance`` exact counts above a ladder of thresholds,
``redundancy`` claim 3, ``emergence`` the norms while a backbone is trained.
"""
