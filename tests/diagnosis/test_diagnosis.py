"""Every cause, injected into simulated layers, is the one that is named; honest layers are ok."""

import json
import math
import re
import shutil
from pathlib import Path

import faults
import faulty
import numpy as np
import pytest
import tiers
from faults import (
    Backwards,
    DebiasedMean,
    Deviation,
    DifferenceOfSquares,
    Doubled,
    HalfStore,
    Keras,
    LastTower,
    Race,
    StandsStill,
    Tripled,
)
from faulty import Layer, data, record

from tf1bn import trace
from tf1bn.diagnosis import engine
from tf1bn.diagnosis.engine import diagnose
from tf1bn.diagnosis.naming import explain_training
from tf1bn.diagnosis.partial import SomeSteps
from tf1bn.diagnosis.search import Search
from tf1bn.diagnosis.survey import Survey

RECORDINGS = sorted(path.parent for path in (Path(__file__).parents[1] / "golden/traces").glob("*/*/trace.json"))
ADVISORIES = {"cold-start", "rounding", "no-memory", "single-value", "float32-decay", "frozen-but-moves"}


def judge(opened):
    """The `Diagnosis` of the only layer of a trace."""
    (result,) = diagnose(opened)
    return result


def ids(result):
    return [cause.id for cause in result.causes]


def assert_named(result, *names, verdict="finding"):
    __tracebackhide__ = True
    assert result.verdict == verdict, (result.verdict, ids(result), result.explanation)
    assert tuple(ids(result)) == names, result.explanation
    for cause in result.causes:
        assert cause.explanation.endswith(".")
        assert cause.misfit is None or cause.misfit <= 1


def assert_ok(result):
    __tracebackhide__ = True
    assert result.verdict == "ok", (ids(result), result.explanation)
    assert set(ids(result)) <= ADVISORIES
    assert result.mean_error <= result.mean_bound
    assert result.variance_error <= result.variance_bound


# ---------------------------------------------------------------- honest layers


KINDS = ["normal", "uniform", "relu", "lognormal", "offset", "integers", "sorted", "constant"]


@pytest.mark.parametrize("kind", tiers.slow_but(["lognormal", "constant"], KINDS))
@pytest.mark.parametrize(
    ("decay", "shape", "settings"),
    [
        (0.9, (2, 3), {}),
        (0.9, (5, 3), {"fused": True}),
        (0.999, (8, 4, 4, 3), {"fused": True, "data_format": "NCHW"}),
        (0.99, (16, 7, 3), {}),
        (0.5, (2, 3, 3, 3, 2), {"data_format": "NCHW"}),
        (0.0, (64, 4), {"fused": True}),
    ],
)
def test_honest_layers_are_ok(tmp_path, kind, decay, shape, settings):
    # The squares of lognormal values leave the range of float16, and an honest float16 layer has infinity then.
    for dtype in ("float32", "float16") if kind != "lognormal" else ("float32",):
        for i, order in enumerate(faulty.ORDERS):
            layer = Layer(
                decay,
                settings.get("fused", False),
                ("float64", "float32")[i % 2],
                dtype,
                order,
            )
            start = ("warm", "cold")[i % 2]
            opened = record(
                tmp_path / f"{dtype}{i}",
                layer,
                decay=decay,
                shape=shape,
                kind=kind,
                dtype=dtype,
                start=start,
                seed=i,
                training=lambda t: t != 2,
                outputs=dtype == "float32",
                **settings,
            )
            result = judge(opened)
            # float16 that stands still through all of a run is worth a finding of its own.
            if "half-precision" in ids(result):
                assert dtype == "float16"
                assert_named(result, "half-precision")
            else:
                assert_ok(result)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_recordings_of_the_real_one_are_ok(path):
    for result in diagnose(trace.open(path)):
        if path.name == "twice":
            # Two applications in a step, as in a GAN's discriminator: right as far as it goes, and without an order.
            assert (result.verdict, ids(result)[0]) == ("finding", "double-update")
            assert result.causes[0].misfit <= 1
        else:
            assert_ok(result)


# ---------------------------------------------------------------- statistics alone


class Shape:
    """What most faults are tried on: name, decay, shape, other settings."""

    CASES = (
        ("normal", 0.9, (4, 3), {}),
        ("uniform", 0.99, (8, 3, 3, 4), {"data_format": "NCHW"}),
        ("relu", 0.999, (4, 5, 3), {}),
        ("lognormal", 0.9, (4, 2, 2, 2, 3), {}),
    )


cases = pytest.mark.parametrize(("kind", "decay", "shape", "settings"), Shape.CASES)


