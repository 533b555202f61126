"""Every cause as a fault of a simulated layer, and the configurations that it is tried in: a table for the tests.

A `Fault` says which causes must be named, in which order; `trace_of` writes the trace of a model of three layers of
different width of which the middle one, "bn", has the fault. The layers are those of ``faulty.py``.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from faulty import Layer, data, simulated, write

from tf1bn.diagnosis.engine import diagnose

F32 = np.float32


# ---------------------------------------------------------------- layers


class StandsStill(Layer):
    def train(self, moving, batches):
        return moving


class FlagOff(StandsStill):
    """training=False while training."""

    def statistics(self, moving, batch, training):
        return moving


class Doubled(Layer):
    times = 2

    def train(self, moving, batches):
        for _ in range(self.times):
            moving = super().train(moving, batches)
        return moving


class Tripled(Doubled):
    times = 3


class Race(Layer):
    """Both updates start from the old value; or one is lost."""

    def train(self, moving, batches):
        if self.steps % 2:
            return self.once(moving, batches[-1])
        return parallel(self, moving, batches)


class Parallel(Layer):
    def train(self, moving, batches):
        return parallel(self, moving, batches)


def parallel(layer, moving, batches):
    dtype = moving[0].dtype
    rate = dtype.type(1 - layer.decay)
    moments = [[one.astype(dtype) for one in layer.moments(batch)] for batch in batches]
    if layer.bessel:
        counts = [layer.count(batch) for batch in batches]
        moments = [(m, v * dtype.type(n / (n - 1))) for (m, v), n in zip(moments, counts, strict=True)]
    steps = [[(old - new) * rate for old, new in zip(moving, one, strict=True)] for one in moments]
    result = moving
    for step in steps:
        result = tuple(old - one for old, one in zip(result, step, strict=True))
    return result


class LastTower(Layer):
    def train(self, moving, batches):
        return self.once(moving, batches[-1])


class FirstTower(Layer):
    def train(self, moving, batches):
        return self.once(moving, batches[0])


class Backwards(Layer):
    def train(self, moving, batches):
        return super().train(moving, batches[::-1])


class Racing(Layer):
    """The mean is updated by the towers in order, the variance the other way round."""

    def train(self, moving, batches):
        forward, backward = (super(Racing, self).train(moving, order) for order in (batches, batches[::-1]))
        return forward[0], backward[1]


class Deviation(Layer):
    def moments(self, batch):
        mean, variance = super().moments(batch)
        # As x.std() of PyTorch: Bessel's correction, which follows, is below the root.
        count = self.count(batch)
        return mean, np.sqrt(variance * variance.dtype.type((count - 1) / count if self.bessel else 1))


class Keras(Layer):
    def __init__(self, decay, bessel=False, **more):
        super().__init__(decay, **more)

    def moments(self, batch):
        mean, variance = super().moments(batch)
        count = self.count(batch)
        return mean, variance * variance.dtype.type(count / (count - 1 - 0.001))


class Odd(Layer):
    """A factor that nobody takes."""

    factor = 1.7

    def moments(self, batch):
        mean, variance = super().moments(batch)
        return mean, variance * variance.dtype.type(self.factor)


class DebiasedMean(Layer):
    """The moving mean is biased / (1 - d^t), t counted from the first step."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.biased = None

    def train(self, moving, batches):
        if self.biased is None:
            self.biased = np.zeros_like(moving[0])
        biased, variance = super().train((self.biased, moving[1]), batches)
        self.biased = biased
        return biased / biased.dtype.type(1 - self.decay ** (self.steps + 1)), variance


