"""``python -m tf1bn.reproduce``: the 2017 article's experiment on ``decay``, on its own numbers, checked."""

from .command import main

__all__ = ["main"]
