"""Statistics over images: bootstrap intervals, accuracies from ranks, IoU of classes.

``measurement`` is a number with its interval, the form in which measures give what they found.
"""
