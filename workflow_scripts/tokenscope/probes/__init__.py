"""Claim 4: linear probes of what tokens know of their place, their pixels and the class.

Tables 1 (position), 2 (pixels) and 3 (class) of the main paper, "On the Reproducibility of Vision
Transformers Need Registers".

``questions`` puts the three questions, ``tasks`` says what each predicts, ``token_rows`` whose
tokens are asked, ``trainer`` fits many probes as one, ``logistic_regression`` is the other recipe.
From the measured rows, tokenscope.tables.probe_tables makes the three tables.
"""
