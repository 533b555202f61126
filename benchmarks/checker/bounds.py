"""The bounds against honest layers, class by class: no false alarm, and how much wider than the worst of them.

    python -m benchmarks bounds [--counts N ...] [--kinds KIND ...] [--dtypes DTYPE ...] [--json FILE]

A class is a number of elements per channel, a dtype and a kind of data; one step of decay 0 from 0. Its honest layers
are those of tests/support/honest.py, Welford's update, and TensorFlow's own fused and composed ones. `wide` is the
bound that decides over the worst honest error; `beyond` is how much farther off than every replayed order an honest
layer was that needed the replay.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import honest

from tf1bn.checker import MovingStats

COUNTS = (2, 5, 16, 257, 4096, 65_537, 800_000, 10_000_000)
DTYPES = ("float16", "float32", "float64")
GOAL = 30
WELFORD = """
#include <stddef.h>
#define WELFORD(NAME, REAL) void NAME(const REAL *x, ptrdiff_t n, ptrdiff_t c, REAL *mean, REAL *m2) { \\
    for (ptrdiff_t r = 0; r < n; r++) for (ptrdiff_t j = 0; j < c; j++) { \\
        REAL delta = x[r * c + j] - mean[j]; \\
        mean[j] += delta / (REAL)(r + 1); \\
        m2[j] += delta * (x[r * c + j] - mean[j]); } }
