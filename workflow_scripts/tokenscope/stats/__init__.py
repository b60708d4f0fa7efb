"""Statistics over images: bootstrap intervals, accuracies from ranks, IoU of classes."""
