"""Layers of real frameworks with settings drawn at random, run, recorded and audited: none may be a finding.

python tests/support/correct_layers.py [--framework F] [--count N] [--seed S] [--first I]

Case I of seed S is a model of some layers, each with settings and data of its own; `--count` is the number of models
for each framework. A layer that is applied several times in a step may be a `double-update` and nothing else, because
that is what it is. Options that no correct layer survives are not drawn, and say so where they would be.
"""

import argparse
import collections
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]
import honest  # noqa: E402

LAYERS = 6  # of a model
FRAMEWORKS = ("contrib", "tf_keras", "keras", "torch")


class Draw:
    """The settings of one layer and its data, from one generator.

    Attributes:
      rank, shape, axis: of the input; axis is that of the channels.
      dtype: of the input; data: the name of what it is filled with.
      decay, epsilon: numbers.
      times: how often the layer is applied in a step.
      center, scale, trainable: flags.
    """

    def __init__(self, rng, ranks, dtypes):
        pick = lambda *choices: choices[int(rng.integers(len(choices)))]  # noqa: E731
        self.rng, self.pick = rng, pick
        self.rank = pick(*ranks)
        sides = [int(side) for side in rng.integers(1, 7, self.rank)]
        sides[0] = pick(2, 3, 4, 8, 16, 33, int(rng.integers(2, 65)))
        self.axis = pick(self.rank - 1, self.rank - 1, 1)
        sides[self.axis] = pick(1, 2, 3, 5, 8, 17, 32)
        self.shape = tuple(sides)
        self.dtype = pick(*dtypes)
        self.data = pick(*honest.KINDS)
        self.decay = pick(
            0.9, 0.99, 0.999, 0.5, 0.7, 0.0, round(float(rng.uniform(0.01, 0.999)), int(rng.integers(1, 6)))
        )
        self.decay = min(self.decay, 0.9999)
        self.epsilon = pick(1e-3, 1e-5, 2e-5, 1e-2, 1e-4, 0.1, 1e-6, 1e-12)
        self.times = pick(1, 1, 1, 1, 1, 2, 3)
        self.center, self.scale, self.trainable = (bool(rng.random() < share) for share in (0.8, 0.7, 0.9))

    def batch(self):
        """float32 values in the shape, each channel with a scale of its own."""
        channels = self.shape[self.axis]
        rest = tuple(size for i, size in enumerate(self.shape) if i != self.axis)
        values = honest.KINDS[self.data](self.rng, (int(np.prod(rest)), channels))
        values = (values * np.linspace(0.5, 1.5, channels)).reshape(*rest, channels)
        if self.dtype == "float16":
            values = np.clip(values, -200, 200)  # the variance has to be a number of float16
        return np.moveaxis(values, -1, self.axis).astype(np.float32)

    def vector(self, low, high):
        """A parameter, float32 [channels]."""
        return self.rng.uniform(low, high, self.shape[self.axis]).astype(np.float32)

    def __str__(self):
        names = ("shape", "axis", "dtype", "data", "decay", "epsilon", "times", "center", "scale", "trainable")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def schedule(rng):
    """Which steps of a run train: some that do, then one or two that do not, and perhaps some more that do."""
    steps = [True] * int(rng.integers(1, 7)) + [False] * int(rng.integers(0, 3))
    return steps + [True] * int(rng.integers(0, 3))


def run_contrib(rng, path):
    """Layers of `tf1bn.batch_norm` in a graph; returns what each was by its name."""
    import tensorflow
    from modes import played_in

    import tf1bn

    tf = tensorflow.compat.v1
    drawn, values = {}, {}
    with played_in(str(rng.choice(["reference", "resource"]))), tf.Graph().as_default():
        training = tf.placeholder(tf.bool, [])
        fetched = []
        for i in range(LAYERS):
            draw = Draw(rng, (2, 3, 4, 4, 5), ("float32", "float32", "float32", "float64", "float16"))
            if draw.axis not in (1, draw.rank - 1) or draw.rank == 2:
                draw.axis = draw.rank - 1
            given = contrib_settings(draw)
            draw.given = given
            drawn[f"layer{i}"] = draw
            with tf.variable_scope(f"layer{i}", reuse=tf.AUTO_REUSE):
                for _ in range(draw.times):
                    x = tf.placeholder(draw.dtype, draw.shape)
                    values[x] = draw
                    fetched.append(tf1bn.batch_norm(x, is_training=training, scope="bn", **given))
        with tf.Session() as session, tf1bn.Recorder(session, path, keep="all") as recorder:
            session.run(tf.global_variables_initializer())
            for trains in schedule(rng):
                updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if trains else []
                feed = {x: draw.batch().astype(draw.dtype) for x, draw in values.items()}
                recorder.run([fetched, updates], {**feed, training: trains})
    return {f"{name}/bn": draw for name, draw in drawn.items()}


