"""Verdicts by written criteria: what the tables say of what was published.

Read ``criteria`` (what a criterion may say), ``evidence`` (numbers behind it), ``testing`` (when a
number decides, over many backbones together), ``conditions`` (when it means nothing), ``engine``
(the lines of a statement), ``table`` (all of it as a table), ``simulation`` (how often it errs).
"""
