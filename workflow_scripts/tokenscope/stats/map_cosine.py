"""Cosine similarity of two maps of an image."""

import numpy as np


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of two maps of each image, their means removed: (image,)."""
    a, b = (maps - maps.mean(1, keepdims=True) for maps in (first, second))
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