def contrib_settings(draw):
    """Keywords of `tf1bn.batch_norm` that real TF 1.15 takes with this input."""
    layout = "NCHW" if draw.axis == 1 and draw.rank > 2 else "NHWC"
    if draw.dtype == "float16":
        draw.epsilon = max(draw.epsilon, 1e-6)  # 1 / sqrt(epsilon) has to be one of float16's numbers
    given = {"decay": draw.decay, "epsilon": draw.epsilon, "center": draw.center, "scale": draw.scale}
    given |= {"data_format": layout, "trainable": draw.trainable, "fused": draw.pick(None, False)}
    if draw.dtype == "float64" or draw.rank in (3, 5):
        given["fused"] = False
    if given["fused"] is None:
        # The fused kernel takes no less, and that it does is a finding: `epsilon-floor`.
        given["epsilon"] = max(draw.epsilon, 1.001e-5)
    kind = draw.pick("", "", "", "", "zero debias", "renorm", "weights", "inline")
    if draw.dtype != "float32" or draw.times > 1 or draw.rank in (3, 5):
        kind = draw.pick("", "inline")
    if kind == "zero debias":
        given |= {"zero_debias_moving_mean": True, "updates_collections": None}
        given["decay"] = max(draw.decay, 0.5)
    elif kind == "renorm":
        given |= {"renorm": True, "fused": False}
    elif kind == "weights":
        weights = draw.rng.uniform(0.2, 2, draw.shape[0]).astype("f4")
        given |= {"batch_weights": weights, "updates_collections": None, "fused": False}
    elif kind == "inline":
        given["updates_collections"] = None
    return given


def run_keras(rng, path, keras):
    """Layers of Keras 3 or tf_keras in one model, called eagerly or in a tf.function; returns what each was."""
    import tensorflow as tf

    from tf1bn.recorders.keras import record

    keras.backend.clear_session()
    drawn, inputs, outputs = {}, [], []
    with_masks = keras.__name__ == "keras"
    for i in range(LAYERS):
        draw = Draw(
            rng, (2, 3, 4, 4, 5), ("float32", "float32", "float32", "float64", "mixed_float16", "mixed_bfloat16")
        )
        draw.axis = int(draw.rng.integers(1, draw.rank))
        draw.masked = with_masks and draw.rank == 3 and draw.axis == 2 and draw.rng.random() < 0.4
        layer = keras.layers.BatchNormalization(
            # Keras 3 itself fails on a mask of one channel that is counted from the front.
            axis=draw.axis if draw.rng.random() < 0.5 and not draw.masked else draw.axis - draw.rank,
            momentum=draw.decay,
            epsilon=draw.epsilon,
            center=draw.center,
            scale=draw.scale,
            name=f"layer{i}",
            dtype=keras.mixed_precision.Policy(draw.dtype) if "mixed" in draw.dtype else draw.dtype,
        )
        layer.trainable = draw.trainable
        drawn[f"layer{i}"] = draw
        for _ in range(draw.times):
            x = keras.layers.Input(draw.shape[1:], batch_size=draw.shape[0])
            inputs.append((x, draw))
            here = keras.layers.Masking(0.0)(x) if draw.masked else x
            outputs.append(layer(here))
    model = keras.Model([x for x, _ in inputs], outputs)
    call = model if rng.random() < 0.5 else tf.function(model)
    with record(model, path, keep="all"):
        for trains in schedule(rng):
            batches = []
            for _, draw in inputs:
                batch = draw.batch()
                if draw.masked:
                    batch[draw.rng.random(batch.shape[:2]) < 0.3] = 0
                batches.append(tf.constant(batch))
            call(batches, training=trains)
            if trains:
                for name, draw in drawn.items():
                    for weight in model.get_layer(name).trainable_weights:
                        weight.assign_add(0.1 * tf.cast(draw.vector(-1, 1), weight.dtype))
    return drawn


