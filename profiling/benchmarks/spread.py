"""An order in which any first part of a collection stands for the whole."""

from collections.abc import Sequence
from typing import TypeVar

Element = TypeVar("Element")


def spread(elements: Sequence[Element]) -> list[Element]:
    """Return all elements in an order whose every beginning is spread evenly over them."""
    golden = 0.618033988749895
    return [elements[i] for i in sorted(range(len(elements)), key=lambda i: i * golden % 1)]
