"""Writing, opening and auditing a long trace of moments: how many layers and steps a second.

    make bench NAME=long_trace [ARGS="--steps 100000 --narrow 8"]

Writes a packed trace of the 53 batch-norm layers of ResNet-50 (or of 53 layers of `--narrow` channels), float32 with
moments in float64, gamma and beta, and audits it. The statistics are those of a layer that rounds every operation.
Seconds are wall time, and behind it the processor time of all threads. "singly" is the audit of the first steps one
after the other, as a view of a trace, or one that is not packed, is read. "anonymous" is what the audit allocated at
most beyond what the process held before (RssAnon). With `--wrong N` the statistics of N layers move at another rate.
"""

import argparse
import pathlib
import platform
import tempfile
import time

import numpy as np

from benchmarks.diagnosis.audit import Peak, anonymous, resnet
from tf1bn import trace
from tf1bn.checker import Moments
from tf1bn.diagnosis import diagnose
from tf1bn.trace.views import TraceView

DECAY, EPSILON, COUNT = 0.99, 1e-3, 256
AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")


class Timer:
    """Wall and processor time of what runs inside of it, added up."""

    def __init__(self):
        self.wall = self.processor = 0.0

    def __enter__(self):
        self._started = time.perf_counter(), time.process_time()

    def __exit__(self, *error):
        self.wall += time.perf_counter() - self._started[0]
        self.processor += time.process_time() - self._started[1]


def steps_of(widths, count, wrong):
    """Yield the records of each step: one of a correctly rounded layer, but for the layers ``wrong``."""
    rng = np.random.default_rng(0)
    state = {name: (np.zeros(width, np.float32), np.ones(width, np.float32)) for name, width in widths.items()}
    total = sum(widths.values())
    for _ in range(count):
        means, variances = rng.normal(0.3, 1, total), rng.uniform(0.5, 2, total)
        gamma, beta = (rng.uniform(0.5, 1.5, total).astype(np.float32) for _ in range(2))
        records, start = {}, 0
        for name, width in widths.items():
            here = slice(start, start := start + width)
            moments = Moments(COUNT, means[here], variances[here])
            rate = np.float32(1 - (0.9 if name in wrong else DECAY))
            before = state[name]
            state[name] = tuple(
                old - (old - new[here].astype(np.float32)) * rate
                for old, new in zip(before, (means, variances), strict=True)
            )
            vectors = dict(zip(AROUND, (*before, *state[name]), strict=True))
            records[name] = {**vectors, "gamma": gamma[here], "beta": beta[here], "moments": [moments]}
        yield records


def write(path, widths, count, wrong):
    """Write the trace; returns the `Timer` of the writer alone."""
    timer = Timer()
    with trace.Writer(path, packed=True) as writer:
        writer.add_layers({name: trace.Layer(decay=DECAY, epsilon=EPSILON, fused=False) for name in widths})
        for records in steps_of(widths, count, wrong):
            with timer:
                writer.add_step(records, training=True)
    return timer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--narrow", type=int, help="channels of every layer, instead of those of ResNet-50")
    parser.add_argument("--wrong", type=int, default=0, help="how many layers are wrong")
    args = parser.parse_args()
    widths = {name: args.narrow or shape[-1] for name, shape in resnet(1).items()}
    wrong = list(widths)[: args.wrong]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "long.trace")
        written = write(path, widths, args.steps, wrong)
        files = sum(1 for each in path.rglob("*") if each.is_file())
        opened, audited = Timer(), Timer()
        with opened:
            trace.open(path)
        before, peak = anonymous(), Peak()
        with audited:
            results = diagnose(str(path))
        used = peak.stop() - before
        # A view of a trace gives one step after the other.
        singly, few = Timer(), min(args.steps, 20)
        with singly:
            diagnose(TraceView(trace.open(path), steps=range(few)))
    wrongly = [result.name for result in results if (result.verdict == "ok") == (result.name in wrong)]
    channels = f"{sum(widths.values()) / len(widths):.0f} channels on average"
    print(f"{platform.machine()}; {len(widths)} layers, {channels}, {args.steps} steps, {len(wrong)} layers wrong")
    for name, timer, steps in (
        ("written", written, args.steps),
        ("audited", audited, args.steps),
        ("singly", singly, few),
    ):
        count = len(widths) * steps
        each = f"{timer.wall / count * 1e6:7.1f} us ({timer.processor / count * 1e6:.1f} of processors)"
        print(f"{name:<9} {each} a layer and step, {count / timer.wall:,.0f} a second")
    print(f"opened    in {opened.wall * 1e3:.1f} ms; {files} files; anonymous {used:.0f} MB at most")
    if wrongly:
        raise SystemExit(f"The verdicts of {', '.join(wrongly)} are not those expected.")


if __name__ == "__main__":
    main()
