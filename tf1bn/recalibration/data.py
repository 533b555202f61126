"""The batches of a recalibration, run through once or several times. Reached through `tf1bn.recalibration`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..cluster.bags import is_bag, items
from ..errors import RecalibrationError


class Data:
    """An iterable of batches, such as a bag of Dask, or a function that returns one.

    Attributes:
      bag: the `dask.bag.Bag`, or None.
      passes: how often it was run through; length: how many batches a pass has.
      number: the number of the batch that was given last, from 0.

    Raises:
      TypeError: it is neither.
    """

    def __init__(self, batches: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        if isinstance(batches, (Mapping, str, bytes)) or hasattr(batches, "dtype"):
            raise TypeError(
                f"`batches` is of type {type(batches).__name__}, a single batch; give an iterable of batches, such as "
                "a list of them or a loader."
            )
        if not callable(batches) and not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
            raise TypeError(
                f"`batches` is of type {type(batches).__name__}; it must be an iterable of batches, or a function that "
                "returns one."
            )
        self._batches = batches
        self.bag = batches if is_bag(batches) else None
        self._last: Iterator[Any] | None = None
        self.passes = self.length = 0
        self.number = -1

    def pass_over(self, made: Iterable[Any] | None = None) -> Iterator[Any]:
        """The batches, once more; or what was ``made`` of each of them elsewhere, in their order.

        Raises:
          ValueError: there are none.
          RecalibrationError: there are more or fewer than in the pass before, or they can be had once alone.
        """
        count = 0
        for count, batch in enumerate(self._iterator() if made is None else made, start=1):
            self.number = count - 1
            yield batch
        if not count and not self.passes:
            raise ValueError("`batches` is empty; give at least one batch.")
        if self.passes and count != self.length:
            raise RecalibrationError(
                f"Pass {self.passes + 1} over `batches` has {count} batches, and the one before had {self.length}; "
                "give the same data each time. Nothing was changed."
            )
        self.passes, self.length = self.passes + 1, count

    def first(self) -> Any:
        """The first batch.

        Raises:
          ValueError: there is none.
        """
        for batch in self._iterator():
            return batch
        raise ValueError("`batches` is empty; give at least one batch.")

    def check_repeatable(self) -> None:
        """Raise ValueError for what can be run through only once."""
        if isinstance(self._batches, Iterator):
            raise ValueError(
                f"`batches` is a {type(self._batches).__name__}, which can be run through once, and the order "
                "'sequential' takes several passes; give a list, a loader, or a function that returns an iterable."
            )

    def _iterator(self) -> Iterator[Any]:
        # A tf.data.Dataset or a loader may be callable as well.
        if self.bag is not None:
            return items(self.bag)
        iterable = isinstance(self._batches, Iterable) or hasattr(self._batches, "__getitem__")
        batches: Any = self._batches if iterable else self._batches()  # type: ignore[operator]
        try:
            iterator = iter(batches)
        except TypeError as error:
            raise TypeError(
                f"`batches` is a function that returned a {type(batches).__name__}; it must return an iterable of "
                "batches."
            ) from error
        if iterator is self._last:
            raise RecalibrationError(
                f"`batches` gives the same {type(iterator).__name__} for each pass, which can be run through once; "
                "make a new one each time, or give a list. Nothing was changed."
            )
        self._last = iterator
        return iterator