class Renorm(Layer):
    """Batch renormalisation of TF 1.15: moving_variance = relu(moving_stddev^2 - epsilon)."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.kept = None

    def train(self, moving, batches):
        dtype = moving[0].dtype
        epsilon = dtype.type(self.epsilon)
        if self.kept is None:
            self.kept = {"moving_stddev": np.sqrt(moving[1] + epsilon)}
            self.kept |= {"renorm_mean": 0 * moving[0], "renorm_stddev": 0 * moving[0] + 1}
        before = dict(self.kept)
        (batch,) = batches
        mean, variance = (one.astype(dtype) for one in self.moments(batch))
        stddev, rate = np.sqrt(variance + epsilon), dtype.type(1 - self.decay)
        moving_mean = moving[0] - (moving[0] - mean) * rate
        self.kept = {
            "moving_stddev": before["moving_stddev"] - (before["moving_stddev"] - stddev) * rate,
            "renorm_mean": before["renorm_mean"] - (before["renorm_mean"] - mean) * dtype.type(0.01),
            "renorm_stddev": before["renorm_stddev"] - (before["renorm_stddev"] - stddev) * dtype.type(0.01),
        }
        self.state = before | {f"{name}_after": value for name, value in self.kept.items()}
        return moving_mean, np.maximum(self.kept["moving_stddev"] ** 2 - epsilon, 0)

    def more(self):
        return {"state": self.state}


class HalfStore(Layer):
    """Keeps in float16 what it passes on in a wider type."""

    def train(self, moving, batches):
        half = tuple(one.astype(np.float16) for one in moving)
        for batch in batches:
            mean, variance = self.moments(batch)
            count = self.count(batch)
            if self.bessel:
                variance = variance * variance.dtype.type(count / (count - 1))
            rate = np.float16(1 - self.decay)
            new = mean.astype(np.float16), variance.astype(np.float16)
            half = tuple(old - (old - one) * rate for old, one in zip(half, new, strict=True))
        return tuple(one.astype(self.dtype) for one in half)


class DifferenceOfSquares(Layer):
    def moments(self, batch):
        flat = batch.reshape(-1, batch.shape[-1])
        count = flat.dtype.type(len(flat))
        mean = np.add.reduce(flat, axis=0) / count
        return mean, np.add.reduce(flat * flat, axis=0) / count - mean * mean


class OtherAxis(Layer):
    axis = 1

    def moments(self, batch):
        return super().moments(np.moveaxis(batch, self.axis, -1))


class OtherAxisOfNchw(OtherAxis):
    axis = 2  # channels last here: the last axis of the data as it is recorded


class Masked(Layer):
    """The layer with weights; ``CountsPadding`` is declared the same and does not look at them."""

    def weights(self, batch):
        return (np.arange(len(batch)) % 3 != 1).astype(F32)

    def moments(self, batch):
        self.mask = self.weights(batch)
        return super().moments(batch[self.mask > 0])

    def more(self):
        return {"weights": [self.mask]}


class CountsPadding(Masked):
    def moments(self, batch):
        self.mask = self.weights(batch)
        return Layer.moments(self, batch)


class Leaks(Layer):
    """Updates in evaluation, and normalises by the moving statistics, as it should."""

    def test(self, moving, batches):
        return self.train(moving, batches)


class BatchStats(Leaks):
    """is_training=True in evaluation."""

    def statistics(self, moving, batch, training):
        return self.moments(batch)


class BatchStatsOnly(Layer):
    """Normalises by the batch in evaluation; no update runs."""

    def statistics(self, moving, batch, training):
        return self.moments(batch)


class Swapped(Layer):
    def output(self, moving, batch, training, gamma, beta):
        return super().output(moving, batch, training, beta, gamma)


class SwappedStandsStill(Swapped, StandsStill):
    pass


class EmptyMakesNaN(Layer):
    def train(self, moving, batches):
        if all(batch.size for batch in batches):
            return super().train(moving, batches)
        return tuple(one * one.dtype.type(np.nan) for one in moving)

    def moments(self, batch):
        return super().moments(batch) if batch.size else (np.full(batch.shape[-1], np.nan, self.dtype),) * 2


class Gpu(Layer):
    """One value per channel: N/(N-1) is infinite on a GPU."""

    def train(self, moving, batches):
        mean, variance = super().train(moving, batches)
        return mean, variance * variance.dtype.type(np.nan)


class Negates(Layer):
    def train(self, moving, batches):
        mean, variance = super().train(moving, batches)
        return mean, -variance


class Skips(Layer):
    def train(self, moving, batches):
        return moving if self.steps == 1 else super().train(moving, batches)


def in_some(wrong, right=Layer):
    """A layer of kind ``wrong`` in the steps that ``when`` says, else of kind ``right``."""

    class InSome(Layer):
        def __init__(self, decay, bessel=False, *, when, **more):
            super().__init__(decay, bessel, **more)
            self.kinds = wrong(decay, bessel, **more), right(decay, bessel, **more)
            self.when = when

        def train(self, moving, batches):
            return self.kinds[not self.when(self.steps)].train(moving, batches)

        def statistics(self, moving, batch, training):
            # The outputs of a step are asked for after it was counted.
            return self.kinds[not self.when(self.steps - 1)].statistics(moving, batch, training)

    return InSome


class Recomputed(Layer):
    """Runs every batch once more after the step, which is not recorded."""

    def unseen(self, moving, batches):
        return self.train(moving, batches)


class RecomputedAtTimes(Recomputed):
    def unseen(self, moving, batches):
        return super().unseen(moving, batches) if self.steps % 3 == 1 else moving


class RunsUnseen(Layer):
    """Three batches of the same kind between the steps, which are not recorded."""

    def unseen(self, moving, batches):
        for factor in (0.75, 1.125, 1.25):
            moving = self.once(moving, batches[0] * batches[0].dtype.type(factor))
        return moving


class RestoredBetween(Layer):
    """Set to (0, 1) before the third step, and written to by something else before the fourth."""

    def unseen(self, moving, batches):
        if self.steps == 2:
            return np.zeros_like(moving[0]), np.ones_like(moving[1])
        return (moving[0] * -3, moving[1] * 7) if self.steps == 3 else moving


class Shuffled(Layer):
    """The updates of a step run in another order in every step."""

    def train(self, moving, batches):
        order = np.random.default_rng(self.steps).permutation(len(batches))
        return super().train(moving, [batches[i] for i in order])


class Stale(Layer):
    """Every update reads what was there before the last one; of more than four, one is lost in every second step."""

    def train(self, moving, batches):
        rate = moving[0].dtype.type(1 - self.decay)
        if len(batches) > 4 and self.steps % 2:
            batches = batches[1:]
        seen = [moving]
        for batch in batches:
            mean, variance = (values.astype(self.dtype) for values in self.moments(batch))
            if self.bessel:
                variance = variance * variance.dtype.type(self.count(batch) / (self.count(batch) - 1))
            pairs = zip(seen[-1], seen[max(0, len(seen) - 2)], (mean, variance), strict=True)
            seen.append(tuple(now - (read - new) * rate for now, read, new in pairs))
        return seen[-1]


class Often(Doubled):
    times = 17


class TimesOdd(Odd):
    factor = 3.0


class Cumulative(Layer):
    """Every batch has the same weight."""

    start = 1

    def train(self, moving, batches):
        (batch,) = batches
        return self.once(moving, batch, decay=1 - 1 / (self.start + self.steps))


class CumulativeLater(Cumulative):
    start = 5


class StillOrTwice(Layer):
    def train(self, moving, batches):
        return moving if self.steps == 3 else super().train(moving, batches * (2 if self.steps in (1, 6) else 1))


class LeaksSometimes(Layer):
    def test(self, moving, batches):
        return self.train(moving, batches) if self.steps % 4 == 1 else moving


class Slower(Layer):
    """Another decay than the one it is built with."""

    def train(self, moving, batches):
        for batch in batches:
            moving = self.once(moving, batch, decay=1 - (1 - self.decay) / 2)
        return moving


class Flipped(Layer):
    """The other variance convention."""

    def __init__(self, decay, bessel=False, **more):
        super().__init__(decay, not bessel, **more)


# ---------------------------------------------------------------- configurations


@dataclasses.dataclass(frozen=True)
class Config:
    """What a layer is declared to be, and what it is fed."""

    kind: str = "normal"
    decay: float = 0.9
    shape: tuple = (6, 3)  # channels last
    steps: int = 4
    fused: bool = False
    dtype: str = "float32"
    data_format: str = "NHWC"
    keep: str = "inputs"
    order: str = "pairwise"
    start: str = "warm"

    @property
    def count(self):
        return int(np.prod(self.shape[:-1]))


CONFIGS = {
    "rank 2, .9": Config(),
    "rank 2 fused, .99": Config("uniform", 0.99, (9, 7), 10, True, order="in order"),
    "rank 3, .999": Config("relu", 0.999, (4, 5, 3), 20),
    "NHWC fused, .9": Config("normal", 0.9, (4, 3, 3, 5), 3, True, order="8 lanes"),
    "NHWC composed, .999": Config("uniform", 0.999, (2, 3, 3, 4), 6, order="random tree"),
    "NCHW fused, .99": Config("uniform", 0.99, (8, 3, 3, 4), 4, True, data_format="NCHW"),
    "NCHW composed, one step": Config("relu", 0.9, (6, 2, 2, 6), 1, data_format="NCHW", order="in order, shifted"),
    "rank 5, .9": Config("lognormal", 0.9, (4, 2, 2, 2, 3), 4),
    "rank 5 NCHW, .99": Config("normal", 0.99, (3, 2, 2, 2, 8), 5, data_format="NCHW"),
    "float64, .9": Config("normal", 0.9, (5, 3), 3, dtype="float64"),
    "float64 NCHW fused, .999": Config("uniform", 0.999, (4, 3, 2, 3), 3, True, "float64", "NCHW"),
    "float16, .9": Config("normal", 0.9, (4, 3), 4, dtype="float16"),
    "float16 NHWC fused, .5": Config("relu", 0.5, (2, 2, 2, 4), 4, True, "float16"),
    "moments, .9": Config("normal", 0.9, (3, 4, 4), 4, keep="moments"),
    "moments fused, .99": Config("uniform", 0.99, (4, 2, 2, 6), 8, True, keep="moments"),
}
WIDE = tuple(name for name, config in CONFIGS.items() if config.dtype != "float16")
HALF = tuple(name for name, config in CONFIGS.items() if config.dtype == "float16")
KEPT = tuple(name for name, config in CONFIGS.items() if config.keep == "inputs")
COMPOSED = tuple(name for name, config in CONFIGS.items() if not config.fused)
FLIPPABLE = tuple(name for name, config in CONFIGS.items() if config.decay != 0.5)


def but(names, *without):
    return tuple(name for name in names if name not in without)


def both(*groups):
    return tuple(name for name in groups[0] if all(name in group for group in groups[1:]))


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong, and what it is called.

    Attributes:
      names: the causes that must be named, best first; a function of the `Config` where they depend on it.
      layer: a function of the `Config` that makes the layer.
      configs: the names of the configurations that it is tried in.
      verdict: "finding", or "ok" for advisories.
      more: further arguments of `simulated`, or a function of the `Config` that gives them.
      change: what is another in the `Config`.
    """

    names: tuple | Callable
    layer: Callable
    configs: tuple = tuple(CONFIGS)
    verdict: str = "finding"
    more: dict | Callable = dataclasses.field(default_factory=dict)
    change: dict = dataclasses.field(default_factory=dict)

    def config(self, name):
        return dataclasses.replace(CONFIGS[name], **self.change)

    def expected(self, config):
        return self.names(config) if callable(self.names) else self.names


