"""One forward pass, and what is seen in it: forward hooks for tokens, attention maps, q, k and v.

``hooks`` takes everything the claims need, with ``attention`` (maps of CLS and registers),
``neighbour_cosine`` (claim 3) and ``tokens`` (which tokens a backbone has); ``qkv_hooks`` takes the
features of LOST, on the base ``block_hooks``. ``inputs`` makes batches of pixels, ``device``,
``precision`` and ``out_of_memory`` say how every pass runs.
"""
