"""A small network with four batch-norm layers, simulated in NumPy with any framework's rules, and its traces.

conv (1x1) - bn1 - relu - conv - bn2 - relu - conv - bn3 + shortcut - relu - mean - bn4. Nothing here uses the package
under test but ``trace.Writer``.
"""

import dataclasses

import honest
import numpy as np

from tf1bn import trace

NAMES = ("bn1", "bn2", "bn3", "bn4")
CHANNELS = (3, 4, 3, 3)


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a layer does; ``declared`` are settings of the trace that say otherwise."""

    decay: float = 0.9
    epsilon: float = 1e-3
    bessel: bool = False
    weighted: bool = False
    gamma: bool = True
    update: bool = True
    training: bool = True  # False: normalises by the moving statistics in training, too
    batch_at_inference: bool = False
    updates: int = 1
    order: str = "pairwise"
    dtype: str = "float32"
    extra: float = 0.0  # added to the outputs
    declared: tuple = ()


class Layer:
    def __init__(self, rules, channels, seed):
        self.rules = rules
        rng = np.random.default_rng([seed, 5])
        gamma = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        self.gamma = gamma if rules.gamma else np.ones(channels, np.float32)
        self.beta = rng.normal(0, 0.3, channels).astype(np.float32)
        self.mean, self.variance = np.zeros(channels, rules.dtype), np.ones(channels, rules.dtype)

    def __call__(self, x, training):
        rules, record = self.rules, {"inputs": [x], "beta": self.beta.copy(), "training": training}
        if rules.gamma:
            record["gamma"] = self.gamma.copy()
        record["moving_mean_before"], record["moving_variance_before"] = self.mean.copy(), self.variance.copy()
        flat = x.reshape(-1, x.shape[-1])
        # A float64 layer computes in float64.
        wide = flat.astype(np.float64) if rules.dtype == "float64" else flat
        mean, variance = honest.layer_moments(honest.MOMENTS[rules.order], wide)
        by_batch = (training and rules.training) or (not training and rules.batch_at_inference)
        use = (mean, variance) if by_batch else (self.mean.astype(wide.dtype), self.variance.astype(wide.dtype))
        scale = self.gamma / np.sqrt(use[1] + np.float32(rules.epsilon))
        y = (x * scale + (self.beta - use[0] * scale) + np.float32(rules.extra)).astype(np.float32)
        if training and rules.training and rules.update:
            if rules.bessel:
                variance = variance * np.float32(len(flat) / (len(flat) - 1))
            kind = np.dtype(rules.dtype).type
            keep, rate = kind(rules.decay), kind(1 - rules.decay)
            for _ in range(rules.updates):
                for name, new in (("mean", mean.astype(kind)), ("variance", variance.astype(kind))):
                    old = getattr(self, name)
                    setattr(self, name, old * keep + new * rate if rules.weighted else old - (old - new) * rate)
        record["outputs"] = [y]
        record["moving_mean_after"], record["moving_variance_after"] = self.mean.copy(), self.variance.copy()
        return y, record


class Net:
    """``rules`` may be one `Rules` or one for each of `NAMES`; ``swapped``: bn1 and bn3 change places."""

    def __init__(self, rules=Rules(), swapped=False, other_weight=False):
        rules = [rules] * 4 if isinstance(rules, Rules) else [rules.get(name, Rules()) for name in NAMES]
        self.layers = [Layer(one, channels, i) for i, (one, channels) in enumerate(zip(rules, CHANNELS, strict=True))]
        if swapped:
            self.layers[0], self.layers[2] = self.layers[2], self.layers[0]
        rng = np.random.default_rng(77)
        self.weights = [rng.normal(0, 0.7, shape).astype(np.float32) for shape in ((2, 3), (3, 4), (4, 3), (2, 3))]
        if other_weight:
            self.weights[2] = self.weights[2] * np.float32(1.1)

    def step(self, x, training):
        """Outputs of all layers in this order, and their records."""
        records = []

        def norm(i, x):
            y, record = self.layers[i](x, training)
            records.append(record)
            return y

        h = np.maximum(norm(0, x @ self.weights[0]), 0)
        h = np.maximum(norm(1, h @ self.weights[1]), 0)
        h = np.maximum(norm(2, h @ self.weights[2]) + x @ self.weights[3], 0)
        norm(3, h.mean(axis=(1, 2)))
        return records


def batches(steps=4, shape=(8, 5, 4, 2), seed=0):
    rng = np.random.default_rng([seed, 3])
    return [rng.normal(1, 2, shape).astype(np.float32) * [1, 3] for _ in range(steps)]


def write(
    path,
    net=None,
    *,
    data=None,
    names=NAMES,
    training=(True, True, True, False),
    layout="NHWC",
    keep="inputs",
    outputs=True,
    settings=None,
    only=range(4),
    **more,
):
    """Run a `Net` (or one of ``Rules`` given by ``more``) and write its trace; returns it opened.

    ``settings``: per layer, what the trace declares instead; ``only``: the indices of the layers that it holds.
    """
    net = net or Net(Rules(**more))
    declared = settings or {}
    with trace.Writer(path) as writer:
        for i in only:
            rules = net.layers[i].rules
            values = {
                "decay": rules.decay,
                "epsilon": rules.epsilon,
                "data_format": layout if i < 3 else "NHWC",
                "dtype": rules.dtype,
                "fused": rules.bessel,
                "center": True,
                "scale": rules.gamma,
                "recurrence": "weighted" if rules.weighted else "difference",
            }
            writer.add_layer(names[i], **values | declared)
        for x, trains in zip(data or batches(len(training)), training, strict=False):
            records = net.step(x.astype(np.float32), trains)
            values = {}
            for i in only:
                record = dict(records[i])
                if layout == "NCHW" and i < 3:
                    for key in ("inputs", "outputs"):
                        record[key] = [np.moveaxis(array, -1, 1) for array in record[key]]
                if keep == "moments":
                    flat = records[i]["inputs"][0].reshape(-1, CHANNELS[i]).astype(np.float64)
                    record["moments"] = [{"count": len(flat), "mean": flat.mean(axis=0), "variance": flat.var(axis=0)}]
                    del record["inputs"]
                if not outputs or keep == "moments":
                    del record["outputs"]
                values[names[i]] = record
            writer.add_step(values, training=trains)
    return trace.open(path)
