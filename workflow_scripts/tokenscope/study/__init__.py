"""What a config asks for: backbones, data sets and the sections of the papers, cut into jobs.

Snakemake asks for all of it while it builds the graph, so nothing here imports torch, numpy or
pandas. Read ``study`` first (the whole config), then ``zoo`` (rows of backbones), ``architecture``
(facts about them), ``flops`` (what a forward pass costs) and ``paths`` (where results lie); then
one module for each section.
"""
