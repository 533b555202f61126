"""A program of a user of tf1bn, for ``mypy --strict``: it uses every public package and is never run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import tf1bn
from tf1bn import (
    checker,
    checkpoints,
    contrib,
    diagnosis,
    errors,
    graphs,
    legacy,
    parity,
    recorders,
    releases,
    reproduce,
    testing,
    trace,
)


def check_statistics(batches: list[npt.NDArray[np.float32]]) -> bool:
    """Recompute moving statistics and compare them."""
    moments = checker.batch_moments(batches[0], data_format="NHWC", threads=1)
    merged: checker.Moments = moments.merge(checker.batch_moments(batches[1]))
    mean: npt.NDArray[np.float64] = merged.mean
    stats = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.9, bessel=True)
    for batch in batches:
        stats.update(batch)
    bound: npt.NDArray[np.float64] = stats.mean_bound + stats.variance_bound
    comparison = stats.compare(stats.mean, stats.variance)
    print(merged.count, merged.variance, mean, bound, comparison.verdict)
    return bool(comparison.ok)


def write_and_read(path: str) -> list[str]:
    """Write a trace, read it and diagnose it."""
    x = np.ones((4, 3), np.float32)
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False)
        zeros = np.zeros(3, np.float32)
        record = {
            "inputs": [x],
            "moving_mean_before": zeros,
            "moving_variance_before": zeros,
            "moving_mean_after": zeros,
            "moving_variance_after": zeros,
        }
        writer.add_step({"bn": record}, training=True)
    opened = trace.open(path)
    names = [name for step in opened for name in step.layers]
    for result in diagnosis.diagnose(opened):
        causes: list[diagnosis.Cause] = list(result.causes)
        names += [result.name, result.verdict, *(cause.id for cause in causes)]
    return names


def audit(path: str) -> bool:
    """Audit a checkpoint and read a variable of it."""
    with checkpoints.open_checkpoint(path) as checkpoint:
        shapes: dict[str, tuple[int, ...]] = {name: item.shape for name, item in checkpoint.variables.items()}
        values = [checkpoint.read(name) for name in shapes]
    result = checkpoints.audit_checkpoint(path)
    print(len(values), result["layers"], [layer.verdict for layer in result.layers])
    print(graphs.audit(path + ".meta", train_op=["train"])["graph"])
    result.to_html("page.html")
    text: str = diagnosis.diagnose("run.trace").to_json()
    return bool(result["ok"]) and result.ok and len(text) > 2


def compare(old: str, new: str) -> None:
    """Compare a port with its original, in a program and in a test."""
    try:
        result = parity.compare_traces(trace.open(old), trace.open(new))
        print(result["ok"], parity.compare_checkpoints(old, new)["ok"], parity.compare_graphs(old, new)["ok"])
    except errors.Tf1bnError as error:
        print(error)
    batches = [np.ones((4, 3), np.float32)]
    testing.assert_parity(old, lambda batch, training: (batch, {}), batches, rtol=1e-4)


def port() -> None:
    """The layer, the names that old code imports, and an old script."""
    with tf1bn.release("1.3"):
        y = tf1bn.batch_norm(None, decay=0.9, scale=True)
    y = tf1bn.batch_normalization(y, momentum=0.9)
    with tf1bn.Recorder(None, "run.trace") as recorder:
        recorder.run(y)
    recorders.Recorder(None, "other.trace").close()
    print(contrib.layers.batch_norm, releases.get("1.3").name)
    status: int = legacy.run_script("train.py", ["--steps", "3"], release="1.3")
    print(status, reproduce.main(["--help"]))


def renew(model: object, batches: list[object]) -> float:
    """Moving statistics computed anew from data."""
    report = tf1bn.recalibrate(model, batches, order="sequential", write=False)
    print(report.to_json(), [layer.new_mean for layer in report.layers], dict(report.left_out))
    return max(layer.output_change for layer in report.layers)
