"""Keeps observed and expected statistics of all steps for the plots of a report."""

import tempfile

import numpy as np

from ..errors import NotRecordedError

STATISTICS = ("moving_mean", "moving_variance")
SERIES = ("observed", "expected", "expected_error", "worst_case")
NUMBERS_BYTES = 8 * len(SERIES)  # of one channel in one step
MEMORY_BYTES = 1 << 24  # of more than this, the rest is kept in a temporary file


class Curves:
    """Keeps what a diagnosis computes for each training step, so that plots need no second reading of the trace.

    It takes 64 bytes for each channel of a step that could be compared, which is 16/N of the size of float32 inputs
    with N values per channel; 16 MB of them are kept in memory and the rest in a temporary file. Use it as a context
    manager, which closes the file.

    Raises:
      NotRecordedError: the temporary file cannot be written; the message says why, and what to do.
    """

    def __init__(self):
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        self._end = 0
        self._steps = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def add(self, name, number, view, stats):
        """Keep a training step of a layer.

        Args:
          name: the name of the layer.
          number: the number of the step.
          view: what the step shows, an `evidence.step_view.View`.
          stats: the expected statistics of the finite channels for the layer as declared, a `checker.MovingStats`;
            None if no channel is finite, and then nothing is kept.
        """
        if stats is None:
            return
        values = _values(view.around[1], stats)
        channels = np.flatnonzero(view.finite)
        # None stands for all channels, which is by far the most common case.
        which = None if channels.size == view.finite.size else channels
        self._steps.setdefault(name, []).append((number, self._end, which, channels.size))
        try:
            self._file.seek(self._end)
            # A channel's numbers lie side by side, so that one step of a plot is read at once.
            self._end += self._file.write(values.transpose(1, 2, 0).tobytes())
        except OSError as error:
            raise NotRecordedError(
                f"There is no room in {tempfile.gettempdir()!r} for what `--html` plots ({error.strerror}); "
                "set TMPDIR to a folder with more room."
            ) from error

    def worst(self, name):
        """Where a layer is farthest off, by what was kept: in which channel and step, and the numbers there.

        Returns:
          dict by statistic, as far as it could be compared: {"channel", "step": int, "observed", "expected", "error",
          "expected_error", "worst_case": float}.
        """
        worst, ranks = {}, {}
        for number, start, kept, size in self._steps.get(name, ()):
            values = np.frombuffer(self._read(start, 2 * size)).reshape(2, size, len(SERIES)).transpose(2, 0, 1)
            for statistic, of_one, (at, rank) in zip(
                STATISTICS, values.transpose(1, 0, 2), _farthest_off(values), strict=True
            ):
                if statistic in ranks and rank <= ranks[statistic]:
                    continue
                numbers = dict(zip(SERIES, of_one[:, at].tolist(), strict=True))
                error = abs(numbers["observed"] - numbers["expected"])
                ranks[statistic] = rank
                worst[statistic] = {
                    "channel": int(at if kept is None else kept[at]),
                    "step": number,
                    "error": error,
                    **numbers,
                }
        return worst

    def of(self, name, worst=None):
        """The observed and expected values of a layer's training steps, in one channel of each statistic.

        The expected value after a step follows from the observed values before it, for the layer as declared.

        Args:
          name: the name of the layer.
          worst: dict by "mean" and "variance" from what the result says of the largest error, a dict with "channel",
            which is taken; where it says none, it is the channel in which the layer is farthest off.

        Returns:
          {"moving_mean": {"channel": int, "step": [...], "observed": [...], "expected": [...], "expected_error": [...],
          "worst_case": [...]}, "moving_variance": the same}; empty for a layer without a step that could be compared.
        """
        named = {f"moving_{short}": place for short, place in (worst or {}).items()}
        channels = {statistic: (named.get(statistic) or {}).get("channel") for statistic in STATISTICS}
        if None in channels.values():
            farthest = self.worst(name)
            for statistic in STATISTICS:
                if channels[statistic] is None and statistic in farthest:
                    channels[statistic] = farthest[statistic]["channel"]
        series = {}
        for number, start, kept, size in self._steps.get(name, ()):
            for i, (statistic, channel) in enumerate(channels.items()):
                if channel is None:
                    continue
                at = channel if kept is None else int(np.searchsorted(kept, channel))
                if not 0 <= at < size or (kept is not None and kept[at] != channel):
                    continue
                curve = series.setdefault(statistic, {"channel": channel, "step": [], **{key: [] for key in SERIES}})
                curve["step"].append(number)
                values = np.frombuffer(self._read(start + (i * size + at) * NUMBERS_BYTES, 1)).tolist()
                for key, value in zip(SERIES, values, strict=True):
                    curve[key].append(value)
        return series

    def _read(self, start, channels):
        """The bytes of the numbers of so many channels."""
        self._file.seek(start)
        return self._file.read(channels * NUMBERS_BYTES)


def _values(observed, stats):
    """The numbers of a step, float64 [4, 2, channels] in the order of `SERIES`.

    Both bounds are the one that decided where it took a replay of the batches, as in `MovingStats.compare`.
    """
    values = np.empty((len(SERIES), *observed.shape))
    values[0], values[1, 0], values[1, 1] = observed, stats.mean, stats.variance
    values[2], values[3] = stats.two_bounds()
    with np.errstate(all="ignore"):
        error = np.abs(values[0] - values[1])
        if ((error > values[2]) & (error <= values[3])).any():
            decided = np.stack([stats.mean_bound, stats.variance_bound])
            if (decided < values[3]).any():
                values[2:] = decided
    return values


def _farthest_off(values):
    """The channel of each statistic that is farthest off, as `checker.compare` has it.

    Args:
      values: float64 [4, 2, channels], in the order of `SERIES`.

    Returns:
      For the mean and for the variance the index of the channel, and a tuple that ranks its error among those of other
      steps: whether it is beyond the worst case, and the error in units of what is allowed.
    """
    observed, expected, expected_error, worst_case = values
    with np.errstate(all="ignore"):
        error = np.abs(observed - expected)
        excess = np.where(error == 0, 0.0, error / expected_error)
        excess = np.where(np.isnan(excess), np.inf, excess)
        verdict = np.where(error <= expected_error, 0, np.where(error <= worst_case, 1, 2))
        share = np.where(verdict == 2, error / worst_case, excess)
    at = np.where(verdict == verdict.max(axis=1, keepdims=True), excess, -1.0).argmax(axis=1)
    return [(channel, (bool(verdict[i, channel] == 2), float(share[i, channel]))) for i, channel in enumerate(at)]