WELFORD(welford_float32, float)
WELFORD(welford_float64, double)
"""


def compiled_layers(folder):
    """Welford's update in C: in Python it is too slow for large N."""
    source, library = Path(folder) / "welford.c", Path(folder) / "welford.so"
    source.write_text(WELFORD, encoding="ascii")
    subprocess.run(["cc", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-o", library, source], check=True)
    library = ctypes.CDLL(str(library))

    def welford(x):
        x = np.ascontiguousarray(x)
        mean, m2 = np.zeros((2, x.shape[1]), x.dtype)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (x, mean, m2))
        first, *rest = pointers
        sizes = (ctypes.c_ssize_t(size) for size in x.shape)
        getattr(library, f"welford_{x.dtype}")(first, *sizes, *rest)
        return mean, m2 / x.dtype.type(len(x))

    return {"welford": welford}


def tensorflow_layers():
    """TensorFlow's composed layer, and its fused one for float32."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    def composed(x):
        mean, variance = tf.nn.moments(tf.constant(x.reshape(-1, 1, 1, x.shape[1])), [0, 1, 2])
        return mean.numpy(), variance.numpy()

    def fused(x):
        n, c = x.shape
        ones = np.ones(c, np.float32)
        _, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            tf.constant(x.reshape(-1, 1, 1, c)), ones, ones, epsilon=0.001
        )
        # It returns the variance with Bessel's correction.
        return mean.numpy(), variance.numpy() * np.float32((n - 1) / n)

    return {"tf.nn.moments": composed}, {"tf fused_batch_norm": fused}


def exact(batch):
    """Mean and population variance in long double: exact enough to judge float64 layers."""
    parts = np.array_split(batch, max(1, len(batch) // 10**5))
    mean = sum(part.astype(np.longdouble).sum(axis=0) for part in parts) / len(batch)
    return np.stack(
        [mean, sum(np.square(part.astype(np.longdouble) - mean).sum(axis=0) for part in parts) / len(batch)]
    )


def measure(kind, count, dtype, layers, seeds):
    """One class, as a dict."""
    channels = 2 if count > 10**6 else 4 if count > 10**5 else 16
    row = {"kind": kind, "count": count, "dtype": dtype, "cases": 0, "alarms": 0, "replays": 0, "beyond": 0.0}
    bound, worst, blame = np.zeros(2), np.zeros(2), ["none", "none"]
    zero = (np.zeros(channels, dtype),) * 2
    for seed in range(seeds):
        batch = honest.KINDS[kind](np.random.default_rng([seed, count]), (count, channels)).astype(dtype)
        stats = MovingStats(*zero, decay=0.0, dtype=dtype)
        stats.update(batch)
        value, (inside, _) = np.stack([stats.mean, stats.variance]), stats._errors()
        truth = exact(batch)
        for name, moments in layers.items():
            seen = honest.step(zero, count, honest.layer_moments(moments, batch), decay=0.0)
            if not np.isfinite(seen).all():
                continue  # overflow of the dtype is not covered
            row["cases"] += 2 * channels
            row["alarms"] += sum(int((part.verdicts != "ok").sum()) for part in stats.compare(*seen))
            outside = np.abs(np.float64(seen) - value) > inside
            if outside.any():
                row["replays"] += 1
                beyond = np.abs(np.float64(seen) - value)[outside] / stats._layers.largest_error(value)[outside]
                row["beyond"] = max(row["beyond"], float(beyond.max()))
            errors = np.abs(np.asarray(seen, np.longdouble) - truth).max(axis=1).astype(float)
            blame = [name if error > before else old for error, before, old in zip(errors, worst, blame, strict=True)]
            worst = np.maximum(worst, errors)
        bound = np.maximum(bound, [stats.mean_bound.max(), stats.variance_bound.max()])
    for i, name in enumerate(("mean", "variance")):
        row[name] = {"bound": bound[i], "worst": worst[i], "layer": blame[i]}
        row[name]["wide"] = float(bound[i] / worst[i]) if worst[i] else None
    return row


def reason(row, name):
    """Why the bound of a class is wider than the goal."""
    if row[name]["worst"] == 0:
        return "every honest layer is exact here"
    if row["kind"] == "underflow" and name == "variance":
        return "the variance is denormal: TensorFlow flushes it to zero, and others do not"
    if row["kind"] == "constant":
        return "the layers that are wrong are so by the square of an ulp or two"
    if row["dtype"] == "float16":
        return "the moment happens to be next to a float16 number, and its rounding is small"
    if row["count"] <= 16:
        return "a handful of roundings that happen to be small or to cancel"
    if row["kind"] in ("integers", "mostly zero"):
        return "sums that are exact, or nearly"
    if row["kind"] == "offset" and name == "variance":
        return "the mean's error enters by its square, and happened to be small"
    return "an order that is replayed and that none of these layers has is worse on such data"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=honest.KINDS, default=list(honest.KINDS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    any_float, single = tensorflow_layers()
    rows = []
    print(f"{'kind':12}{'dtype':9}{'N':>11}  cases alarms replays beyond  mean: wide  variance: wide")
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_layers(folder)
        for kind in arguments.kinds:
            for dtype in arguments.dtypes:
                for count in arguments.counts:
                    layers = honest.MOMENTS | any_float | compiled
                    layers |= {} if dtype == "float64" else single
                    layers |= honest.SLOW_MOMENTS if count <= 5000 else {}
                    layers |= honest.THREADED_MOMENTS if count <= 10**6 else {}
                    row = measure(kind, count, dtype, layers, 1 if count > 10**5 else 40 if count <= 16 else 4)
                    rows.append(row)
                    wide = [
                        f"{row[name]['wide'] or float('inf'):7.3g} {row[name]['layer']:30}"
                        for name in ("mean", "variance")
                    ]
                    print(
                        f"{kind:12}{dtype:9}{count:>11,} {row['cases']:6}{row['alarms']:7}{row['replays']:8}"
                        f"{row['beyond']:7.2g}  {' '.join(wide)}",
                        flush=True,
                    )
    print(f"\nWider than {GOAL} times the worst honest error:")
    for row in rows:
        for name in ("mean", "variance"):
            wide = row[name]["wide"]
            if wide is None or wide > GOAL:
                shown = "" if wide is None else f" {wide:.3g}"
                print(f"  {row['kind']}, {row['dtype']}, N {row['count']:,}, {name}{shown}: {reason(row, name)}")
    print(f"\nFarthest beyond the replayed orders: {max(row['beyond'] for row in rows):.3g}")
    print(f"{sum(row['cases'] for row in rows):,} cases, {sum(row['alarms'] for row in rows)} false alarms")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