def of(kind, *, decay=None, flip=False, **more):
    """A function that makes a layer of ``kind`` as the `Config` declares it, or of another decay or convention."""

    def make(config):
        chosen = decay(config) if callable(decay) else config.decay if decay is None else decay
        arguments = {"dtype": config.dtype, "order": config.order} | more
        return kind(chosen, config.fused != flip, **arguments)

    return make


def other(config):
    """The name of the convention that is not declared."""
    return "no-bessel" if config.fused else "bessel"


def flipped(config):
    return 1 - config.decay


def small(factor):
    """Data so small that an epsilon of 1e-5 shows; not in float16, which has too few digits for that."""

    def more(config):
        def batches(t, i):
            batch = data(config.kind, np.random.default_rng([t, i]), config.shape, config.dtype)
            return batch.astype(np.result_type(config.dtype, F32)) * F32(factor)

        return {"outputs": True, "batches": batches}

    return more


def spoilt(value, step):
    """Batches of which one holds ``value`` in the last channel, in every step from ``step`` on."""

    def more(config):
        def batches(t, i):
            batch = data(config.kind, np.random.default_rng([t, i]), config.shape, config.dtype)
            if t >= min(step, config.steps - 1):
                batch[..., -1].flat[1] = value
            return batch

        return {"batches": batches}

    return more


def emptied(config):
    def batches(t, i):
        batch = data(config.kind, np.random.default_rng([t, i]), config.shape, config.dtype)
        return batch[:0] if t == min(1, config.steps - 1) else batch

    return {"batches": batches}


def far(mean):
    """Batches whose mean is far from 0."""

    def more(config):
        def batches(t, i):
            rng = np.random.default_rng([t, i])
            return rng.normal(mean, 1, config.shape).astype(config.dtype)

        return {"batches": batches, "start": (np.full(config.shape[-1], 0.9 * mean), np.full(config.shape[-1], 1.5))}

    return more


def constant_channel(config):
    """The last channel never varies, and its variance is 0 from the start."""
    channels = config.shape[-1]

    def batches(t, i):
        batch = data(config.kind, np.random.default_rng([t, i]), config.shape, config.dtype)
        batch[..., -1] = 5
        return batch

    start = np.full(channels, 2.0), np.where(np.arange(channels) == channels - 1, 0.0, 1.5)
    return {"batches": batches, "start": start}


