"""`make diagnose`: does a backbone have artifacts, on a page of its own.

``setup`` writes the small study, ``verdict`` decides, ``page`` puts it into words.
"""
