"""Model folders: what a model says of itself beside its weights, as one card.

``model_folder`` first: it reads folders of timm's hub format (``timm_folder``), of transformers
(``transformers_folder``, with ``preprocessor_config`` for images) and of open_clip
(``open_clip_folder``). ``weights_files``: weights in one file or in shards. ``hub_folder``: the
same of models of the hub, by ``org/name``. No torch is needed.
"""