def negative(config):
    channels = config.shape[-1]
    return {"start": (np.zeros(channels), np.where(np.arange(channels) == 0, -9.0, 3.0))}


def epsilon_of(used):
    return lambda config: Layer(config.decay, config.fused, dtype=config.dtype, order=config.order, epsilon=used)


EVALUATES = {"training": lambda t: False}
TESTS_TOO = {"training": lambda t: t == 0}
ONE = {"shape": (1, 3), "steps": 2}
SEVERAL = but(tuple(CONFIGS), "NCHW composed, one step")

FAULTS = {
    # ---- the updates do not do anything
    "decay 1 declared": Fault(("frozen",), of(Layer, decay=1.0), more={"decay": 1.0}),
    "decay 1 declared, not trainable": Fault(
        ("frozen",), of(Layer, decay=1.0), more={"decay": 1.0, "trainable": False}
    ),
    "decay 1 used": Fault(("not-updated",), of(Layer, decay=1.0)),
    "not trainable": Fault(("trainable-false",), of(StandsStill), verdict="ok", more={"trainable": False}),
    "training=False": Fault(("training-flag-off",), of(FlagOff), KEPT, more={"outputs": True}),
    "training=False, fresh": Fault(
        ("training-flag-off",), of(FlagOff), KEPT, more={"outputs": True}, change={"start": "cold"}
    ),
    "updates not run": Fault(("not-updated",), of(StandsStill)),
    "updates not run, fresh": Fault(("not-updated",), of(StandsStill), change={"start": "cold"}),
    "updates not run, outputs": Fault(("not-updated",), of(StandsStill), KEPT, more={"outputs": True}),
    "not restored": Fault(
        ("not-restored", "not-updated"),
        of(Layer),
        KEPT,
        more={"outputs": True} | EVALUATES,
        change={"start": "cold"},
    ),
    "not restored, goes on training": Fault(
        ("not-updated",), of(StandsStill), KEPT, more={"outputs": True}, change={"start": "cold"}
    ),
    # ---- what is averaged, and how
    "other convention": Fault(lambda config: (other(config),), of(Layer, flip=True)),
    "keras": Fault(("keras-bessel",), of(Keras), WIDE, change={"shape": (3, 6), "decay": 0.9, "kind": "normal"}),
    "keras, rank 4": Fault(
        ("keras-bessel",), of(Keras), WIDE, change={"shape": (2, 1, 2, 5), "decay": 0.9, "kind": "uniform"}
    ),
    "momentum for decay": Fault(("momentum-flipped",), of(Layer, decay=flipped), FLIPPABLE),
    "decay 0 used": Fault(("no-memory",), of(Layer, decay=0.0)),
    "decay 0 declared": Fault(("no-memory",), of(Layer, decay=0.0), verdict="ok", more={"decay": 0.0}),
    "decay .95": Fault(("decay",), of(Layer, decay=0.95), but(tuple(CONFIGS), *HALF)),
    "decay .75": Fault(("decay",), of(Layer, decay=0.75)),
    "decay .995": Fault(("decay",), of(Layer, decay=0.995), WIDE),
    "standard deviation": Fault(("std-for-variance",), of(Deviation)),
    "averages in float16": Fault(("half-precision",), of(HalfStore), WIDE),
    "float16 that swallows": Fault(
        ("half-precision",), of(Layer, decay=0.9999), HALF, more={"decay": 0.9999}, change={"kind": "integers"}
    ),
    "float16 that swallows, rank 5": Fault(
        ("half-precision",),
        of(Layer, decay=0.9999),
        HALF,
        more={"decay": 0.9999},
        change={"kind": "sorted", "shape": (4, 2, 2, 2, 3)},
    ),
    "zero-debiased": Fault(("zero-debias",), of(DebiasedMean), change={"start": "cold"}),
    "not zero-debiased": Fault(("zero-debias",), of(Layer), more={"zero_debias": True}, change={"start": "cold"}),
    "renormalised": Fault(("renorm",), of(Renorm), COMPOSED),
    "1 - decay in float32": Fault(
        ("float32-decay", "cold-start"),
        of(Layer, rate_dtype="float32", decay=0.999),
        WIDE,
        "ok",
        {"decay": 0.999, "rate_dtype": "float64"},
        {"start": "cold", "kind": "uniform"},
    ),
    "1 - decay in float64": Fault(
        ("float32-decay", "cold-start"),
        of(Layer, decay=0.9999),
        WIDE,
        "ok",
        {"decay": 0.9999, "rate_dtype": "float32"},
        {"start": "cold", "kind": "uniform"},
    ),
    "difference of squares": Fault(
        ("cancellation",), of(DifferenceOfSquares), more=far(3000.0), change={"dtype": "float32", "decay": 0.9}
    ),
    "channels in axis 1": Fault(("wrong-axis",), of(OtherAxis), ("rank 3, .999",), change={"shape": (6, 3, 3)}),
    "padding": Fault(("padding-counted",), of(CountsPadding), both(COMPOSED, KEPT)),
    # ---- several updates
    "update run twice": Fault(("double-update", "decay"), of(Doubled)),
    "update run thrice": Fault(("double-update", "decay"), of(Tripled), FLIPPABLE),
    "two applications": Fault(("double-update",), of(Layer), more={"applications": 2}),
    "two applications, backwards": Fault(("double-update",), of(Backwards), more={"applications": 2}),
    "three applications": Fault(("double-update",), of(Layer), more={"applications": 3}),
    "two applications in parallel": Fault(("double-update",), of(Parallel), more={"applications": 2}),
    "two applications that race": Fault(("double-update",), of(Race), SEVERAL, more={"applications": 2}),
    "last of two towers": Fault(("one-tower-only",), of(LastTower), more={"applications": 2}),
    "first of three towers": Fault(("one-tower-only",), of(FirstTower), more={"applications": 3}),
    # ---- seen in evaluation and in outputs
    "updates in evaluation": Fault(
        ("validation-leak",), of(Leaks), both(SEVERAL, KEPT), more={"outputs": True} | TESTS_TOO
    ),
    "flag on in evaluation": Fault(
        ("batch-stats-at-inference",), of(BatchStats), both(SEVERAL, KEPT), more={"outputs": True} | TESTS_TOO
    ),
    "updates in evaluation, no outputs": Fault(
        ("validation-leak", "batch-stats-at-inference"), of(Leaks), SEVERAL, more=TESTS_TOO
    ),
    "flag on in evaluation, no updates": Fault(
        ("batch-stats-at-inference",), of(BatchStatsOnly), KEPT, more={"outputs": True} | EVALUATES
    ),
    "gamma and beta exchanged": Fault(("gamma-beta-swapped",), of(Swapped), KEPT, more={"outputs": True}),
    "gamma and beta exchanged, evaluation": Fault(
        ("gamma-beta-swapped",), of(Swapped), KEPT, more={"outputs": True} | EVALUATES
    ),
    "epsilon 1e-5 for 1e-3": Fault(("epsilon",), epsilon_of(1e-5), KEPT, more=small(0.1)),
    "epsilon 1e-2 for 1e-3": Fault(("epsilon",), epsilon_of(1e-2), KEPT, more=small(0.1), change={"kind": "normal"}),
    "epsilon 1e-3 for 1e-5, evaluation": Fault(
        ("epsilon",),
        epsilon_of(1e-3),
        KEPT,
        more=lambda config: small(0.1)(config) | EVALUATES | {"epsilon": 1e-5},
        change={"kind": "normal"},
    ),
    "epsilon below the floor": Fault(
        ("epsilon-floor",),
        epsilon_of(1.001e-5),
        KEPT,
        more=lambda config: small(0.01)(config) | {"epsilon": 1e-6},
        change={"fused": True},
    ),
    "epsilon 0 below the floor, evaluation": Fault(
        ("epsilon-floor",),
        epsilon_of(1.001e-5),
        KEPT,
        more=lambda config: small(0.001)(config) | EVALUATES | {"epsilon": 0.0},
        change={"fused": True, "kind": "normal"},
    ),
    # ---- seen in the values
    "one value": Fault(("single-value",), of(Layer), ("rank 2, .9", "float64, .9", "float16, .9"), "ok", change=ONE),
    "one value, fused": Fault(
        ("single-value",),
        of(Layer),
        ("rank 2 fused, .99", "NHWC fused, .9", "NCHW fused, .99", "float64 NCHW fused, .999", "moments fused, .99"),
        "ok",
        change={"shape": (1, 1, 1, 5), "steps": 2},
    ),
    "one value, fused, on a GPU": Fault(
        ("single-value",),
        of(Gpu),
        ("rank 2 fused, .99", "NHWC fused, .9", "NCHW fused, .99", "float64 NCHW fused, .999", "moments fused, .99"),
        change={"shape": (1, 1, 1, 5), "steps": 2},
    ),
    "empty batch": Fault(("empty-batch",), of(EmptyMakesNaN), KEPT, more=emptied),
    "NaN in the data": Fault(("not-finite",), of(Layer), more=spoilt(np.nan, 1)),
    "infinity in the data": Fault(("not-finite",), of(Layer), more=spoilt(np.inf, 0)),
    "negative variance": Fault(("bad-variance",), of(Layer), more=negative),
    "variance that turns negative": Fault(("bad-variance", "unexplained"), of(Negates)),
    "dead channel": Fault(("dead-channel",), of(Layer), more=constant_channel),
    # ---- right as far as it goes
    "cold": Fault(("cold-start",), of(Layer, decay=0.999), WIDE, "ok", {"decay": 0.999}, {"start": "cold"}),
    "additions that stagnate, ReLU": Fault(
        ("rounding",),
        of(Layer, order="in order"),
        ("rank 2, .9", "rank 5, .9"),
        "ok",
        change={"kind": "relu", "shape": (20_000, 3), "steps": 2},
    ),
    "additions that stagnate, constant": Fault(
        ("rounding",),
        of(Layer, order="in order"),
        ("NHWC fused, .9", "NCHW composed, one step"),
        "ok",
        change={"kind": "constant", "shape": (50, 20, 20, 3), "steps": 1},
    ),
    # ---- nothing that is known
    "variance times 1.7": Fault(("unexplained",), of(Odd)),
    "a step that is missing": Fault(("not-updated",), of(Skips), but(SEVERAL, *HALF)),
    # ---- two at once
    "other convention, momentum": Fault(
        lambda config: (other(config), "momentum-flipped"), of(Layer, flip=True, decay=flipped), FLIPPABLE
    ),
    "other convention, update run twice": Fault(
        lambda config: (other(config), "double-update", "decay"), of(Doubled, flip=True), but(tuple(CONFIGS), *HALF)
    ),
    "other convention, decay .8": Fault(
        lambda config: (other(config), "decay"), of(Layer, flip=True, decay=0.8), but(tuple(CONFIGS), *HALF)
    ),
    "other convention, last tower": Fault(
        lambda config: (other(config), "one-tower-only"), of(LastTower, flip=True), more={"applications": 2}
    ),
    "other convention, averages in float16": Fault(
        lambda config: ("half-precision", other(config)), of(HalfStore, flip=True), WIDE, change={"decay": 0.9}
    ),
    "standard deviation, momentum": Fault(
        ("momentum-flipped", "std-for-variance"), of(Deviation, decay=flipped), FLIPPABLE
    ),
    "padding, momentum": Fault(
        ("momentum-flipped", "padding-counted"), of(CountsPadding, decay=flipped), both(COMPOSED, KEPT)
    ),
    "other convention, epsilon": Fault(
        lambda config: (other(config), "epsilon"),
        of(Layer, flip=True, epsilon=1e-2),
        KEPT,
        more={"outputs": True},
        change={"kind": "normal"},
    ),
    "updates not run, gamma and beta exchanged": Fault(
        ("not-updated", "gamma-beta-swapped"), of(SwappedStandsStill), KEPT, more={"outputs": True}
    ),
    "two applications, racing": Fault(
        ("double-update",), of(Racing), but(SEVERAL, "rank 3, .999"), more={"applications": 2}
    ),
}

