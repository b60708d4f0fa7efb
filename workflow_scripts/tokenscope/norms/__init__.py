"""Claims 1 to 3: which patch tokens are outliers, from which block on, and are they redundant.

In the order of reading: ``token_norms`` reads a store, ``outlier_rule`` says who is an outlier,
``outliers`` has all rules side by side with intervals; ``distribution`` is claims 1 and 2, with
``places`` and ``attention_maps``; ``redundancy`` is claim 3, against normal tokens of the same
images and places by ``matching``. ``register_effect`` compares a backbone with registers with the
one without, ``exceedance`` counts exactly above a ladder of
thresholds, ``emergence`` has the norms while a backbone is trained.
"""
