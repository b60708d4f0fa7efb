"""Instrument for the tokens of Vision Transformers: open a backbone, take its tokens, read a store.

Nothing here imports Snakemake, so a notebook can use all of it. Importing the package itself is
free of heavy dependencies; torch is imported only by the modules that run a backbone.
"""

from tokenscope import garbage, lazy_compiler

garbage.put_off()
lazy_compiler.install()
