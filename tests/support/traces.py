"""Traces for the tests: written by hand with numpy.save and json, as a foreign program would, and by the writer."""

import json

import numpy as np

SETTINGS = {
    "decay": 0.9,
    "epsilon": 0.001,
    "data_format": "NHWC",
    "dtype": "float32",
    "fused": False,
    "zero_debias": False,
    "trainable": True,
    "release": None,
}
AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")


def foreign(folder, steps=2):
    """A trace of one layer "bn", without `trace.Writer`; returns its two JSON contents for tests to change."""
    (folder / "arrays").mkdir(parents=True)
    lines = []
    for step in range(steps):
        rng = np.random.default_rng(step)
        vectors = np.abs(rng.normal(size=(6, 3))).astype(np.float32)
        np.save(folder / f"arrays/{step}-vectors.npy", vectors)
        np.save(folder / f"arrays/{step}-in.npy", rng.normal(size=(4, 2, 2, 3)).astype(np.float32))
        np.save(folder / f"arrays/{step}-out.npy", rng.normal(size=(4, 2, 2, 3)).astype(np.float32))
        names = (*AROUND, "gamma", "beta")
        record = {name: f"arrays/{step}-vectors.npy#{i}" for i, name in enumerate(names)}
        record |= {"inputs": [f"arrays/{step}-in.npy"], "outputs": [f"arrays/{step}-out.npy"]}
        lines.append({"step": step, "training": True, "layers": {"bn": record}})
    head = {"format": "tf1bn-trace", "version": 1, "layers": {"bn": dict(SETTINGS)}}
    put(folder, head, lines)
    return head, lines


def put(folder, head, lines):
    (folder / "trace.json").write_text(json.dumps(head))
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_all(opened):
    """Everything that can be read, as {step: {layer: {name: value}}}."""
    result = {}
    for step in opened:
        result[step.number] = {}
        for name, record in step.layers.items():
            values = {key: getattr(record, key) for key in (*AROUND, "gamma", "beta", "inputs", "outputs", "weights")}
            values |= {"training": record.training, "decay": record.decay, "state": dict(record.state)}
            values["moments"] = record.moments and [(m.count, m.mean, m.variance) for m in record.moments]
            result[step.number][name] = values
    return result


def a_record(rng, shape=(4, 2, 2, 3), applications=1, dtype=np.float32):
    """What `trace.Writer.add_step` takes for a layer, with everything that it can take beside inputs."""
    channels = shape[-1]

    def vector(kind=dtype):
        return np.abs(rng.normal(size=channels)).astype(kind)

    return {
        **{name: vector() for name in (*AROUND, "gamma", "beta")},
        "inputs": [rng.normal(size=shape).astype(dtype) for _ in range(applications)],
        "outputs": [rng.normal(size=shape).astype(dtype) for _ in range(applications)],
        "training": [i % 2 == 0 for i in range(applications)],
        "decay": 0.5,
        "weights": [rng.uniform(size=shape[0]) if i % 2 == 0 else None for i in range(applications)],
        "state": {"biased": vector(), "local_step": np.float32(3), "biased_after": vector(np.float64)},
    }
