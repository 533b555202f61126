"""Traces of simulated layers, honest and with one thing or two gone wrong; nothing here uses the checker.

The layers compute in float32 or float16 with the moments of ``honest.py``, step by step.
"""

import honest
import numpy as np

from tf1bn import trace

ORDERS = ("in order", "pairwise", "8 lanes", "in order, shifted", "random tree")
SETTINGS = {"epsilon": 0.001, "data_format": "NHWC", "dtype": "float32", "fused": False, "center": True, "scale": True}


def data(kind, rng, shape, dtype="float32"):
    """A batch, channels last, whose channels differ in size and place."""
    channels = shape[-1]
    values = honest.KINDS[kind](rng, (int(np.prod(shape[:-1])), channels))
    place = np.linspace(-0.5, 2, channels) * (np.abs(values).mean() if values.size else 0)
    return (values * np.linspace(0.5, 2, channels) + place).astype(dtype).reshape(shape)


class Layer:
    """A layer that does what it should: subclasses do something else.

    Attributes:
      decay, bessel, rate_dtype: those that it really has.
    """

    def __init__(self, decay, bessel=False, rate_dtype="float64", dtype="float32", order="pairwise", epsilon=0.001):
        self.decay, self.bessel, self.rate_dtype, self.dtype, self.epsilon = decay, bessel, rate_dtype, dtype, epsilon
        self._moments = honest.MOMENTS[order]
        self.steps = 0

    def moments(self, batch):
        """Mean and variance [channels] of a batch, channels last."""
        return honest.layer_moments(self._moments, batch.reshape(-1, batch.shape[-1]))

    def count(self, batch):
        return batch.size // batch.shape[-1]

    def once(self, moving, batch, decay=None):
        return honest.step(
            moving,
            self.count(batch),
            self.moments(batch),
            decay=self.decay if decay is None else decay,
            rate_dtype=self.rate_dtype,
            bessel=self.bessel,
        )

    def train(self, moving, batches):
        """The statistics after a training step."""
        for batch in batches:
            moving = self.once(moving, batch)
        return moving

    def test(self, moving, batches):
        return moving

    def unseen(self, moving, batches):
        """The statistics that the next step starts from: those after this one, unless something is not recorded."""
        return moving

    def more(self):
        """Further keys of the record of the last step."""
        return {}

    def statistics(self, moving, batch, training):
        """Which mean and variance the outputs use."""
        return self.moments(batch) if training else moving

    def output(self, moving, batch, training, gamma, beta):
        mean, variance = self.statistics(moving, batch, training)
        # An array of float16 plus a number of float32 is float16 in NumPy 1, where epsilon would be lost.
        variance = variance.astype(np.result_type(variance.dtype, np.float32))
        scale = gamma / np.sqrt(variance + np.float32(self.epsilon))
        return (batch * scale + (beta - mean * scale)).astype(batch.dtype)


def simulated(
    layer,
    *,
    decay,
    shape=(8, 3, 3, 4),
    kind="normal",
    steps=4,
    start="warm",
    training=True,
    applications=1,
    outputs=False,
    keep="inputs",
    seed=0,
    batches=None,
    extra=None,
    **settings,
):
    """What the declared ``settings`` of ``layer`` are, and its record of each step with whether that step trains.

    ``shape`` is channels last; ``batches(t, i)`` gives other data, ``extra(t)`` further keys of a step's record.
    ``training`` may be a function of the step; ``start`` is "warm", "cold" or the two statistics.
    """
    rng = np.random.default_rng([seed, 7])
    declared = SETTINGS | {"decay": decay} | settings
    nchw = declared["data_format"] == "NCHW"
    channels = shape[-1]
    dtype = layer.dtype
    moving = (np.zeros(channels, dtype), np.ones(channels, dtype))
    if start == "warm":
        sample = data(kind, rng, shape).reshape(-1, channels).astype(np.float64)
        moving = (
            (sample.mean(axis=0) * 0.7 + 0.1 * sample.std(axis=0)).astype(dtype),
            (sample.var(axis=0) * 1.3 + 0.01).astype(dtype),
        )
    elif start != "cold":
        moving = tuple(np.asarray(one, dtype) for one in start)
    gamma = np.linspace(0.5, 1.5, channels).astype(np.float32)
    beta = np.linspace(-1, 1.2, channels).astype(np.float32)
    made = []
    for t in range(steps):
        trains = training(t) if callable(training) else training
        inputs = [data(kind, rng, shape, dtype) if batches is None else batches(t, i) for i in range(applications)]
        after = layer.train(moving, inputs) if trains else layer.test(moving, inputs)
        layer.steps += 1
        values = {}
        if keep == "moments":
            flat = [one.reshape(-1, channels).astype(np.float64) for one in inputs]
            with np.errstate(invalid="ignore"):
                values["moments"] = [{"count": len(x), "mean": x.mean(axis=0), "variance": x.var(axis=0)} for x in flat]
        else:
            values["inputs"] = [np.moveaxis(x, -1, 1) if nchw else x for x in inputs]
        if outputs:
            given = [layer.output(moving, x, trains, gamma, beta) for x in inputs]
            values["outputs"] = [np.moveaxis(y, -1, 1) if nchw else y for y in given]
            values["gamma"], values["beta"] = gamma, beta
        for name, when in (("before", moving), ("after", after)):
            values[f"moving_mean_{name}"], values[f"moving_variance_{name}"] = when
        made.append((values | layer.more() | (extra(t) if extra else {}), trains))
        moving = layer.unseen(after, inputs)
    return declared, made


def record(path, layer, **arguments):
    """Write the trace of ``layer`` alone and return it opened; the arguments are those of `simulated`."""
    return write(path, {"bn": simulated(layer, **arguments)})


def write(path, layers):
    """Write a trace of layers, each as `simulated` gives it, and return it opened."""
    with trace.Writer(path) as writer:
        for name, (settings, _) in layers.items():
            writer.add_layer(name, **settings)
        for t in range(max(len(made) for _, made in layers.values())):
            records = {name: made[t] for name, (_, made) in layers.items() if t < len(made)}
            writer.add_step(
                {name: values | {"training": trains} for name, (values, trains) in records.items()},
                training=any(trains for _, trains in records.values()),
            )
    return trace.open(path)
