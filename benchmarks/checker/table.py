"""Mean and variance per channel by everybody on the same data in the same run: how fast, and how far off.

    make bench, or python -m benchmarks table [--dtypes float32 float64 float16] [--batches I ...] [--rounds N]

Every contender is measured in turn, the best of some rounds counts. GB/s are of the batch, read once. Errors are the
largest of all channels, against moments in long double: of the mean relative to the mean of |x|, of the variance
relative to it. PyTorch and Numba take part if they are installed.
"""

import argparse
import importlib.util
import os
import platform
import tempfile

import numpy as np

from benchmarks.checker.moments import SHAPES, anchor_loop, best_times, compile_anchor
from tf1bn._native import _moments
from tf1bn._util import threads as parallel
from tf1bn.checker import batch_moments


def planes(batch, data_format):
    """The batch as [outer, channels, inner], without a copy."""
    if data_format == "NHWC":
        return batch.reshape(-1, batch.shape[-1], 1)
    return batch.reshape(batch.shape[0], batch.shape[1], -1)


def exact(batch, data_format):
    """Mean, variance and mean of |x| [C], in long double."""
    view = planes(batch, data_format)
    count = view.shape[0] * view.shape[2]
    parts = np.array_split(view, max(1, view.size // 2**22))

    def mean(function):
        return sum(function(part.astype(np.longdouble)).sum(axis=(0, 2)) for part in parts) / count

    center = mean(lambda x: x)
    return center, mean(lambda x: np.square(x - center[:, None])), mean(np.abs)


def reduced_axes(batch, data_format):
    channel = batch.ndim - 1 if data_format == "NHWC" else 1
    return tuple(axis for axis in range(batch.ndim) if axis != channel)


def numpy_contenders(batch, data_format):
    axes = reduced_axes(batch, data_format)
    types = [np.float64] if batch.dtype == np.float64 else [np.float32, np.float64]
    return {
        f"NumPy, {np.dtype(dtype)}": lambda dtype=dtype: (batch.mean(axes, dtype=dtype), batch.var(axes, dtype=dtype))
        for dtype in types
    }


def tensorflow_contenders(batch, data_format):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    channels = batch.shape[-1 if data_format == "NHWC" else 1]
    tensor = tf.constant(batch)
    axes = reduced_axes(batch, data_format)
    contenders = {"tf.nn.moments": lambda: [value.numpy() for value in tf.nn.moments(tensor, axes)]}
    if batch.dtype != np.float64:
        image = tensor if batch.ndim == 4 else tf.reshape(tensor, [-1, 1, 1, channels])
        ones, count = np.ones(channels, np.float32), batch.size // channels

        def fused():
            _, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
                image, ones, ones, epsilon=0.001, data_format=data_format
            )
            return mean.numpy(), variance.numpy().astype(np.float64) * (count - 1) / count

        # It writes the normalised batch as well, which the others do not.
        contenders["tf fused_batch_norm"] = fused
    return contenders


def torch_contenders(batch, data_format):
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    tensor, axes = torch.from_numpy(batch), reduced_axes(batch, data_format)

    def var_mean():
        variance, mean = torch.var_mean(tensor, axes, correction=0)
        return mean.double().numpy(), variance.double().numpy()

    return {f"PyTorch {torch.__version__.split('+')[0]} var_mean": var_mean}


def numba_contenders(batch, data_format):
    if importlib.util.find_spec("numba") is None or batch.dtype == np.float16:
        return {}
    import numba

    @numba.njit(parallel=True)
    def sums(view, total, square):
        workers = total.shape[0]
        for worker in numba.prange(workers):
            for i in range(worker * view.shape[0] // workers, (worker + 1) * view.shape[0] // workers):
                for c in range(view.shape[1]):
                    for k in range(view.shape[2]):
                        x = np.float64(view[i, c, k])
                        total[worker, c] += x
                        square[worker, c] += x * x

    view = planes(batch, data_format)
    count = view.shape[0] * view.shape[2]

    def moments():
        total, square = np.zeros((2, numba.get_num_threads(), view.shape[1]))
        sums(view, total, square)
        mean = total.sum(axis=0) / count
        return mean, square.sum(axis=0) / count - mean * mean

    return {f"Numba {numba.__version__}, sums": moments}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", choices=["float16", "float32", "float64"], default=["float32"])
    parser.add_argument("--batches", nargs="+", type=int, choices=range(len(SHAPES)), default=list(range(len(SHAPES))))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {parallel.available_cores()} cores, {', '.join(_moments.variants)}; uniform(0, 255)")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_anchor(folder)
        for dtype in arguments.dtypes:
            for shape, data_format in (SHAPES[i] for i in arguments.batches):
                batch = np.resize(np.random.default_rng(0).uniform(0, 255, (1 << 20) + 7).astype(dtype), shape)
                contenders = {"tf1bn": lambda b=batch, f=data_format: astuple(batch_moments(b, data_format=f))}
                for more in (numpy_contenders, tensorflow_contenders, torch_contenders, numba_contenders):
                    contenders |= more(batch, data_format)
                report(library, batch, data_format, contenders, arguments.rounds)


def astuple(moments):
    return moments.mean, moments.variance


def report(library, batch, data_format, contenders, rounds):
    """Measure and print one batch."""
    mean, variance, magnitude = exact(batch, data_format)
    functions = dict(contenders)
    functions |= {f"read, {threads} threads": anchor_loop(library, "read", batch, threads) for threads in (1, 2)}
    times = best_times({name: f for name, f in functions.items() if not name.startswith("NumPy")}, rounds)
    # These take seconds; twice is enough.
    times |= best_times({name: f for name, f in functions.items() if name.startswith("NumPy")}, 2)
    read = min(time for name, time in times.items() if name.startswith("read"))
    print(f"\n{batch.dtype} {data_format} {list(batch.shape)}, {batch.nbytes / 1e6:.0f} MB")
    print(f"  {'':28} {'GB/s':>7} {'of read':>8} {'tf1bn is':>9} {'mean off':>9} {'variance off':>13}")
    rows = sorted(contenders, key=times.get)
    print(f"  {'read bandwidth':28} {batch.nbytes / read / 1e9:7.2f} {1:8.2f}")
    for name in rows:
        seen = contenders[name]()
        off = [
            float(np.max(np.abs(np.asarray(value, np.longdouble) - true) / scale))
            for value, true, scale in zip(seen, (mean, variance), (magnitude, variance), strict=True)
        ]
        print(
            f"  {name:28} {batch.nbytes / times[name] / 1e9:7.2f} {read / times[name]:8.2f} "
            f"{times[name] / times['tf1bn']:8.1f}x {off[0]:9.0e} {off[1]:13.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
