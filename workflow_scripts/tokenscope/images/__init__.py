"""From the bytes of an image to the uint8 square that a backbone sees.

``location`` says where the bytes are, ``geometry`` names what is done to them and ``preprocess``
does it, as timm's evaluation transform; ``readers`` give a job its pixels, ``workers`` decode them.
"""
