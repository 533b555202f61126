"""Causes that TensorFlow itself was made to have: what a layer really did against what its trace declares.

Each fault is built three times: fused at rank 2 and 4, and composed at rank 4. All run in one graph; what a port would
have declared is then put into trace.json, or the flag of training into steps.jsonl.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow
from modes import played_in

import tf1bn
from tf1bn import trace
from tf1bn.diagnosis import engine as diagnosis

tf = tensorflow.compat.v1
STEPS = 5
FORMS = {
    "fused, rank 2": ((16, 5), {}),
    "fused, rank 4": ((4, 3, 3, 4), {}),
    "composed, rank 4": ((4, 4, 4, 4), {"fused": False}),
}


class Fault:
    """What is wrong, and how it comes about.

    Attributes:
      causes: the first one named must be among these.
      layer: keywords of the layer as it really is; declared: keys of trace.json that say otherwise, or a function of
        what is recorded there.
      runs: "updates", "no updates", or which towers' updates; "loss": those of the same layer built for training, on
        which the loss depends that evaluation fetches.
      towers: how many inputs the layer is applied to; size: None, or the number of samples.
      training: what the steps say of training; flag: what the layer is built with.
    """

    HOW = {"runs": "updates", "towers": 1, "size": None, "training": True, "flag": True}  # noqa: RUF012

    def __init__(self, *causes, layer=(), declared=(), verdict="finding", forms=tuple(FORMS), dtype="float32", **how):
        runs, towers, size, training, flag = (how.pop(key, value) for key, value in self.HOW.items())
        self.causes, self.layer, self.declared, self.runs, self.towers = causes, dict(layer), declared, runs, towers
        self.size, self.training, self.flag, self.verdict, self.dtype = size, training, flag, verdict, dtype
        self.forms = forms


def other_convention(head):
    return {"fused": not head["fused"]}


FAULTS = {
    "updates not run": Fault("not-updated", runs="no updates"),
    "two towers": Fault("double-update", towers=2),
    "the last tower alone": Fault("one-tower-only", towers=2, runs=1),
    "decay 1": Fault("frozen", layer={"decay": 1.0}),
    "decay 0": Fault("no-memory", layer={"decay": 0.0}, verdict="ok"),
    "the other convention": Fault("bessel", "no-bessel", declared=other_convention),
    "another decay": Fault("decay", layer={"decay": 0.7}, declared={"decay": 0.9}),
    "momentum": Fault("momentum-flipped", layer={"decay": 0.1}, declared={"decay": 0.9}),
    "flag off": Fault("training-flag-off", flag=False),
    "updates hung on the loss": Fault("validation-leak", runs="loss", training=False, flag=False),
    "flag on": Fault("batch-stats-at-inference", training=False),
    "zero debias": Fault(
        "zero-debias",
        layer={"zero_debias_moving_mean": True, "updates_collections": None},
        declared={"zero_debias": False},
    ),
    "renorm": Fault(
        "renorm", layer={"renorm": True, "fused": False}, declared={"renorm": False}, forms=("composed, rank 4",)
    ),
    "the other axis": Fault("wrong-axis", declared={"data_format": "NCHW"}, forms=("composed, rank 4",)),
    "float16": Fault(
        "half-precision", layer={"fused": False, "decay": 0.9999, "updates_collections": None}, dtype="float16"
    ),
    "one value": Fault("single-value", size=1, verdict="ok", forms=("fused, rank 2",)),
    "no sample": Fault("empty-batch", size=0, forms=("composed, rank 4",)),
}
CASES = [(name, form) for name, fault in FAULTS.items() for form in fault.forms]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The trace of all faults, as it was recorded."""
    path = tmp_path_factory.mktemp("faults") / "run.trace"
    rng = np.random.default_rng(3)
    fetched, feeds = [], [{} for _ in range(STEPS)]
    with played_in("reference"), tf.Graph().as_default():
        for name, form in CASES:
            fault, (shape, keywords) = FAULTS[name], FORMS[form]
            shape = shape if fault.size is None else (fault.size, *shape[1:])
            keywords = {"decay": 0.9, **keywords, **fault.layer}
            scope = label(name, form)
            for tower in range(fault.towers):
                x = tf.placeholder(fault.dtype, shape)
                before = len(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
                y = tf1bn.batch_norm(x, is_training=fault.flag, scope=scope, reuse=tower > 0, **keywords)
                fetched.append(y)
                if fault.runs == "loss":
                    # TensorFlow gives the two no order; here the evaluation reads first.
                    with tf.control_dependencies([y]):
                        trained = tf.identity(x)
                    fetched.append(tf1bn.batch_norm(trained, is_training=True, scope=scope, reuse=True, **keywords))
                    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)[before:]):
                        fetched.append(tf.reduce_mean(tf.square(y)))
                if fault.runs in ("updates", tower):
                    fetched += tf.get_collection(tf.GraphKeys.UPDATE_OPS)[before:]
                for feed in feeds:
                    place = np.linspace(-2, 3, shape[-1])
                    feed[x] = (rng.normal(size=shape) * np.linspace(0.5, 2, shape[-1]) + place).astype(fault.dtype)
        with tf.Session() as session, tf1bn.Recorder(session, str(path)) as recorder:
            session.run(tf.global_variables_initializer())
            for variable in tf.global_variables():  # warm, as after a while of training
                kind = variable.dtype.base_dtype
                if kind.is_floating and "/moving_" in variable.op.name and "zero_debias" not in variable.op.name:
                    # Far from 0, so that float16 has no digits for the updates.
                    variable.load(session.run(variable) + (8 if kind == tf.float16 else 0.5), session)
            for feed in feeds:
                recorder.run(fetched, feed)
    return path


def label(name, form):
    return "".join(c if c.isalnum() else "_" for c in f"{name} {form}")


@pytest.fixture(scope="module")
def judged(folder):
    """The diagnosis of every layer, with what a port would have declared."""
    head = json.loads((folder / "trace.json").read_text())
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for name, form in CASES:
        fault, layer = FAULTS[name], head["layers"][label(name, form)]
        layer.update(fault.declared(layer) if callable(fault.declared) else dict(fault.declared))
        for step in steps:
            record = step["layers"][label(name, form)]
            record["training"] = fault.training
            if fault.runs == "loss":  # the application that the evaluation is about
                record.update({key: record[key][:1] for key in ("inputs", "outputs")})
    Path(folder / "trace.json").write_text(json.dumps(head))
    Path(folder / "steps.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return {one.name: one for one in diagnosis.diagnose(trace.open(folder))}


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_cause_is_named(name, form, judged):
    one, fault = judged[label(name, form)], FAULTS[name]
    assert one.verdict == fault.verdict, one.explanation
    assert one.causes, one.explanation
    assert one.causes[0].id in fault.causes, one.explanation