# Weights count samples, so a mask takes away whole ones, and fused layers take none. Other axes need a shape of their
# own: data that is declared NCHW is written with its channels moved to axis 1.
AXES = {
    "rank 3": ("rank 3, .999", OtherAxis, (6, 3, 3)),
    "NHWC fused": ("NHWC fused, .9", OtherAxis, (4, 5, 3, 5)),
    "NHWC composed": ("NHWC composed, .999", OtherAxis, (2, 4, 3, 4)),
    "NCHW fused": ("NCHW fused, .99", OtherAxisOfNchw, (4, 3, 5, 5)),
    "NCHW composed": ("NCHW composed, one step", OtherAxisOfNchw, (3, 5, 4, 4)),
    "rank 5": ("rank 5, .9", OtherAxis, (4, 3, 2, 2, 3)),
    "float64": ("float64 NCHW fused, .999", OtherAxisOfNchw, (4, 3, 5, 5)),
    "float16": ("float16 NHWC fused, .5", OtherAxis, (2, 4, 3, 4)),
}
del FAULTS["channels in axis 1"]
for _name, (_config, _kind, _shape) in AXES.items():
    FAULTS[f"channels in another axis, {_name}"] = Fault(
        ("wrong-axis",), of(_kind), (_config,), change={"shape": _shape}
    )
    FAULTS[f"another axis is declared, {_name}"] = Fault(
        ("wrong-axis",), of(Layer), (_config,), more={"axis": 0}, change={"shape": _shape}
    )

