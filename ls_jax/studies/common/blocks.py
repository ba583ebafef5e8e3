"""Reading arrays that do not fit into memory, a block of rows at a time."""
from collections.abc import Iterator

BLOCK = 1 << 22  # numbers in one block of logits or features, held as float64


def blocks(examples: int, width: int) -> Iterator[slice]:
    """Consecutive slices over `examples` rows of `width` numbers: at most BLOCK numbers each, and at least one row."""
    step = max(1, BLOCK // width)
    return (slice(start, min(start + step, examples)) for start in range(0, examples, step))
