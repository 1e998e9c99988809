"""Numbers in sentences."""


def counted(count: int, noun: str, plural: str = "", width: int = 0) -> str:
    """Return a count with its noun: 1 piece, 1,000 pieces; numbers are right-aligned in `width`."""
    return f"{count:>{width},} {noun if count == 1 else plural or noun + 's'}"
