"""A study's config as a person wrote it: where in the file a key stands, and what is wrong with it.

``strict_yaml`` reads any YAML of ours, each key once. Read ``lines``, then ``schema_words``, then
``answers``. Nothing here knows what a key means: that is the schema's
(``config/schemas/config.schema.yaml``) and the study's.
"""
