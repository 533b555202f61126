"""What the page of `--html` costs: the command with it and without it, in turn, in one run.

    make bench NAME=page        exit code 1 if 53 layers of 20 steps take more than 1.5 s or 1 MB more with the page,
                                or 1,000 layers more than 5 s

Writes traces of small layers into a temporary folder, all of them right, a fifth wrong, or all wrong (by Bessel's
correction), and runs `tf1bn audit` on each as a process of its own, with the page as it is by default and with all
plots. Seconds are those of the processors, user and system, which other work on the machine hardly changes; "more" is
the difference of the least of all rounds.
"""

import argparse
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from tf1bn import trace

DECAY = 0.9
WRONG = {53: (0, 0.2, 1), 1000: (0, 0.2)}  # layers: which shares of them are wrong
LIMITS = {53: (1.5, 1.0), 1000: (5.0, None)}  # layers: seconds and MB more than without a page


def build(path, layers, steps, wrong):
    """Write a trace of so many layers, of which the share ``wrong`` averages a variance with Bessel's correction."""
    rng = np.random.default_rng(0)
    every = round(1 / wrong) if wrong else 0
    names = [f"net/block_{i // 3 + 1}/conv_{i % 3 + 1}/BatchNorm" for i in range(layers)]
    state = {name: (np.zeros(8, np.float32), np.ones(8, np.float32)) for name in names}
    with trace.Writer(path) as writer:
        for name in names:
            writer.add_layer(name, decay=DECAY, epsilon=1e-3, data_format="NHWC", dtype="float32", fused=False)
        for _ in range(steps):
            records = {}
            for i, name in enumerate(names):
                inputs = rng.normal(1, 2, (16, 8)).astype(np.float32)
                mean, variance = inputs.mean(0), inputs.var(0, dtype=np.float64).astype(np.float32)
                if every and i % every == 0:
                    variance *= np.float32(16 / 15)
                before, rate = state[name], np.float32(1 - DECAY)
                after = tuple(old - (old - new) * rate for old, new in zip(before, (mean, variance), strict=True))
                state[name] = after
                records[name] = {
                    "inputs": [inputs],
                    "moving_mean_before": before[0],
                    "moving_variance_before": before[1],
                    "moving_mean_after": after[0],
                    "moving_variance_after": after[1],
                }
            writer.add_step(records, training=True)


def seconds(path, *options):
    """The processor time that the audit of a trace takes as a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "tf1bn", "audit", path, *options], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--layers", type=int, choices=LIMITS, help="one of the two numbers of layers")
    arguments = parser.parse_args()
    failed = False
    print(f"{'layers':>6} {'wrong':>6}  {'plots':7} {'without':>8} {'with':>8} {'more':>7}  {'page':>8}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tf1bn-bench-page-"))
    try:
        for layers in [arguments.layers] if arguments.layers else LIMITS:
            most_seconds, most_mb = LIMITS[layers]
            for wrong in WRONG[layers]:
                path, page = folder / f"{layers}-{wrong}.trace", folder / "page.html"
                build(path, layers, arguments.steps, wrong)
                for plots in ("not-ok", "all"):
                    pairs = [
                        (seconds(path), seconds(path, "--html", page, "--plots", plots))
                        for _ in range(arguments.rounds)
                    ]
                    without, with_page = (min(times) for times in zip(*pairs, strict=True))
                    more, size = with_page - without, page.stat().st_size / 1e6
                    times = f"{without:6.2f} s {with_page:6.2f} s {more:5.2f} s"
                    print(f"{layers:6} {wrong:6.0%}  {plots:7} {times}  {size:5.2f} MB", flush=True)
                    within = more <= most_seconds and (most_mb is None or size <= most_mb)
                    failed |= plots == "not-ok" and not within
                shutil.rmtree(path)
    finally:
        shutil.rmtree(folder)
    if failed:
        sys.exit("A page takes longer or is larger than wanted.")


if __name__ == "__main__":
    main()
