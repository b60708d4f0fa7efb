"""LOST written from its definition, to be compared with."""

import numpy as np


def reference(features, grid, bias, candidates=100):
    """LOST of one image, written from its definition with loops over patches."""
    a = features @ features.T
    a = a + bias * np.median(np.diag(a))
    n = len(a)
    degree = [sum(a[p, q] > 0 for q in range(n) if q != p) for p in range(n)]
    order = sorted(range(n), key=lambda p: (degree[p], p))
    seed = order[0]
    similar = [p for p in order[:candidates] if a[seed, p] > 0]
    mask = np.array([sum(a[s, p] for s in similar) > 0 for p in range(n)]).reshape(grid)
    todo, reached = [divmod(seed, grid[1])], set()
    while todo:
        row, column = todo.pop()
        inside = 0 <= row < grid[0] and 0 <= column < grid[1]
        if inside and mask[row, column] and (row, column) not in reached:
            reached.add((row, column))
            todo += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    if not reached:
        return seed, degree, similar, [0, 0, 0, 0]
    rows, columns = zip(*reached, strict=True)
    return seed, degree, similar, [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
