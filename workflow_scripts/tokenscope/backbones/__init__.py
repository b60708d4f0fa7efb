"""Vision Transformers: opened with their weights, and made to show what happens inside.

``loading`` opens one; ``hooks``, ``attention`` and ``qkv_hooks`` read tokens, attention maps and
q, k, v out of a forward pass; ``registers`` adds new ones to be trained, ``test_time_registers``
without training, from neurons that ``neuron_search`` finds; ``planted_controls`` makes the
ViTs whose answer is known.
"""
