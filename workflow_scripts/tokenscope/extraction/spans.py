"""Which chunks go through the model together, so that the batch does not depend on the chunk."""


def batched(
    ranges: list[tuple[int, int]], missing: list[tuple[int, int]], batch: int
) -> list[list[tuple[int, int]]]:
    """Chunks that go through the model together: as many as fit into a batch, one at least.

    They are counted from the store's start, so that a chunk is computed beside the same others
    whenever it is made, to the same bits; what is there already is computed again where a neighbour
    is missing, and left alone.

    Args:
        ranges: images of all chunks. missing: of those that are to be made.
    """
    first, last = ranges[0] if ranges else (0, 1)
    together, todo = max(1, batch // (last - first)), set(missing)
    spans = (ranges[i : i + together] for i in range(0, len(ranges), together))
    return [span for span in spans if todo.intersection(span)]


def part(values: tuple, rows: slice) -> tuple:
    """A chunk out of what was computed together."""
    host, copied = values
    return {name: value[rows] for name, value in host.items()}, copied
