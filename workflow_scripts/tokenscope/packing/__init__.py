"""Results that travel: a study's small files packed with their checksums, fetched, published.

Read ``archive`` (what a pack is), ``unpacking`` (whole or not at all), ``source`` (files,
addresses, DOIs), then ``card`` (what a data repository and a hub want).
"""