# In some of the steps only. New faults go last: which configurations are tried goes by the place in the table.
LONG = {"steps": 10}
VARIED = but(WIDE, "rank 3, .999", "NHWC composed, .999", "float64 NCHW fused, .999")
FAULTS |= {
    "updates not run in every third step": Fault(
        ("not-updated",), of(in_some(StandsStill), when=lambda t: t % 3 == 1), VARIED, change=LONG
    ),
    "updates not run from a step on": Fault(
        ("not-updated",), of(in_some(StandsStill), when=lambda t: t > 5), VARIED, change=LONG
    ),
    "training=False in some steps": Fault(
        ("training-flag-off",),
        of(in_some(FlagOff), when=lambda t: t in (2, 7)),
        both(VARIED, KEPT),
        more={"outputs": True},
        change=LONG,
    ),
    "one double update": Fault(
        ("double-update", "decay"), of(in_some(Doubled), when=lambda t: t == 4), VARIED, change=LONG
    ),
    "half the rate from a step on": Fault(("decay",), of(in_some(Slower), when=lambda t: t > 4), VARIED, change=LONG),
    "other convention in some steps": Fault(
        lambda config: (other(config),), of(in_some(Flipped), when=lambda t: t % 4 == 0), VARIED, change=LONG
    ),
    "other convention, updates not run in some steps": Fault(
        lambda config: ("not-updated", other(config)),
        of(in_some(StandsStill, Flipped), when=lambda t: t % 4 == 0),
        VARIED,
        change=LONG,
    ),
    "updates not run in some steps, twice in others": Fault(
        ("not-updated", "double-update", "decay"), of(StillOrTwice), VARIED, change=LONG
    ),
    "variance times 1.7 in some steps": Fault(
        ("unexplained",), of(in_some(Odd), when=lambda t: t in (3, 4)), VARIED, change=LONG
    ),
    "updates in some evaluations": Fault(
        ("validation-leak",),
        of(LeaksSometimes),
        both(VARIED, KEPT),
        more={"outputs": True, "training": lambda t: t % 2 == 0},
        change=LONG,
    ),
}

# Changes outside of the steps; statistics that nobody trained, and gamma and beta that somebody did.
UNSEEN = but(WIDE, "rank 3, .999", "NHWC composed, .999", "float64 NCHW fused, .999", "NCHW composed, one step")


def moving_gamma(config):
    """Gamma and beta that change from step to step, in steps without training."""
    channels = config.shape[-1]

    def extra(t):
        return {"gamma": np.full(channels, 1 + t / 8, F32), "beta": np.full(channels, t / 4, F32)}

    return EVALUATES | {"extra": extra}


def far_from_the_data(config):
    """Statistics of data that are smaller by a factor of eight, and elsewhere."""
    sample = data(config.kind, np.random.default_rng(5), config.shape).reshape(-1, config.shape[-1]).astype(np.float64)
    start = sample.mean(axis=0) + 5 * sample.std(axis=0), sample.var(axis=0) / 64 + 1e-3
    return EVALUATES | {"start": start}


def near_the_start(config):
    """A fifth of the way from (0, 1) to the mean and the variance of the data, which no step trains."""
    batches = [
        data(config.kind, np.random.default_rng([t, 0]), config.shape).astype(np.float64) for t in range(config.steps)
    ]
    every = np.concatenate([batch.reshape(-1, config.shape[-1]) for batch in batches])
    start = 0.2 * every.mean(axis=0), 0.8 + 0.2 * every.var(axis=0)
    return EVALUATES | {"start": start, "batches": lambda t, i: batches[t].astype(config.dtype)}


