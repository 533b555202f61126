"""The audit of a trace by Dask workers beside that of one process, and what the constants of docs/design/scale.md are.

    make bench NAME=cluster       exit code 1 if two workers are below 0.8 of the audit with two threads

The trace of inputs of `make bench NAME=audit` is audited in turn by threads of this process and by as many workers,
from the page cache. Then a trace of moments alone, and shares that do nothing, whose time is what a share costs.
"""

import argparse
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import numpy as np

from benchmarks.diagnosis.audit import build, resnet
from tf1bn import trace
from tf1bn.checker import batch_moments
from tf1bn.cluster import Workers
from tf1bn.cluster.workers import SHARES
from tf1bn.diagnosis import diagnose

LIMIT = 0.8


def nothing(names):
    """What a share does that has nothing to do."""
    return dict.fromkeys(names)


def seconds(function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def processor_seconds(function, path):
    start = time.process_time()
    function(path)
    return time.process_time() - start


def read_one_vector(path):
    """What every share reads of each step, however few its layers are."""
    for step in trace.open(path):
        assert step.layers["conv1"].moving_mean_after.size


def in_turn(path, workers, rounds):
    """Best seconds of one process and of the workers."""
    best = [float("inf")] * 2
    for _ in range(rounds):
        for i, spread in enumerate((None, workers)):
            taken, result = seconds(diagnose, path, spread=spread)
            if not result.ok:
                raise AssertionError(f"The verdicts are {[layer.verdict for layer in result]}.")
            best[i] = min(best[i], taken)
    return best


def write_moments(path, shapes, steps):
    """Write a packed trace of moments; returns its size in bytes."""
    rng = np.random.default_rng(0)
    state = {name: (np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32)) for name, shape in shapes.items()}
    with trace.Writer(path, packed=True) as writer:
        for name in shapes:
            writer.add_layer(name, decay=0.9, epsilon=1e-3, fused=False)
        for _ in range(steps):
            records = {}
            for name, shape in shapes.items():
                moments = batch_moments(rng.standard_normal((16, shape[-1]), np.float32))
                before = state[name]
                state[name] = tuple(
                    (old - (old - new.astype(np.float32)) * np.float32(0.1)).astype(np.float32)
                    for old, new in zip(before, (moments.mean, moments.variance), strict=True)
                )
                around = dict(zip(("moving_mean_before", "moving_variance_before"), before, strict=True))
                around |= dict(zip(("moving_mean_after", "moving_variance_after"), state[name], strict=True))
                records[name] = {**around, "moments": [moments]}
            writer.add_step(records, training=True)
    return sum(file.stat().st_size for file in pathlib.Path(path).rglob("*") if file.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--moment-steps", type=int, default=300)
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tf1bn-bench-cluster-"))
    try:
        shapes = resnet(arguments.batch)
        size = build(folder / "inputs", shapes, arguments.steps, outputs=False)
        steps = arguments.moment_steps
        bytes_of_moments = write_moments(folder / "moments", shapes, steps)
        taken, workers = seconds(Workers, "processes")
        with workers:
            print(f"{workers.count} workers, {size / 1e9:.2f} GB of inputs; started in {taken:.1f} s")
            local, spread = in_turn(folder / "inputs", workers, arguments.rounds)
            print(f"  inputs    here {size / local / 1e9:6.2f} GB/s   workers {size / spread / 1e9:6.2f} GB/s", end="")
            print(f"   ratio {local / spread:.2f}", flush=True)
            here, there = in_turn(folder / "moments", workers, arguments.rounds)
            layer_steps = len(shapes) * steps
            print(f"  moments   here {layer_steps / here:6.0f} /s     workers {layer_steps / there:6.0f} /s", end="")
            print(f"     ratio {here / there:.2f}   {bytes_of_moments / steps / 1e3:.0f} kB a step")
            judged, lines = (processor_seconds(work, folder / "moments") for work in (diagnose, read_one_vector))
            print(
                f"  a core    {layer_steps / judged:6.0f} /s     lines and blocks {lines / steps * 1e3:.1f} ms a step"
            )
            idle = [seconds(workers, nothing, list(shapes))[0] for _ in range(20)]
            print(f"  a share   {statistics.median(idle) / (SHARES * workers.count) * 1e3:.1f} ms")
    finally:
        shutil.rmtree(folder)
    if not local / spread >= LIMIT:
        sys.exit(f"The workers audited at {local / spread:.2f} of the speed of one process; {LIMIT} is wanted.")


if __name__ == "__main__":
    main()
