"""The speed of `batch_moments` beside an anchor: what plain C reaches on the same data with the same threads.

    python -m benchmarks moments [--rounds N] [--data normal|uniform] [--dtypes float32 ...] [--processor] [--no-numpy]

Two C loops are compiled here, by $CC or cc with -O3 -march=native: a sum in the array's own type (of 16 bits: as
integers), which is the read bandwidth, and a conversion to float64 with sum and sum of squares; float16 and bfloat16
are converted to float32 in registers, by F16C where the processor has it. The anchor is the slower one of the two,
each with 1 or 2 threads, whichever is faster; so is tf1bn. All are measured in turn, the best of some rounds counts.
NumPy's mean and variance with float64 accumulators takes long and is measured twice, after the others. With
`--processor` all have one thread and the time of the processor counts: the way to measure on a busy machine.
"""

import argparse
import ctypes
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from tf1bn._native import _moments
from tf1bn._util import threads as parallel
from tf1bn.checker import batch_moments

SHAPES = [
    ((256, 56, 56, 64), "NHWC"),
    ((1024, 224, 224, 1), "NHWC"),
    ((1024, 112, 112, 3), "NHWC"),
    ((512, 7, 7, 2048), "NHWC"),
    ((65536, 512), "NHWC"),
    ((256, 64, 56, 56), "NCHW"),
    ((1024, 3, 112, 112), "NCHW"),
]

SOURCE = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif
static inline void as_bfloat16(const uint16_t *p, float *x) {
    for (int j = 0; j < 32; j++) {
        uint32_t word = (uint32_t)p[j] << 16;
        memcpy(x + j, &word, 4);
    }
}
static inline void as_float16(const uint16_t *p, float *x) {
#ifdef __F16C__
    for (int j = 0; j < 32; j += 8)
        _mm256_storeu_ps(x + j, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + j))));
#else
    for (int j = 0; j < 32; j++) x[j] = ((const _Float16 *)p)[j];
#endif
}
#define LOOPS(NAME, T, ROW)                                                        \\
    void read_##NAME(const T *p, ptrdiff_t n, double *out) {                       \\
        T s[128] = {0}, total = 0;                                                 \\
        for (ptrdiff_t i = 0; i + 128 <= n; i += 128)                              \\
            for (int j = 0; j < 128; j++) s[j] += p[i + j];                        \\
        for (int j = 0; j < 128; j++) total += s[j];                               \\
        out[0] = total;                                                            \\
    }                                                                              \\
    void squares_##NAME(const T *p, ptrdiff_t n, double *out) {                    \\
        double s[32] = {0}, q[32] = {0};                                           \\
        for (ptrdiff_t i = 0; i + 32 <= n; i += 32) {                              \\
            ROW;                                                                   \\
            for (int j = 0; j < 32; j++) {                                         \\
                double x = row[j];                                                 \\
                s[j] += x;                                                         \\
                q[j] += x * x;                                                     \\
            }                                                                      \\
        }                                                                          \\
        out[0] = out[1] = 0;                                                       \\
        for (int j = 0; j < 32; j++) { out[0] += s[j]; out[1] += q[j]; }           \\
    }
LOOPS(float16, uint16_t, float row[32]; as_float16(p + i, row))
LOOPS(bfloat16, uint16_t, float row[32]; as_bfloat16(p + i, row))
LOOPS(float32, float, const float *row = p + i)
LOOPS(float64, double, const double *row = p + i)
"""
DTYPES = ("float32", "float64", "float16", "bfloat16")


def compile_anchor(folder):
    """The C loops as a library."""
    source, library = Path(folder, "anchor.c"), Path(folder, "anchor.so")
    source.write_text(SOURCE, encoding="ascii")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return ctypes.CDLL(str(library))


def stored(values, dtype):
    """The values in a dtype; for "bfloat16" its bits, cut off, as uint16."""
    if dtype == "bfloat16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(dtype)


def anchor_loop(library, name, batch, threads):
    """A function that runs a C loop over the batch, in 64 pieces on some threads; uint16 are bits of bfloat16."""
    loop = getattr(library, f"{name}_{'bfloat16' if batch.dtype == np.uint16 else batch.dtype}")
    loop.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p]
    loop.restype = None
    length, out = batch.size // 64, np.zeros((64, 2))

    def piece(i):
        loop(batch.ctypes.data + i * length * batch.itemsize, length, out[i].ctypes.data)
        yield length

    return lambda: parallel.run([piece(i) for i in range(64)], threads, parallel.Progress(None, batch.size))


def best_times(functions, rounds, clock=time.perf_counter):
    """The shortest time of each function, measured in turn."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            function()
            best[name] = min(best[name], clock() - start)
    return best


def numpy_moments(batch, data_format):
    channel = batch.ndim - 1 if data_format == "NHWC" else 1
    axes = tuple(axis for axis in range(batch.ndim) if axis != channel)
    return batch.mean(axes, dtype=np.float64), batch.var(axes, dtype=np.float64)


def measure(library, shape, data_format, dtype, arguments):
    """Speeds in GB/s: read, squares, tf1bn, numpy; NaN for what was not measured."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal(1 << 20) if arguments.data == "normal" else rng.uniform(0, 1, 1 << 20)
    batch = np.resize(stored(pool, dtype), shape)
    declared = "bfloat16" if dtype == "bfloat16" else None
    counts = (1,) if arguments.processor else (1, 2)
    functions = {
        ("tf1bn", threads): lambda t=threads: batch_moments(batch, data_format=data_format, threads=t, dtype=declared)
        for threads in counts
    }
    for name in ("read", "squares"):
        for threads in counts:
            functions[name, threads] = anchor_loop(library, name, batch, threads)
    clock = time.process_time if arguments.processor else time.perf_counter
    speeds = dict.fromkeys(("read", "squares", "tf1bn", "numpy"), float("nan"))
    for (name, _), seconds in best_times(functions, arguments.rounds, clock).items():
        speeds[name] = max(np.nan_to_num(speeds[name]), batch.nbytes / seconds / 1e9)
    if not arguments.no_numpy and declared is None:
        seconds = best_times({"numpy": lambda: numpy_moments(batch, data_format)}, 2, clock)["numpy"]
        speeds["numpy"] = batch.nbytes / seconds / 1e9
    return speeds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", choices=["normal", "uniform"], default="normal")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--no-numpy", action="store_true")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {parallel.available_cores()} cores, {', '.join(_moments.variants)}; {arguments.data}")
    print(f"{'dtype':8} {'batch':28} {'read':>6} {'squares':>8} {'tf1bn':>6} {'/anchor':>8} {'numpy':>6} {'/numpy':>7}")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_anchor(folder)
        for dtype in arguments.dtypes:
            for shape, data_format in SHAPES:
                speeds = measure(library, shape, data_format, dtype, arguments)
                anchor = min(speeds["read"], speeds["squares"])
                print(
                    f"{dtype:8} {f'{data_format} {list(shape)}':28} {speeds['read']:6.1f} {speeds['squares']:8.1f} "
                    f"{speeds['tf1bn']:6.1f} {speeds['tf1bn'] / anchor:8.2f} {speeds['numpy']:6.2f} "
                    f"{speeds['tf1bn'] / speeds['numpy']:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
