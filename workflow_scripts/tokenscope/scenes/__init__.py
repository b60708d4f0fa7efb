"""The embedded data set: small rendered scenes with exact labels, boxes and depth.

``scene`` draws one, from ``solids`` and their light (``shading``); ``file_names`` says what
its file is called.
"""
