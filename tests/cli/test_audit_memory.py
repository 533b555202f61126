"""An audit of a trace that is larger than the memory it may take."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tf1bn import trace

SHAPES = {"NHWC": (64, 56, 56, 32), "NCHW": (64, 32, 56, 56)}  # 25.7 MB each
STEPS = 2
EPSILON = 1e-3
AUDIT = """
import resource, sys
import numpy as np
from tf1bn import diagnosis, trace
from tf1bn.reports import curves, html
opened = trace.open(sys.argv[1])
for line in open("/proc/self/status"):
    if line.startswith("VmData"):
        used = 1024 * int(line.split()[1])
limit = used + (48 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
x = next(iter(opened)).layers["NHWC"].inputs[0]
assert used + 2 * x.nbytes > limit
try:
    np.array(x), np.array(x)
    sys.exit("there was room for two batches")
except MemoryError:
    pass
with curves.Curves() as kept:
    for found in diagnosis.diagnose(opened, curves=kept):
        print(found.name, found.verdict, *(one.id for one in found.causes))
        assert len(kept.of(found.name)["moving_mean"]["step"]) == 2
"""


def of_two_layouts(path):
    """Inputs and outputs of honest layers, of one with another variance convention, and the bytes of all of them."""
    pool = np.random.default_rng(0).normal(1, 2, 1 << 22).astype(np.float32)
    total = 0
    with trace.Writer(path) as writer:
        moving = {}
        for name, data_format in (("NHWC", "NHWC"), ("NCHW", "NCHW"), ("wrong", "NHWC")):
            writer.add_layer(name, decay=0.9, epsilon=EPSILON, data_format=data_format, fused=False)
            moving[name] = np.zeros(32, np.float32), np.ones(32, np.float32)
        for step in range(STEPS):
            records = {}
            for i, name in enumerate(moving):
                shape = SHAPES.get(name, SHAPES["NHWC"])
                x = np.resize(pool[1000 * (3 * step + i) :], shape)
                axes = (0, 2, 3) if name == "NCHW" else (0, 1, 2)
                across = [32 if axis not in axes else 1 for axis in range(4)]
                mean, variance = x.mean(axes, np.float64), x.var(axes, np.float64)
                slope = (1 / np.sqrt(variance + EPSILON)).astype(np.float32).reshape(across)
                before = moving[name]
                if name == "wrong":
                    variance = 2 * variance
                moving[name] = tuple(
                    (old - (old - new) * 0.1).astype(np.float32)
                    for old, new in zip(before, (mean, variance), strict=True)
                )
                records[name] = {
                    "inputs": [x],
                    "outputs": [(x - mean.astype(np.float32).reshape(across)) * slope],
                    "gamma": np.ones(32, np.float32),
                    "beta": np.zeros(32, np.float32),
                    "moving_mean_before": before[0],
                    "moving_variance_before": before[1],
                    "moving_mean_after": moving[name][0],
                    "moving_variance_after": moving[name][1],
                }
                total += 2 * x.nbytes
            writer.add_step(records, training=True)
    return total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts mappings on Linux only")
def test_a_trace_larger_than_memory(tmp_path):
    assert of_two_layouts(tmp_path / "t") > 300e6
    # Threads of a BLAS would count, and are many on large machines.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, tmp_path / "t"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["NHWC ok cold-start", "NCHW ok cold-start", "wrong finding unexplained"]