MANY_SAMPLES = {"shape": (40, 3), "steps": 10}
FAULTS |= {
    "each batch again, not recorded": Fault(("changed-between-steps",), of(Recomputed), UNSEEN, change=LONG),
    "some batches again, not recorded": Fault(("changed-between-steps",), of(RecomputedAtTimes), UNSEEN, change=LONG),
    "steps that are not recorded": Fault(("changed-between-steps",), of(RunsUnseen), UNSEEN, "ok", change=LONG),
    "written between the steps": Fault(("changed-between-steps",), of(RestoredBetween), UNSEEN, "ok", change=LONG),
    "not trainable, and moves": Fault(("frozen-but-moves",), of(Layer), verdict="ok", more={"trainable": False}),
    "gamma and beta train alone, fresh": Fault(
        ("training-flag-off",), of(Layer), SEVERAL, more=moving_gamma, change={"start": "cold"}
    ),
    "gamma and beta train alone, warm": Fault(
        ("training-flag-off",), of(Layer), SEVERAL, "ok", moving_gamma, {"shape": (4, 3), "steps": 1 + 1}
    ),
    "statistics of other data": Fault(
        ("statistics-do-not-fit",), of(Layer), KEPT, "ok", far_from_the_data, MANY_SAMPLES
    ),
    "too few updates, evaluated": Fault(
        ("cold-start",), of(Layer), both(KEPT, WIDE), "ok", near_the_start, MANY_SAMPLES | {"kind": "uniform"}
    ),
}


# Other formulas for the outputs; their data have channels of different variance, some of them small.
def output_formula(formula):
    """A layer whose outputs are ``formula(x - mean, variance, epsilon, gamma, beta)`` in float64."""

    class Formula(Layer):
        def output(self, moving, batch, training, gamma, beta):
            mean, variance = (values.astype(np.float64) for values in self.statistics(moving, batch, training))
            return formula(batch - mean, variance, self.epsilon, gamma, beta).astype(batch.dtype)

    return of(Formula)


