"""Model folders: what a model says of itself beside its weights, as one card.

``model_folder`` first: it reads folders of timm's hub format (``timm_folder``) and of transformers
(``transformers_folder``, with ``preprocessor_config`` for images). ``hub_folder``: the same of
models of the hub, by ``org/name``. No torch is needed.
"""
