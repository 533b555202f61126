"""The largest error of a comparison in units of its bound, and where it is."""

from __future__ import annotations

import numpy as np


class WorstError:
    """The largest error so far in units of its bound, over any number of `add`.

    Attributes:
      what: what is compared, as reports name it.
      share: the largest error divided by its bound; -1 before the first `add`.
      values: None, or dict of the element with that share: "error", "bound", "step", "channel", "old" (the expected
        value) and "new" (the observed one).
      first: the first step in which an error was not within its bound; None if there is none.
    """

    def __init__(self, what):
        self.what = what
        self.share, self.values, self.first = -1.0, None, None

    @property
    def exceeds(self):
        """Whether an error is larger than its bound."""
        return self.share > 1

    def add(self, step, error, bound, expected, observed):
        """Take the errors of a step, their bounds and the values that were compared, [channels] each."""
        with np.errstate(divide="ignore", invalid="ignore"):
            # Equal values, NaN included, are no difference.
            same = (expected == observed) | (np.isnan(expected) & np.isnan(observed))
            error = np.where(same, 0.0, error)
            share = np.where(error == 0, 0.0, error / bound)
        share = np.where(np.isnan(share), np.inf, share)
        at = int(np.argmax(share))
        if share[at] > 1 and self.first is None:
            self.first = step
        if share[at] > self.share:
            self.share = float(share[at])
            self.values = {
                "error": float(error[at]),
                "bound": float(bound[at]),
                "step": step,
                "channel": at,
                "old": float(expected[at]),
                "new": float(observed[at]),
            }

    def entry(self):
        """The check as the JSON of a comparison has it; None if nothing was compared."""
        return None if self.values is None else {"what": self.what, **self.values, "first": self.first}


def largest_of_channels(rank, *arrays):
    """From each array [elements, channels] the element of every channel where ``rank`` is NaN or largest."""
    at = np.argmax(np.where(np.isnan(rank), np.inf, rank), axis=0)[None]
    return [np.take_along_axis(values, at, 0)[0] for values in arrays]


def largest(error):
    """The largest absolute value of an array; inf if it holds NaN."""
    return float(np.max(np.where(np.isnan(error), np.inf, np.abs(error))))
