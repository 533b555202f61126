"""What the page says of one kind of result."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table besides the order, the layer, its verdict and its causes.

    Attributes:
      name: its heading.
      numbers: whether it is sorted as numbers, the largest first.
    """

    name: str
    numbers: bool = True


@dataclasses.dataclass(frozen=True)
class Kind:
    """What the page says of one kind of result.

    Attributes:
      title: of the page, with "{path}" in it, or "{old}" and "{new}".
      order: what the numbers of the layers are, such as "order in the network".
      caption: what the table shows, in a sentence or two.
      columns: tuple of `Column`.
      describe: called with a layer of the result and the `reports.curves.Curves` or None; returns a dict: "cells", one
        for each column with "lines" and "sort" as `misfits.row_cell` has them; "tables" and "facts" of the details;
        "curves", a function that returns the curves to be plotted by name.
      legend: what the plots show, in a sentence or two; None if there are none.
    """

    title: str
    order: str
    caption: str
    columns: tuple[Column, ...]
    describe: Callable
    legend: str | None = None


def cell(text, sort=None):
    """A cell with one line."""
    return {"lines": [{"text": text, "where": "", "over": False}], "sort": sort}
