"""Phantoms: ViTs with a known answer, and whether the instrument gives it.

``answers`` says what must be said of each, and the truth from the pixels; ``flags`` are the exact
signals they are built on, ``family`` makes them from one trained ViT, ``checks`` refuses one that
is not what its name says; ``comparison`` holds what the instrument says against what is known.
"""