def bfloat16(values):
    bits = np.ascontiguousarray(values, F32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(F32)


def varied(config):
    """Batches whose channels have variances from 1e-4 to about 1."""
    factors = np.logspace(-2, 0, config.shape[-1])

    def batches(t, i):
        batch = data("normal", np.random.default_rng([t, i]), config.shape, config.dtype)
        return (batch * factors).astype(config.dtype)

    sample = batches(99, 0).reshape(-1, config.shape[-1]).astype(np.float64)
    start = sample.mean(axis=0) + sample.std(axis=0) / 8, sample.var(axis=0) * 1.2
    return {"outputs": True, "batches": batches, "start": start}


def varied_evaluation(config):
    return varied(config) | EVALUATES


FORMULAS = {
    "epsilon outside the root": ("epsilon-outside-root", lambda x, v, e, g, b: g * x / (np.sqrt(v) + e) + b),
    "epsilon after the division": ("epsilon-outside-root", lambda x, v, e, g, b: g * (x / np.sqrt(v) + e) + b),
    "deviation in the outputs": ("std-in-output", lambda x, v, e, g, b: g * x / np.sqrt(np.sqrt(v) + e) + b),
    "no root in the outputs": ("std-in-output", lambda x, v, e, g, b: g * x / (v + e) + b),
    "reciprocal in the outputs": ("std-in-output", lambda x, v, e, g, b: g * x * np.sqrt(v + e) + b),
    "beta before gamma": ("gamma-beta-swapped", lambda x, v, e, g, b: g * (x / np.sqrt(v + e) + b)),
    "epsilon twice": ("epsilon", lambda x, v, e, g, b: g * x / np.sqrt(v + 2 * e) + b),
}
for _name, (_cause, _formula) in FORMULAS.items():
    FAULTS[_name] = Fault((_cause,), output_formula(_formula), both(KEPT, WIDE), more=varied)
    FAULTS[f"{_name}, evaluation"] = Fault(
        (_cause,), output_formula(_formula), both(KEPT, WIDE), more=varied_evaluation, change={"steps": 2}
    )
FAULTS["outputs in bfloat16"] = Fault(
    (),
    output_formula(lambda x, v, e, g, b: bfloat16(g * x / np.sqrt(v + e) + b)),
    but(both(KEPT, WIDE), "float64, .9", "float64 NCHW fused, .999", "NCHW composed, one step"),
    "ok",
    varied,
    {"shape": (8, 5)},
)

# Many updates in a step. Of float16 statistics the worst case allows almost anything.
FLOAT32 = but(WIDE, "NCHW composed, one step", "float64 NCHW fused, .999", "float64, .9")
FAULTS |= {
    "four applications in any order": Fault(("double-update",), of(Shuffled), FLOAT32, more={"applications": 4}),
    "nine applications in any order": Fault(("double-update",), of(Shuffled), FLOAT32, more={"applications": 9}),
    "40 applications in any order": Fault(
        ("double-update",), of(Shuffled), FLOAT32, more={"applications": 40}, change={"shape": (5, 6), "steps": 2}
    ),
    "three applications, stale": Fault(("double-update",), of(Stale), WIDE, more={"applications": 3}),
    "six applications, stale and lost": Fault(("double-update",), of(Stale), WIDE, more={"applications": 6}),
    "eight applications in parallel, beyond 1": Fault(
        lambda config: ("double-update",),
        of(Parallel),
        WIDE,
        more=lambda config: {"applications": 8, "decay": 0.85},
        change={"steps": 1, "decay": 0.85},
    ),
    "update run 17 times": Fault(("double-update", "decay"), of(Often), FLOAT32, change={"decay": 0.97}),
    "four applications, variance times 3": Fault(
        ("unexplained",), of(TimesOdd), but(FLOAT32, "rank 3, .999"), more={"applications": 4}
    ),
    "cumulative average": Fault(("cumulative-average",), of(Cumulative), UNSEEN, change=LONG),
    "cumulative average from the fifth batch on": Fault(
        ("cumulative-average",), of(CumulativeLater), UNSEEN, change=LONG
    ),
    "cumulative average, other convention": Fault(
        lambda config: (other(config), "cumulative-average"), of(Cumulative, flip=True), UNSEEN, change=LONG
    ),
}


class Averaged(Layer):
    """The batches of the replicas make one update: the mean of the updates by each, or all of them as one batch."""

    how = "mean"

    def __init__(self, *arguments, declared=None, **more):
        super().__init__(*arguments, **more)
        self.declared = declared

    def train(self, moving, batches):
        if self.how == "pooled":
            return self.once(moving, np.concatenate(batches))
        if isinstance(self.how, int):
            return self.once(moving, batches[self.how])
        each = [self.once(moving, batch) for batch in batches]
        return tuple(np.mean(values, axis=0, dtype=np.float64).astype(self.dtype) for values in zip(*each, strict=True))

    def more(self):
        return {} if self.declared is None else {"reduction": self.declared}


class Pooled(Averaged):
    how = "pooled"


class SecondReplica(Averaged):
    how = 1


class DebiasedRace(Layer):
    """Updates in any order of a zero-debiased mean, which is that of any moment over a count of another moment."""

    factor = 1.0

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.biased, self.state = None, None

    def train(self, moving, batches):
        rng = np.random.default_rng(self.steps)
        self.biased = np.zeros_like(moving[0]) if self.biased is None else self.biased
        first, n = self.steps * len(batches), len(batches)
        self.state = {"biased": self.biased, "local_step": np.array([first], F32)}
        seen = [(self.biased, moving[1])]
        for i in rng.permutation(n):
            seen.append(self.once(seen[-1], batches[i]))
        self.biased = seen[-1][0]
        self.state |= {"biased_after": self.biased, "local_step_after": np.array([first + n], F32)}
        read, counted = seen[int(rng.integers(1, n + 1))][0], first + int(rng.integers(1, n + 1))
        mean = read / read.dtype.type((1 - self.decay**counted) * self.factor)
        return mean, seen[-1][1]

    def more(self):
        return {"state": self.state}


class DebiasedOtherwise(DebiasedRace):
    factor = 0.1


REPLICAS = but(WIDE, "rank 3, .999", "NHWC composed, .999", "float64 NCHW fused, .999", "NCHW composed, one step")


def trained_in_turn(config):
    """Gamma and beta that change in every second step, while the statistics move in all of them."""
    channels = config.shape[-1]

    def extra(t):
        return {"gamma": np.full(channels, 1 + t // 2 / 8, F32), "beta": np.full(channels, t // 2 / 4, F32)}

    return {"extra": extra}


FAULTS |= {
    "mean over four replicas": Fault(("replica",), of(Averaged), REPLICAS, "ok", {"applications": 4}),
    "three replicas as one batch": Fault(("replica",), of(Pooled), REPLICAS, "ok", {"applications": 3}),
    "mean declared, one batch": Fault(("replica",), of(Pooled, declared="mean"), REPLICAS, more={"applications": 3}),
    "one batch declared, mean": Fault(
        ("replica",), of(Averaged, declared="pooled"), REPLICAS, more={"applications": 2}
    ),
    "mean declared, one replica": Fault(
        ("replica",), of(SecondReplica, declared="mean"), REPLICAS, more={"applications": 2}
    ),
    "zero-debiased applications that race": Fault(
        ("double-update",),
        of(DebiasedRace),
        FLOAT32,
        more={"applications": 7, "zero_debias": True},
        change={"start": "cold", "decay": 0.6, "steps": 3},
    ),
    "zero-debiased applications, mean times 10": Fault(
        ("unexplained",),
        of(DebiasedOtherwise),
        but(FLOAT32, "rank 3, .999"),
        more={"applications": 7, "zero_debias": True},
        change={"start": "cold", "decay": 0.6, "steps": 3, "kind": "uniform"},
    ),
    "gamma and beta train in every second step": Fault(
        ("untrained-steps",), of(Layer), UNSEEN, "ok", trained_in_turn, LONG
    ),
}

# Six configurations of each fault, others for each: what the tests have time for.
MOST = 6


def _some(i, configs):
    count = min(MOST, len(configs))
    return tuple(configs[(i + j * len(configs) // count) % len(configs)] for j in range(count))


CASES = tuple((name, config) for i, (name, one) in enumerate(FAULTS.items()) for config in _some(i, one.configs))


def trace_of(path, name, config_name):
    """The trace of three layers of different width, of which "bn" has the fault."""
    fault = FAULTS[name]
    config = fault.config(config_name)
    more = fault.more(config) if callable(fault.more) else fault.more
    seed = sum(map(ord, name + config_name))
    arguments = {
        "decay": config.decay,
        "shape": config.shape,
        "kind": config.kind,
        "steps": config.steps,
        "start": config.start,
        "fused": config.fused,
        "dtype": config.dtype,
        "data_format": config.data_format,
        "keep": config.keep,
        "seed": seed,
    } | more
    layers = {
        "first": simulated(Layer(0.5, True), decay=0.5, shape=(7, 11), fused=True, steps=config.steps, seed=seed),
        "bn": simulated(fault.layer(config), **arguments),
        "last": simulated(Layer(0.75), decay=0.75, shape=(3, 2, 2, 2), steps=config.steps, seed=seed, outputs=True),
    }
    return write(path, layers)


def problem(path, name, config_name, expected=None, verdict=None):
    """What is wrong with the diagnosis of a fault, in a line; None if the causes named are the right ones."""
    fault = FAULTS[name]
    results = {one.name: one for one in diagnose(trace_of(path, name, config_name))}
    result = results["bn"]
    found = tuple(cause.id for cause in result.causes)
    expected = expected or fault.expected(fault.config(config_name))
    # Which of two comes first is a matter of size, which test_order.py looks at.
    pair = "unexplained" not in expected and len(expected) > 1
    if pair and set(found) == set(expected):
        found = expected
    if (found, result.verdict) != (expected, verdict or fault.verdict):
        return f"{name}, {config_name}: {result.verdict} {found}, not {expected}. {result.explanation}"
    if any(one.misfit is not None and not one.misfit <= 1 and one.id != "unexplained" for one in result.causes):
        return f"{name}, {config_name}: a cause does not fit. {result.causes}"
    if any(results[beside].verdict != "ok" for beside in ("first", "last")):
        return f"{name}, {config_name}: an honest layer beside it is not ok."
    return None
