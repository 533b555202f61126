"""Keeps observed and expected statistics of all steps for the plots of a report."""

import math
import tempfile

import numpy as np

from ..errors import NotRecordedError

STATISTICS = ("moving_mean", "moving_variance")
MEMORY_BYTES = 1 << 24  # of more than this, the rest is kept in a temporary file


class Curves:
    """Keeps what a diagnosis computes for each training step, so that plots need no second reading of the trace.

    It takes 48 bytes for each channel of a step that could be compared, which is 12/N of the size of float32 inputs
    with N values per channel; 16 MB of them are kept in memory and the rest in a temporary file. Use it as a context
    manager, which closes the file.

    Raises:
      NotRecordedError: the temporary file cannot be written; the message says why, and what to do.
    """

    def __init__(self):
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        self._end = 0
        self._steps = {}
        self._worst = {}

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
        values = np.stack([view.around[1], [stats.mean, stats.variance], [stats.mean_bound, stats.variance_bound]])
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(values[0] == values[1], 0.0, np.abs(values[0] - values[1]) / values[2])
        channels = np.flatnonzero(view.finite)
        for i in range(2):
            at = int(np.argmax(np.where(np.isnan(shares[i]), math.inf, shares[i])))
            if shares[i, at] > self._worst.get((name, i), (-1.0, None))[0]:
                self._worst[name, i] = float(shares[i, at]), int(channels[at])
        # None stands for all channels, which is by far the most common case.
        which = None if channels.size == view.finite.size else channels
        self._steps.setdefault(name, []).append((number, self._end, which, channels.size))
        try:
            self._file.seek(self._end)
            self._end += self._file.write(values.tobytes())
        except OSError as error:
            raise NotRecordedError(
                f"There is no room in {tempfile.gettempdir()!r} for what `--html` plots ({error.strerror}); "
                "set TMPDIR to a folder with more room."
            ) from error

    def of(self, name, worst=None):
        """The observed and expected values of a layer's training steps, in the worst channel of each statistic.

        The expected value after a step follows from the observed values before it, for the layer as declared.

        Args:
          name: the layer's.
          worst: "worst" of the layer in the JSON of an audit, whose channels are taken; None: those that are farthest
            off against the bounds that are drawn.

        Returns:
          {"moving_mean": {"channel": int, "step": [...], "observed": [...], "expected": [...], "bound": [...]},
          "moving_variance": the same}; empty for a layer without a step that could be compared.
        """
        series = {}
        for number, start, channels, size in self._steps.get(name, ()):
            for i, statistic in enumerate(STATISTICS):
                channel = self._worst.get((name, i), (0.0, None))[1]
                if worst and worst.get(statistic.removeprefix("moving_")):
                    channel = worst[statistic.removeprefix("moving_")]["channel"]
                if channel is None:
                    continue
                at = channel if channels is None else int(np.searchsorted(channels, channel))
                if at >= size or (channels is not None and channels[at] != channel):
                    continue
                curve = series.setdefault(
                    statistic, {"channel": channel, "step": [], "observed": [], "expected": [], "bound": []}
                )
                curve["step"].append(number)
                for row, key in enumerate(("observed", "expected", "bound")):
                    self._file.seek(start + ((2 * row + i) * size + at) * 8)
                    curve[key].append(float(np.frombuffer(self._file.read(8))[0]))
        return series
