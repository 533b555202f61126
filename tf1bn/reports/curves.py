"""Observed and expected statistics over the steps, for the plots of a report."""

import math
import tempfile

import numpy as np

from ..errors import NotRecordedError

STATISTICS = ("moving_mean", "moving_variance")
HELD = 1 << 24  # bytes in memory; what is beyond goes to a temporary file


class Curves:
    """What a diagnosis computed for each training step, kept for the plots: the trace is not read again for them.

    48 bytes for each channel of a step that could be compared, up to 16 MB of them in memory and the rest in a
    temporary file: 12/N of the size of float32 inputs with N values per channel. A context manager, which closes it.

    Raises:
      NotRecordedError: the temporary file cannot be written; the message says why, and what to do.
    """

    def __init__(self):
        self._file = tempfile.SpooledTemporaryFile(max_size=HELD)  # noqa: SIM115
        self._end = 0
        self._steps = {}
        self._worst = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def add(self, name, number, view, stats):
        """Take a training step of a layer.

        Args:
          name: the layer's.
          number: the step's.
          view: its `stepview.View`.
          stats: the `checker.MovingStats` of the finite channels, for the layer as declared; None if there are none.
        """
        if stats is None:
            return
        seen = view.around[1]
        values = np.stack([seen, [stats.mean, stats.variance], [stats.mean_bound, stats.variance_bound]])
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(values[0] == values[1], 0.0, np.abs(values[0] - values[1]) / values[2])
        channels = np.flatnonzero(view.finite)
        for i in range(2):
            at = int(np.argmax(np.where(np.isnan(shares[i]), math.inf, shares[i])))
            if shares[i, at] > self._worst.get((name, i), (-1.0, None))[0]:
                self._worst[name, i] = float(shares[i, at]), int(channels[at])
        # Mostly all channels are finite, and which ones need not be kept.
        kept = None if channels.size == view.finite.size else channels
        self._steps.setdefault(name, []).append((number, self._end, kept, channels.size))
        try:
            self._file.seek(self._end)
            self._end += self._file.write(values.tobytes())
        except OSError as error:
            raise NotRecordedError(
                f"What `--html` plots finds no room in {tempfile.gettempdir()!r} ({error.strerror}); "
                "set TMPDIR to a folder with more room."
            ) from error

    def of(self, name):
        """What the training steps left and should have left, in the worst channel of each statistic.

        The expected value after a step is that of the observed ones before it, for the layer as declared.

        Returns:
          {"moving_mean": {"channel": int, "step": [...], "observed": [...], "expected": [...], "bound": [...]},
          "moving_variance": the same}; empty for a layer without a step that could be compared.
        """
        found = {}
        for number, start, channels, size in self._steps.get(name, ()):
            for i, statistic in enumerate(STATISTICS):
                channel = self._worst.get((name, i), (0.0, None))[1]
                if channel is None:
                    continue
                at = channel if channels is None else int(np.searchsorted(channels, channel))
                if at >= size or (channels is not None and channels[at] != channel):
                    continue
                curve = found.setdefault(
                    statistic, {"channel": channel, "step": [], "observed": [], "expected": [], "bound": []}
                )
                curve["step"].append(number)
                for row, key in enumerate(("observed", "expected", "bound")):
                    self._file.seek(start + ((2 * row + i) * size + at) * 8)
                    curve[key].append(float(np.frombuffer(self._file.read(8))[0]))
        return found
