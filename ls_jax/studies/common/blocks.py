"""Arrays of more than fits into memory, a block of rows at a time."""
from collections.abc import Iterator

BLOCK = 1 << 22  # numbers in a block of logits or features, which is read and held as float64


def blocks(examples: int, width: int) -> Iterator[slice]:
    """Slices that cover so many rows of so many numbers, a block at a time."""
    step = max(1, BLOCK // width)
    return (slice(start, min(start + step, examples)) for start in range(0, examples, step))
