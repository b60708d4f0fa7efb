"""Vision Transformers: opened with their weights, and changed.

``loading`` opens one, from files of timm, of the papers or of ``huggingface``, and ``fit`` asks
whether a file would open;
``position_embedding`` fits it to other sizes; ``registers`` adds new ones to be trained,
``test_time_registers`` without training, from neurons that ``neuron_search`` finds.
"""