def run_torch(rng, path, _=None):
    """Layers of PyTorch in one module; returns what each was."""
    import torch
    from torch import nn

    from tf1bn.recorders.torch import record

    drawn, layers = {}, nn.ModuleDict()
    for i in range(LAYERS):
        draw = Draw(
            rng, (2, 3, 4, 4, 5), ("float32", "float32", "float32", "float64", "bfloat16", "autocast", "float16")
        )
        draw.axis = 1
        draw.shape = (draw.shape[0], draw.pick(1, 2, 3, 5, 8, 17), *draw.shape[2:])
        make = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[draw.rank]
        momentum = None if draw.rng.random() < 0.15 else 1 - draw.decay
        draw.momentum, draw.last = momentum, draw.rank == 4 and draw.rng.random() < 0.4
        layer = make(draw.shape[1], eps=draw.epsilon, momentum=momentum, affine=draw.scale)
        if draw.scale:
            nn.init.uniform_(layer.weight, 0.2, 2)
            nn.init.uniform_(layer.bias, -1, 1)
        if draw.dtype == "float16" and draw.epsilon < 1e-9:
            layer.eps = 1e-5  # PyTorch's outputs are NaN: 1 / sqrt(epsilon) is none of float16's numbers
        if draw.dtype in ("float64", "bfloat16", "float16"):
            layer = layer.to(getattr(torch, draw.dtype))
        layer.requires_grad_(draw.trainable)
        layers[f"layer{i}"] = layer
        drawn[f"layers.layer{i}"] = draw

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, batches):
            outputs = []
            for name, draw in drawn.items():
                layer = self.layers[name.removeprefix("layers.")]
                with torch.autocast("cpu", torch.bfloat16, enabled=draw.dtype == "autocast"):
                    outputs += [layer(batches.pop(0)).float().square().mean() for _ in range(draw.times)]
            return sum(outputs)

    model = Model()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or [torch.zeros(1)], 0.01)
    with record(model, path, keep="all"):
        for trains in schedule(rng):
            model.train(trains)
            batches = []
            for draw in drawn.values():
                for _ in range(draw.times):
                    dtype = "bfloat16" if draw.dtype == "autocast" else draw.dtype
                    batch = torch.tensor(draw.batch()).to(getattr(torch, dtype))
                    if draw.last:
                        batch = batch.to(memory_format=torch.channels_last)
                    batches.append(batch)
            optimizer.zero_grad()
            with torch.set_grad_enabled(trains):
                loss = model(batches)
            if trains and loss.requires_grad and torch.isfinite(loss):
                loss.backward()
                if all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters()):
                    optimizer.step()
    return drawn


def run(framework, seed, index, path):
    """Make the trace of a case; returns the `Draw` of each layer by its name in the trace."""
    rng = np.random.default_rng([seed, index, FRAMEWORKS.index(framework)])
    if framework == "contrib":
        return run_contrib(rng, path)
    if framework == "torch":
        return run_torch(rng, path)
    if framework == "keras":
        import keras
    else:
        import tf_keras as keras
    return run_keras(rng, path, keras)


def judge(path, drawn):
    """The `Diagnosis` of each layer, and a sentence about each that is called wrong although it is right."""
    from tf1bn.diagnosis import diagnose

    results, alarms = diagnose(path), []
    assert {result.name for result in results} == drawn.keys(), (sorted(drawn), [result.name for result in results])
    for result in results:
        draw = drawn[result.name]
        causes = {cause.id for cause in result.causes if cause.severity == "finding"}
        if causes - ({"double-update"} if draw.times > 1 else set()) or (causes and result.verdict != "finding"):
            extra = {key: value for key, value in vars(draw).items() if key in ("given", "momentum", "masked", "last")}
            alarms.append(f"{result.name} ({draw}, {extra}): {sorted(causes)}: {result.explanation}")
    return results, alarms


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for framework in FRAMEWORKS if args.framework is None else [args.framework]:
            counts = collections.Counter()
            for index in range(args.first, args.first + args.count):
                path = os.path.join(folder, f"{framework}-{index}.trace")
                results, alarms = judge(path, run(framework, args.seed, index, path))
                for result in results:
                    shared = any(cause.id == "double-update" for cause in result.causes)
                    counts["applied several times" if shared else result.verdict] += 1
                failed += len(alarms)
                for alarm in alarms:
                    print(f"--framework {framework} --seed {args.seed} --first {index} --count 1: {alarm}", flush=True)
                for result in results:
                    if result.verdict == "undecidable" and args.count == 1:
                        print(f"undecidable: {result.name}: {result.explanation}")
            words = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            print(f"{framework}: {counts.total()} layers: {words}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
