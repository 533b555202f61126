"""The 2017 article's experiment on ``decay``, repeated on its own numbers and checked: ``python -m tf1bn.reproduce``.

`main` is that command; `tf1bn.reproduce.article` holds what the article printed.
"""

from .command import main

__all__ = ["main"]
