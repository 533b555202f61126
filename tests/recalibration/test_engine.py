"""The passes, the numbers and the report, with a model of two functions in the place of a framework's."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from tf1bn.errors import RecalibrationError
from tf1bn.recalibration import recalibrate
from tf1bn.recalibration.engine import Convention, Statistics, recalibrated


class Chain:
    """Layers one after the other: each normalises, doubles and adds its number.

    Attributes:
      log: the names of what was called.
    """

    def __init__(self, names=("a", "b", "c"), dtype=np.float32, bessel=False, **settings):
        self.statistics = {name: Statistics(np.zeros(2, dtype), np.ones(2, dtype)) for name in names}
        self.conventions = {name: Convention(bessel, 0.0) for name in names}
        self.left_out = dict(settings.get("left_out", {}))
        self.by_batch, self.log, self.unused, self.levels_of = (), [], (), settings.get("levels")

    def read(self, name):
        return self.statistics[name]

    def write(self, name, statistics):
        self.statistics[name] = statistics

    def begin(self, names, by_batch):
        self.by_batch = names if by_batch else ()
        self.log.append("begin")

    def end(self):
        self.log.append("end")

    def levels(self, names, batch):
        return self.levels_of

    def run(self, batch, names, take):
        values = np.asarray(batch, np.float64)
        for i, name in enumerate(name for name in self.statistics if name not in self.unused):
            take(name, values)
            mean, variance = self.statistics[name]
            if name in self.by_batch:
                mean, variance = values.mean(axis=0), values.var(axis=0)
                self.statistics[name] = Statistics(mean + 7, variance + 7)  # an update of the run's own
            values = 2 * (values - mean) / np.sqrt(np.maximum(variance, 1e-30)) + i


def batches(count=4, seed=0, rows=6):
    rng = np.random.default_rng(seed)
    return [rng.normal(3, 2, (rows + i, 2)).astype(np.float32) for i in range(count)]


def run(target, data, order="batch", layers=None, write=True):
    return recalibrated(target, data, order=order, layers=layers, write=write)


def exact(data):
    """Mean and population variance of float values per channel, as fractions."""
    columns = [[Fraction(float(value)) for value in column] for column in np.concatenate(data).T]
    means = [sum(column) / len(column) for column in columns]
    return means, [
        sum((value - mean) ** 2 for value in column) / len(column) for column, mean in zip(columns, means, strict=True)
    ]


@pytest.mark.parametrize("bessel", [False, True])
def test_the_new_statistics_are_those_of_all_values(bessel):
    """Of batches of several sizes, where the mean over batches of their moments is another number."""
    data, target = batches(), Chain(bessel=bessel, dtype=np.float64)
    report = run(target, data, layers="a")
    mean, variance = exact(data)
    count = sum(map(len, data))
    factor = Fraction(count, count - 1) if bessel else 1
    for i in range(2):
        assert math.isclose(target.statistics["a"].mean[i], mean[i], rel_tol=1e-14)
        assert math.isclose(target.statistics["a"].variance[i], variance[i] * factor, rel_tol=1e-14)
    (layer,) = report.layers
    assert (layer.name, layer.count) == ("a", count)
    assert not np.isclose(variance[0], np.mean([batch[:, 0].var() for batch in data]), rtol=1e-3)


def test_they_are_rounded_once_to_the_dtype_of_the_layer():
    data, target = batches(), Chain(dtype=np.float32)
    run(target, data)
    mean, _ = exact(data)
    assert target.statistics["a"].mean.dtype == np.float32
    assert target.statistics["a"].mean.tolist() == [float(np.float32(float(value))) for value in mean]


def test_in_one_pass_the_layers_normalise_by_the_batch():
    data, target = batches(), Chain(dtype=np.float64)
    report = run(target, data)
    second = [2 * (batch - batch.mean(axis=0)) / batch.std(axis=0) for batch in (b.astype(np.float64) for b in data)]
    np.testing.assert_allclose(target.statistics["b"].mean, np.concatenate(second).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(target.statistics["b"].variance, np.concatenate(second).var(axis=0), rtol=1e-12)
    assert (report.order, report.passes, report.batches, report.written) == ("batch", 1, 4, True)
    assert target.log == ["begin", "end"]


@pytest.mark.parametrize("levels", [None, [["a"], ["b"], ["c"]]])
def test_one_after_the_other_each_sees_the_new_statistics_before_it(levels):
    """Normalised by the new statistics, the data have mean 0 and variance 1 at each layer, doubled and moved on."""
    data, target = batches(), Chain(dtype=np.float64, levels=levels)
    report = run(target, data, "sequential")
    assert report.passes == 3
    for i, name in enumerate("bc"):
        np.testing.assert_allclose(target.statistics[name].mean, [i, i], atol=1e-12)
        np.testing.assert_allclose(target.statistics[name].variance, [4, 4], rtol=1e-12)
    assert [layer.name for layer in report.layers] == ["a", "b", "c"]


def test_levels_that_hold_several_layers_take_a_pass_each():
    report = run(Chain(levels=[["a", "b"], ["c"]]), batches(), "sequential")
    assert (report.passes, len(report.layers)) == (2, 3)


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_a_dry_run_and_a_failed_one_leave_everything(order):
    for data in (batches(), [*batches(), np.full((3, 2), np.nan)], [*batches(), "no array"]):
        target = Chain()
        before = dict(target.statistics)
        try:
            report = run(target, data, order, write=False)
            assert not report.written
            assert report.layers[0].new_mean[0] != 0
        except (RecalibrationError, ValueError, TypeError):
            assert data[-1] is not batches()[-1]
        assert target.statistics == before
        assert target.log == ["begin", "end"]


def test_nan_in_the_data_is_named():
    data = batches()
    data[2][1, 1] = np.nan
    with pytest.raises(RecalibrationError, match=r"inputs of layer 'a' in batch 2 hold NaN or infinity.*Nothing was"):
        run(Chain(), data)


def test_statistics_beyond_the_dtype_are_not_written():
    target = Chain(dtype=np.float16)
    with pytest.raises(RecalibrationError, match="layer 'a' are beyond the range of float16"):
        run(target, [np.array([[1e4, 0], [-1e4, 1]], np.float32)], layers="a")
    assert target.statistics["a"].mean.tolist() == [0, 0]


def test_a_single_value_has_no_unbiased_variance():
    target = Chain(bessel=True, names=("a",))
    run(target, [np.ones((1, 2), np.float32)])
    assert target.statistics["a"].variance.tolist() == [0, 0]


def test_layers_are_chosen_by_patterns():
    target = Chain(names=("net/a", "net/b", "out"))
    report = run(target, batches(), layers=["net/*"])
    assert [layer.name for layer in report.layers] == ["net/a", "net/b"]
    assert target.statistics["out"].mean.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"`layers` has 'nat/\*', which fits no layer; there are `net/a`, `net/b`"):
        run(target, batches(), layers="nat/*")
    with pytest.raises(ValueError, match="`layers` asks for 'x', which is left out: It is frozen"):
        run(Chain(left_out={"x": "It is frozen."}), batches(), layers="x")


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_a_layer_that_is_not_applied_is_left_out(order):
    target = Chain(left_out={"x": "It is frozen."})
    target.unused = ("b",)
    report = run(target, batches(), order)
    assert dict(report.left_out) == {"x": "It is frozen.", "b": "It was applied to no batch."}
    assert "Left out: b: It was applied to no batch." in str(report)
    target.unused = ("a", "b", "c")
    with pytest.raises(ValueError, match="`batches` give no values to a batch-norm layer of the model; `a`, `b`, `c`"):
        run(target, batches(), order)


def test_models_without_layers():
    with pytest.raises(ValueError, match=r"has no batch-norm layer that can be recalibrated\. x: It is frozen\."):
        run(Chain(names=(), left_out={"x": "It is frozen."}), batches())


class Shrinking:
    """An iterable that has a batch less each time."""

    def __init__(self):
        self.left = 5

    def __iter__(self):
        self.left -= 1
        return iter(batches(self.left))


BAD_DATA = [
    ("batch", list, ValueError, "`batches` is empty"),
    ("sequential", list, ValueError, "`batches` is empty"),
    ("batch", lambda: 3, TypeError, "`batches` is of type int; it must be an iterable"),
    ("batch", lambda: np.zeros((3, 2)), TypeError, "`batches` is of type ndarray, a single batch"),
    ("batch", lambda: {"x": 1}, TypeError, "`batches` is of type dict, a single batch"),
    ("sequential", lambda: iter(batches()), ValueError, "`batches` is a list_iterator, which can be run through once"),
    ("sequential", Shrinking, RecalibrationError, "Pass 2 over `batches` has 2 batches, and the one before had 3"),
]


@pytest.mark.parametrize(("order", "make", "error", "message"), BAD_DATA)
def test_data_that_are_none(order, make, error, message):
    target = Chain()
    with pytest.raises(error, match=message):
        run(target, make(), order)
    assert target.statistics["a"].mean.tolist() == [0, 0]


def test_a_function_gives_the_data_of_each_pass():
    calls = []
    report = run(Chain(), lambda: calls.append(1) or iter(batches()), "sequential")
    # One more for the look at the first batch.
    assert (report.passes, len(calls)) == (3, 4)


def test_an_iterator_is_enough_for_one_pass():
    assert run(Chain(), iter(batches())).passes == 1


def test_the_report_tells_how_far_off_the_old_ones_were():
    """Data of mean 3 and variance 4 in a layer that holds 0 and 1: 1.5 deviations, and the outputs in closed form."""
    data = [np.array([[1.0, 1], [5, 5]] * 50)]
    target = Chain(names=("a",), dtype=np.float64)
    report = run(target, data)
    (layer,) = report.layers
    assert layer.mean_shift == 1.5
    assert math.isclose(layer.mean_standard_errors, 1.5 * math.sqrt(100))
    assert layer.variance_ratio == (0.25, 0.25)
    # Old outputs x, new ones (x - 3) / 2: the change x / 2 + 3 / 2 has mean 3 and variance 1; the new deviation is 1.
    assert math.isclose(layer.output_change, math.sqrt(10))
    text = str(report)
    assert text.startswith("New moving statistics of 1 layer from 1 batch were written (order 'batch', 1 pass).")
    assert "1.5 sd" in text
    assert "0.25" in text
    assert "316.2%" in text
    content = json.loads(report.to_json())
    assert content["format"] == "tf1bn-recalibration"
    assert content["layers"][0]["new_mean"] == [3, 3]
    assert content["layers"][0]["output_change"] == layer.output_change


def test_numbers_that_json_cannot_hold_are_null():
    report = run(Chain(names=("a",)), [np.ones((4, 2))])
    assert report.layers[0].mean_shift == math.inf
    content = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert content["layers"][0]["mean_shift"] is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"order": "one"}, ValueError, '`order` is \'one\'; it must be "batch" or "sequential"'),
        ({"write": 1}, ValueError, "`write` is 1; it must be true or false"),
        ({"call": 3}, TypeError, "`call` is 3; it must be a function"),
        ({}, TypeError, "`model` is of type object; it must be a PyTorch module, a Keras model, or a session"),
    ],
)
def test_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        recalibrate(object(), batches(), **arguments)
