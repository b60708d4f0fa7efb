"""Vision Transformers: opened with their weights, and made to show what happens inside.

``loading`` opens one; ``inputs`` and ``position_embedding`` fit images and sizes to it; ``hooks``,
``attention`` and ``qkv_hooks`` read tokens, attention maps and q, k, v out of a forward pass;
``registers`` adds new ones to be trained, ``test_time_registers`` without training;
``planted_controls`` makes the ViTs whose answer is known. ``precision`` and ``out_of_memory`` are
how every forward pass runs.
"""