@cases
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("keep", tiers.slow_but(["moments"], ["inputs", "moments"]))
def test_the_other_variance_convention(tmp_path, kind, decay, shape, settings, fused, keep):
    arguments = {"decay": decay, "shape": shape, "kind": kind, "keep": keep, "fused": fused, **settings}
    assert_ok(judge(record(tmp_path / "honest", Layer(decay, fused), **arguments)))
    result = judge(record(tmp_path / "faulty", Layer(decay, not fused), **arguments))
    assert_named(result, "no-bessel" if fused else "bessel")
    count = int(np.prod(shape[:-1]))
    assert f"{count}/{count - 1}" in result.causes[0].explanation


@pytest.mark.parametrize("bessel", [False, True])
@pytest.mark.parametrize(("count", "kind"), tiers.slow_after(1, [(600, "uniform"), (600, "normal"), (1200, "normal")]))
def test_as_many_steps_or_as_small_batches_as_are_said_would_decide(tmp_path, count, kind, bessel):
    """And a tenth of the steps, or ten times the values, would not."""

    def judged(count, steps):
        layer = Layer(0.9999, bessel)
        arguments = {"shape": (count, 4), "kind": kind, "steps": steps, "keep": "moments", "fused": None}
        folder = tmp_path / f"{count}-{steps}"
        return judge(record(folder, layer, decay=0.9999, **arguments))

    seen = 2 if count == 600 else 4
    said = re.search(
        r"about ([\d,]+) steps like these would, or batches of about ([\d,]+)", judged(count, seen).explanation
    )
    steps, values = (int(number.replace(",", "")) for number in said.groups())
    for enough in (judged(count, math.ceil(1.3 * steps)), judged(values, seen)):
        assert_ok(enough)
        assert ("N/(N-1)" if bessel else "population") in enough.explanation
    for too_little in (judged(count, max(1, steps // 10)), judged(10 * values, seen)):
        assert_named(too_little, verdict="undecidable")


@cases
@pytest.mark.parametrize("fused", [False, True])
def test_the_convention_is_inferred_where_none_is_declared(tmp_path, kind, decay, shape, settings, fused):
    layer = Layer(decay, fused)
    result = judge(record(tmp_path / "t", layer, decay=decay, shape=shape, kind=kind, fused=None, **settings))
    assert_ok(result)
    assert ("N/(N-1)" if fused else "population") in result.explanation


def test_a_convention_that_the_data_cannot_show_is_undecidable(tmp_path):
    for fused in (False, True):
        layer = Layer(0.999, fused)
        opened = record(tmp_path / str(fused), layer, decay=0.999, shape=(50_000, 2), steps=2, fused=None)
        result = judge(opened)
        assert_named(result, verdict="undecidable")
        assert "steps like these" in result.explanation
        assert "values per channel" in result.explanation
    opened = record(tmp_path / "one", Layer(0.9), decay=0.9, shape=(1, 3), steps=2, fused=None)
    assert judge(opened).verdict == "undecidable"


@cases
def test_rates(tmp_path, kind, decay, shape, settings):
    arguments = {"decay": decay, "shape": shape, "kind": kind, **settings}
    assert_ok(judge(record(tmp_path / "honest", Layer(decay), **arguments)))
    assert_named(judge(record(tmp_path / "flipped", Layer(1 - decay), **arguments)), "momentum-flipped")
    assert_named(judge(record(tmp_path / "0", Layer(0.0), **arguments)), "no-memory")
    for other in (0.95, 0.7, 0.9997):
        result = judge(record(tmp_path / str(other), Layer(other), **arguments))
        assert_named(result, "decay")
        assert f"{other:g}" in result.causes[0].explanation
    assert_named(judge(record(tmp_path / "still", StandsStill(decay), **arguments)), "not-updated")
    twice = judge(record(tmp_path / "twice", Doubled(decay), **arguments))
    assert_named(twice, "double-update", "decay")
    assert f"{decay**2:.6g}" in twice.causes[0].explanation
    assert_named(judge(record(tmp_path / "thrice", Tripled(decay), **arguments)), "double-update", "decay")


@cases
def test_two_things_at_once(tmp_path, kind, decay, shape, settings):
    arguments = {"decay": decay, "shape": shape, "kind": kind, **settings}
    assert_named(judge(record(tmp_path / "a", Layer(1 - decay, True), **arguments)), "momentum-flipped", "bessel")
    result = judge(record(tmp_path / "b", Doubled(decay, True), **arguments))
    assert set(ids(result)) == {"bessel", "double-update", "decay"}
    result = judge(record(tmp_path / "c", Layer(0.8, False), fused=True, **arguments))
    assert set(ids(result)) == {"no-bessel", "decay"}


@cases
def test_other_quantities(tmp_path, kind, decay, shape, settings):
    arguments = {"decay": decay, "shape": shape, "kind": kind, **settings}
    assert_named(judge(record(tmp_path / "std", Deviation(decay), **arguments)), "std-for-variance")
    assert_named(judge(record(tmp_path / "half", HalfStore(decay), **arguments)), "half-precision")
    cold = record(tmp_path / "debias", DebiasedMean(decay), start="cold", **arguments)
    assert_named(judge(cold), "zero-debias")
    declared = record(tmp_path / "declared", DebiasedMean(decay), start="cold", zero_debias=True, **arguments)
    assert_ok(judge(declared))
    biased = judge(record(tmp_path / "biased", Layer(decay), start="cold", zero_debias=True, **arguments))
    assert_named(biased, "zero-debias")


@pytest.mark.parametrize(("kind", "count"), [("normal", 3), ("uniform", 3), ("lognormal", 4)])
def test_keras_bessel(tmp_path, kind, count):
    arguments = {"decay": 0.9, "shape": (count, 6), "kind": kind, "steps": 6}
    for fused in (False, True):
        result = judge(record(tmp_path / f"{fused}", Keras(0.9), fused=fused, **arguments))
        assert_named(result, "keras-bessel")
    assert_named(judge(record(tmp_path / "bessel", Layer(0.9, True), **arguments)), "bessel")
    # With more values the two predict the same numbers, and the usual name is given.
    many = {**arguments, "shape": (2000, 6)}
    assert_named(judge(record(tmp_path / "many", Layer(0.9, True), **many)), "bessel")


@pytest.mark.parametrize("kind", ["normal", "uniform", "relu"])
@pytest.mark.parametrize("shape", [(4, 3, 5, 3), (6, 3, 3), (2, 3, 2, 2, 3)])
def test_wrong_axis(tmp_path, kind, shape):
    class OtherAxis(Layer):
        def moments(self, batch):
            return super().moments(np.moveaxis(batch, 1, -1))

    result = judge(record(tmp_path / "t", OtherAxis(0.9), decay=0.9, shape=shape, kind=kind))
    assert_named(result, "wrong-axis")


def test_the_declared_axis_has_another_length(tmp_path):
    opened = record(tmp_path / "t", Layer(0.9), decay=0.9, shape=(4, 5, 6, 3), axis=1)
    assert_named(judge(opened), "wrong-axis")


@pytest.mark.parametrize("kind", ["normal", "uniform", "lognormal"])
def test_padding_counted(tmp_path, kind):
    weights = np.array([1, 1, 0, 1, 0, 1, 1, 1], np.float32)

    class Masked(Layer):
        def moments(self, batch):
            return super().moments(batch[weights > 0])

    arguments = {"decay": 0.9, "shape": (8, 3, 4), "kind": kind, "extra": lambda t: {"weights": [weights]}}
    assert_ok(judge(record(tmp_path / "honest", Masked(0.9), **arguments)))
    assert_named(judge(record(tmp_path / "faulty", Layer(0.9), **arguments)), "padding-counted")


@pytest.mark.parametrize("decay", [0.999, 0.9999])
def test_float32_decay_is_an_advisory(tmp_path, decay):
    for declared, done in (("float64", "float32"), ("float32", "float64")):
        arguments = {"decay": decay, "shape": (4, 6), "kind": "uniform", "steps": 3, "start": "cold"}
        result = judge(record(tmp_path / declared, Layer(decay, rate_dtype=done), rate_dtype=declared, **arguments))
        assert_named(result, "float32-decay", "cold-start", verdict="ok")
        assert_ok(judge(record(tmp_path / f"{done}ok", Layer(decay, rate_dtype=done), rate_dtype=done, **arguments)))


@pytest.mark.parametrize("decay", [0.999, 0.9999])
@pytest.mark.parametrize("declared", [None, "float64", "float32"])
@pytest.mark.parametrize("keep", tiers.slow_but(["inputs"], ["inputs", "moments"]))
def test_float32_decay_is_told_where_only_all_steps_together_show_it(tmp_path, decay, declared, keep):
    """Warm statistics, whose steps are each within the expected error of rounding, with either rate."""
    for done in ("float64", "float32"):
        arguments = {"decay": decay, "shape": (16, 24), "kind": "normal", "steps": 80, "keep": keep, "fused": False}
        arguments |= {"release": "1.15"} if declared is None else {"rate_dtype": declared}
        result = judge(record(tmp_path / done, Layer(decay, rate_dtype=done), **arguments))
        assert_ok(result)
        assert ("float32-decay" in ids(result)) is (done != (declared or "float64")), result.explanation
        assert result.survey.best.verdict == "ok"


@pytest.mark.parametrize("order", ["in order", "pairwise"])
def test_sums_that_stagnate_are_not_taken_for_a_rate(tmp_path, order):
    """The rounding of such sums has one sign in all steps, as another rate has."""
    arguments = {"decay": 0.999, "shape": (1500, 40), "kind": "relu", "steps": 12, "rate_dtype": "float64"}
    assert "float32-decay" not in ids(judge(record(tmp_path / "t", Layer(0.999, order=order), **arguments)))


@pytest.mark.parametrize("recurrence", [None, "weighted"])
def test_a_weighted_recurrence_is_not_taken_for_a_rate(tmp_path, recurrence):
    """Its weight of the old value, float32(decay), leaves what 1 - float32(decay) would."""

    class Weighted(Layer):
        def once(self, moving, batch):
            both = zip(moving, self.moments(batch), strict=True)
            return tuple(old * np.float32(0.999) + new.astype(np.float32) * np.float32(1 - 0.999) for old, new in both)

    arguments = {"decay": 0.999, "shape": (16, 24), "kind": "normal", "steps": 60, "recurrence": recurrence}
    for start in ("warm", "cold"):
        result = judge(record(tmp_path / start, Weighted(0.999), start=start, **arguments))
        assert_ok(result)
        assert "float32-decay" not in ids(result)


@pytest.mark.parametrize("count", [256, 2000])
def test_cancellation(tmp_path, count):
    def batches(t, i):
        return np.random.default_rng([t, i]).normal(3000, 1, (count, 3)).astype(np.float32)

    arguments = {"decay": 0.9, "shape": (count, 3), "batches": batches, "steps": 3}
    assert_ok(judge(record(tmp_path / "honest", Layer(0.9), **arguments)))
    result = judge(record(tmp_path / "faulty", DifferenceOfSquares(0.9), **arguments))
    assert ids(result)[0] == "cancellation"
    assert set(ids(result)) <= {"cancellation", "bad-variance"}


# ---------------------------------------------------------------- one name where two would fit


def test_declared_decay_1_is_frozen(tmp_path):
    for trainable in (True, False):
        opened = record(tmp_path / str(trainable), Layer(1.0), decay=1.0, trainable=trainable, outputs=True)
        assert_named(judge(opened), "frozen")


def test_not_trainable_and_unmoved(tmp_path):
    assert_named(
        judge(record(tmp_path / "a", StandsStill(0.9), decay=0.9, trainable=False, outputs=True)),
        "trainable-false",
        verdict="ok",
    )
    # TF 1 goes on updating: no difference to what it should do.
    assert_named(
        judge(record(tmp_path / "b", Layer(0.9), decay=0.9, trainable=False)), "frozen-but-moves", verdict="ok"
    )


def test_the_outputs_tell_a_flag_from_updates_that_did_not_run(tmp_path):
    class FlagOff(StandsStill):
        def statistics(self, moving, batch, training):
            return moving

    for start in ("warm", "cold"):
        for shape, more in (((8, 3), {}), ((4, 3, 3, 4), {"data_format": "NCHW"}), ((4, 5, 3), {"fused": True})):
            name = f"{start}{len(shape)}"
            arguments = {"decay": 0.9, "shape": shape, "start": start, "outputs": True, **more}
            assert_named(judge(record(tmp_path / f"{name}f", FlagOff(0.9), **arguments)), "training-flag-off")
            assert_named(judge(record(tmp_path / f"{name}n", StandsStill(0.9), **arguments)), "not-updated")


def test_statistics_that_have_converged_are_no_finding(tmp_path):
    batch = data("normal", np.random.default_rng(0), (8, 3, 3, 4))

    class Converged(Layer):
        def train(self, moving, batches):
            for _ in range(4000):
                moving = super().train(moving, batches)
            self.train = lambda moving, batches: moving
            return moving

    layer = Converged(0.99, order="pairwise")
    first = record(tmp_path / "first", layer, decay=0.99, batches=lambda t, i: batch, steps=1)
    moving = [next(iter(first)).layers["bn"].moving_mean_after, next(iter(first)).layers["bn"].moving_variance_after]
    with trace.Writer(tmp_path / "then") as writer:
        writer.add_layer("bn", decay=0.99, epsilon=0.001, fused=False)
        for _ in range(3):
            around = {
                f"moving_{name}_{when}": value
                for name, value in zip(("mean", "variance"), moving, strict=True)
                for when in ("before", "after")
            }
            writer.add_step({"bn": {"inputs": [batch], **around}}, training=True)
    assert_ok(judge(trace.open(tmp_path / "then")))


def test_float16_that_swallows_its_updates(tmp_path):
    for kind in ("uniform", "integers", "sorted"):
        layer = Layer(0.9999, dtype="float16")
        opened = record(tmp_path / kind, layer, decay=0.9999, shape=(64, 3), kind=kind, dtype="float16")
        assert_named(judge(opened), "half-precision")


def test_a_flipped_momentum_of_a_half_cannot_show(tmp_path):
    assert_ok(judge(record(tmp_path / "t", Layer(0.5), decay=0.5)))


@pytest.mark.parametrize("kind", ["normal", "uniform", "lognormal"])
def test_statistics_that_move_without_training(tmp_path, kind):
    class Leaks(Layer):
        def test(self, moving, batches):
            return super().train(moving, batches)

    class BatchStats(Leaks):
        def statistics(self, moving, batch, training):
            return self.moments(batch)

    class Drifts(Layer):
        def test(self, moving, batches):
            return moving[0] * np.float32(1.01), moving[1]

    arguments = {"decay": 0.9, "kind": kind, "training": lambda t: t < 2}
    assert_named(judge(record(tmp_path / "leak", Leaks(0.9), outputs=True, **arguments)), "validation-leak")
    assert_named(
        judge(record(tmp_path / "flag", BatchStats(0.9), outputs=True, **arguments)), "batch-stats-at-inference"
    )
    both = judge(record(tmp_path / "both", Leaks(0.9), **arguments))
    assert_named(both, "validation-leak", "batch-stats-at-inference")
    assert_named(judge(record(tmp_path / "drift", Drifts(0.9), **arguments)), "unexplained")


# ---------------------------------------------------------------- several applications in a step


@cases
def test_two_applications(tmp_path, kind, decay, shape, settings):
    arguments = {"decay": decay, "shape": shape, "kind": kind, "applications": 2, **settings}
    for layer in (Layer, Backwards):
        result = judge(record(tmp_path / layer.__name__, layer(decay), **arguments))
        assert_named(result, "double-update")
        assert result.causes[0].misfit <= 1
        assert "TensorFlow gives them no order" in result.explanation
    assert_named(judge(record(tmp_path / "tower", LastTower(decay), **arguments)), "one-tower-only")
    assert_named(judge(record(tmp_path / "race", Race(decay), **arguments)), "double-update")
    result = judge(record(tmp_path / "bessel", LastTower(decay, True), **arguments))
    assert set(ids(result)) == {"bessel", "one-tower-only"}
    # The estimate takes all batches together, which one tower's statistics do not.
    assert "estimated factor" not in result.explanation


# ---------------------------------------------------------------- seen in the values


def test_one_value_per_channel(tmp_path):
    class Gpu(Layer):
        def train(self, moving, batches):
            mean, variance = super().train(moving, batches)
            return mean, variance * np.float32(np.nan)

    arguments = {"decay": 0.9, "shape": (1, 3), "steps": 2, "fused": True}
    cpu = judge(record(tmp_path / "cpu", Layer(0.9, True), **arguments))
    assert_named(cpu, "single-value", verdict="ok")
    gpu = judge(record(tmp_path / "gpu", Gpu(0.9, True), **arguments))
    assert_named(gpu, "single-value")


def test_an_empty_batch(tmp_path):
    class Empty(Layer):
        def train(self, moving, batches):
            return (
                tuple(one * np.float32(np.nan) for one in moving)
                if not batches[0].size
                else super().train(moving, batches)
            )

    def batches(t, i):
        return data("normal", np.random.default_rng(t), (4, 3))[: 0 if t == 1 else 4]

    opened = record(tmp_path / "t", Empty(0.9), decay=0.9, shape=(4, 3), batches=batches, steps=3)
    assert_named(judge(opened), "empty-batch")


def test_not_finite(tmp_path):
    def batches(t, i):
        batch = data("normal", np.random.default_rng(t), (4, 3))
        if t >= 1:
            batch[2, 1] = np.nan
        return batch

    result = judge(record(tmp_path / "t", Layer(0.9), decay=0.9, shape=(4, 3), batches=batches))
    assert_named(result, "not-finite")
    assert "channel 1" in result.causes[0].explanation
    assert "input" in result.causes[0].explanation


def test_bad_variance_and_a_dead_channel(tmp_path):
    class Negative(Layer):
        def train(self, moving, batches):
            return moving[0], moving[1] * np.float32(-1)

    result = judge(record(tmp_path / "bad", Negative(0.9), decay=0.9))
    assert "bad-variance" in ids(result)
    assert result.verdict == "finding"

    def batches(t, i):
        batch = data("normal", np.random.default_rng(t), (8, 3))
        batch[:, 2] = 5
        return batch

    opened = record(tmp_path / "dead", Layer(0.0), decay=0.0, shape=(8, 3), batches=batches, start="cold", steps=1)
    assert_ok(judge(opened))
    once = next(iter(opened)).layers["bn"]
    with trace.Writer(tmp_path / "again") as writer:
        writer.add_layer("bn", decay=0.0, epsilon=0.001, fused=False)
        after = {"moving_mean": once.moving_mean_after, "moving_variance": once.moving_variance_after}
        writer.add_step(
            {"bn": {"inputs": once.inputs} | {f"{k}_{w}": v for k, v in after.items() for w in ("before", "after")}},
            training=True,
        )
    result = judge(trace.open(tmp_path / "again"))
    assert ids(result)[0] == "dead-channel"
    assert "channel 2" in result.causes[0].explanation


def test_start_values_that_still_rule(tmp_path):
    result = judge(record(tmp_path / "cold", Layer(0.999), decay=0.999, start="cold"))
    assert_named(result, "cold-start", verdict="ok")
    assert "4,603" in result.causes[0].explanation
    assert_named(judge(record(tmp_path / "warm", Layer(0.999), decay=0.999)), verdict="ok")
    assert_named(judge(record(tmp_path / "long", Layer(0.5), decay=0.5, start="cold")), verdict="ok")


def test_never_updated_and_not_restored(tmp_path):
    def of(*names):
        rng = np.random.default_rng(0)
        path = tmp_path / "".join(names)
        with trace.Writer(path) as writer:
            for name in names:
                writer.add_layer(name, decay=0.9, epsilon=0.001, fused=False)
            layers = {}
            for name in names:
                moving = (np.zeros(3), np.ones(3)) if name != "other" else (np.ones(3), np.full(3, 2.0))
                around = {
                    f"moving_{k}_{w}": v.astype(np.float32)
                    for k, v in zip(("mean", "variance"), moving, strict=True)
                    for w in ("before", "after")
                }
                layers[name] = {
                    "inputs": [rng.normal(size=(4, 3)).astype(np.float32)],
                    "beta": np.ones(3, np.float32),
                    **around,
                }
            writer.add_step(layers, training=False)
        return diagnose(trace.open(path))[0]

    # Nothing that is recorded trains, so both causes stay open.
    for names in (("bn", "other"), ("bn",)):
        result = of(*names)
        assert_named(result, "not-restored", "not-updated")
        assert "Either they were not restored" in result.explanation


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("kind", ["normal", "relu", "alternating"])
@pytest.mark.parametrize(("declared", "used"), [(1e-3, 1e-5), (1e-5, 1e-3), (1e-3, 2e-3)])
def test_epsilon(tmp_path, kind, declared, used):
    for training in (True, False):
        arguments = {"decay": 0.9, "kind": kind, "outputs": True, "epsilon": declared, "training": training}
        assert_ok_outputs(judge(record(tmp_path / f"h{training}", Layer(0.9, epsilon=declared), **arguments)))
        result = judge(record(tmp_path / f"{training}", Layer(0.9, epsilon=used), **arguments))
        assert_named(result, "epsilon")


def assert_ok_outputs(result):
    __tracebackhide__ = True
    assert_named(result, verdict="ok")


@pytest.mark.parametrize("kind", ["normal", "relu", "alternating"])
def test_epsilon_floor(tmp_path, kind):
    def batches(t, i):
        return data(kind, np.random.default_rng(t), (8, 3, 3, 4)) * np.float32(0.01)

    opened = record(
        tmp_path / "t", Layer(0.9, True, epsilon=1.001e-5), decay=0.9, batches=batches, outputs=True, epsilon=1e-6,
        fused=True,
    )  # fmt: skip
    assert_named(judge(opened), "epsilon-floor")


@pytest.mark.parametrize("kind", ["normal", "uniform", "relu"])
def test_gamma_and_beta_exchanged(tmp_path, kind):
    class Swapped(Layer):
        def output(self, moving, batch, training, gamma, beta):
            return super().output(moving, batch, training, beta, gamma)

    for training in (True, False):
        opened = record(tmp_path / str(training), Swapped(0.9), decay=0.9, kind=kind, outputs=True, training=training)
        assert_named(judge(opened), "gamma-beta-swapped")


@pytest.mark.parametrize("kind", ["normal", "uniform", "relu"])
def test_outputs_of_the_wrong_statistics(tmp_path, kind):
    class BatchStats(Layer):
        def statistics(self, moving, batch, training):
            return self.moments(batch)

    class Noise(Layer):
        def output(self, moving, batch, training, gamma, beta):
            return np.tanh(super().output(moving, batch, training, gamma, beta))

    result = judge(record(tmp_path / "t", BatchStats(0.9), decay=0.9, kind=kind, outputs=True, training=False))
    assert_named(result, "batch-stats-at-inference")
    assert_named(judge(record(tmp_path / "n", Noise(0.9), decay=0.9, kind=kind, outputs=True)), "unexplained")


# ---------------------------------------------------------------- what cannot be explained, or judged


@cases
def test_unexplained_gives_the_estimates(tmp_path, kind, decay, shape, settings):
    class Odd(Layer):
        def moments(self, batch):
            mean, variance = super().moments(batch)
            return mean, variance * np.float32(1.7)

    result = judge(record(tmp_path / "t", Odd(decay), decay=decay, shape=shape, kind=kind, **settings))
    assert result.verdict == "finding"
    assert ids(result) == ["unexplained"]
    assert "k = 1.7" in result.explanation
    assert f"alpha = {1 - decay:.2g}"[:9] in result.explanation


def test_a_decay_that_is_not_known(tmp_path):
    result = judge(record(tmp_path / "t", Layer(0.97), decay=None))
    assert_named(result, "decay", verdict="ok")
    assert "0.97" in result.explanation
    assert_named(judge(record(tmp_path / "b", Layer(0.97, True), decay=None)), "bessel")

    class Varies(Layer):
        def train(self, moving, batches):
            return self.once(moving, batches[0], decay=0.9 - 0.1 * self.steps)

    assert_named(judge(record(tmp_path / "v", Varies(0.9), decay=None)), verdict="undecidable")


def test_layers_that_were_not_judged(tmp_path):
    with trace.Writer(tmp_path / "t") as writer:
        for name, more in (
            ("cond", {"unrecordable": "It is inside a cond."}),
            ("bf", {"dtype": "bfloat16"}),
            ("no", {}),
        ):
            writer.add_layer(name, decay=0.9, epsilon=0.001, **more)
    results = diagnose(trace.open(tmp_path / "t"))
    assert [one.verdict for one in results] == ["undecidable"] * 3
    assert "inside a cond" in results[0].explanation


@pytest.mark.parametrize("settings", [{"renorm": True}, {"zero_debias": True}])
def test_averages_that_the_trace_does_not_hold(tmp_path, settings):
    result = judge(record(tmp_path / "t", Layer(0.9), decay=0.9, **settings))
    assert_named(result, verdict="undecidable")
    assert "does not hold" in result.explanation


@pytest.mark.parametrize("made_by", ["tf-1.15.5-python-3.7", "tf-1.4.0-python-2.7"])
def test_renorm_and_zero_debias_of_the_real_one_under_another_flag(tmp_path, made_by):
    folder = Path(__file__).parents[1] / "golden/traces" / made_by
    for name, wrong, cause in (
        ("renorm", {"renorm": False}, "renorm"),
        ("zero_debias", {"zero_debias": False}, "zero-debias"),
        ("default", {"fused": False}, "bessel"),
        ("composed", {"fused": True}, "no-bessel"),
        ("rank2", {"decay": 0.001}, "momentum-flipped"),
        ("default", {"decay": 0.99}, "decay"),
        ("default", {"epsilon": 1e-5}, "epsilon"),
        ("twice", {"fused": True}, "no-bessel"),
        ("twice", {"decay": 0.81}, "decay"),
    ):
        path = tmp_path / f"{name}{cause}"
        shutil.copytree(folder / name, path)
        head = json.loads((path / "trace.json").read_text())
        head["layers"]["bn"] |= wrong
        (path / "trace.json").write_text(json.dumps(head))
        result = judge(trace.open(path))
        assert result.verdict == "finding", (name, cause)
        assert ids(result)[0] == cause, (name, wrong, ids(result))


@pytest.mark.parametrize("fused", [True, False, None])
def test_training_steps_that_cannot_be_compared_are_no_success(tmp_path, fused):
    empty = record(
        tmp_path / "empty", StandsStill(0.9), decay=0.9, fused=fused, batches=lambda t, i: np.zeros((0, 4), np.float32)
    )
    assert_named(judge(empty), verdict="undecidable")
    lost = record(tmp_path / "axis", Layer(0.9), decay=0.9, fused=fused, shape=(5, 4), axis=7)
    assert judge(lost).verdict != "ok"


def test_a_path_is_opened(tmp_path):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    for path in (tmp_path / "t", str(tmp_path / "t")):
        assert_ok(judge(path))
    with pytest.raises(trace.TraceError, match="does not exist"):
        diagnose(tmp_path / "none")


@pytest.mark.parametrize("name", ["float32-decay", "not-updated"])
def test_an_explanation_leaves_the_survey_as_it_was(tmp_path, name):
    """What explains a layer takes the place of what it declares in a copy."""
    wrong = Layer(0.999, rate_dtype="float32") if name == "float32-decay" else faults.Skips(0.999)
    arguments = {"decay": 0.999, "shape": (4, 6), "kind": "uniform", "start": "cold", "rate_dtype": "float64"}
    opened = record(tmp_path / "t", wrong, outputs=True, **arguments)
    first = Survey(opened.layers["bn"])
    engine._feed(opened, {"bn": first}, None, outputs=True)
    assert first.is_wrong
    search = Search(first)
    engine._feed(opened, {"bn": search}, None)
    partly = SomeSteps(first)
    engine._feed(opened, {"bn": partly}, None, outputs=True)
    before = dict(vars(first))
    explanation = explain_training(first, search, partly)
    assert [one.id for one in explanation.causes] == [name]
    explained = first.explained(explanation)
    assert vars(first) == before
    if name == "float32-decay":
        assert (first.best.verdict, explained.best.verdict) == ("finding", "ok")
    else:
        assert explained.outputs is partly.outputs is not first.outputs


def test_a_trace_that_runs_out_is_refused(tmp_path):
    with pytest.raises(TypeError, match="iterated over only once"):
        diagnose(iter(()))


@pytest.mark.parametrize(
    ("decay", "samples", "names"), [(0.9, 1, ["half-precision", "no-bessel"]), (0.99, 8, ["half-precision"])]
)
def test_float16_that_is_too_coarse_for_the_convention_says_so(tmp_path, decay, samples, names):
    """At .99, N = 72 and variances of 5000 the two differ by .7 and float16 numbers by 4."""
    layer = faults.HalfStore(decay)
    arguments = {"decay": decay, "shape": (samples, 3, 3, 4), "kind": "uniform", "fused": True, "data_format": "NCHW"}
    result = judge(record(tmp_path / "t", layer, **arguments))
    assert (result.verdict, ids(result)) == ("finding", names)
    assert ("too coarse here to tell" in result.explanation) == (names == ["half-precision"])


def test_float16_that_swallows_some_updates_is_one_cause(tmp_path):
    """Where an update is too small for float16, a step stands still: that is no update that did not run."""
    layer = faults.HalfStore(0.999)
    result = judge(record(tmp_path / "t", layer, decay=0.999, shape=(4, 5, 3), kind="relu", steps=20))
    assert ids(result) == ["half-precision"]


def test_bounds_that_allow_anything_show_no_leak(tmp_path):
    """With 1e18 values per channel the worst case of a sum is larger than the way to the batch."""

    def leaking(count):
        moments = [{"count": count, "mean": np.full(4, 2.0), "variance": np.full(4, 5.0)}]
        return {"keep": "moments", "training": False, "extra": lambda t: {"moments": moments}}

    class Leaks(Layer):
        def test(self, moving, batches):
            return tuple(
                (old - (old - np.float32(new)) * np.float32(0.1)).astype(np.float32)
                for old, new in zip(moving, (2.0, 5.0), strict=True)
            )

    for count, names in ((100, ["validation-leak", "batch-stats-at-inference"]), (10**18, ["unexplained"])):
        (result,) = diagnose(record(tmp_path / str(count), Leaks(0.9), decay=0.9, steps=3, **leaking(count)))
        assert [cause.id for cause in result.causes] == names
    assert "too wide to tell" in result.explanation


def test_two_updates_of_unknown_decays_are_not_said_to_be_something_else(tmp_path):
    """A layer of PyTorch with momentum None that is applied twice: the second batch has half of the weight."""

    class Averages(Layer):
        def train(self, moving, batches):
            for i, batch in enumerate(batches):
                moving = self.once(moving, batch, decay=1 - 1 / (len(batches) * self.steps + i + 1))
            return moving

    for steps in (1, 3):
        made = record(
            tmp_path / str(steps),
            Averages(0.9),
            decay=None,
            steps=steps,
            applications=2,
            start="cold",
            extra=lambda t: {"decay": None},
        )
        (result,) = diagnose(made)
        assert (result.verdict, result.causes) == ("undecidable", ()), result.explanation
