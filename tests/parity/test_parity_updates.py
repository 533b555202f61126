"""Layers that update their statistics several times in a step, in some steps only, or never, in one of two runs."""

import numpy as np
import pytest
from portnet import Layer, Net, Rules, batches, write

from tf1bn import trace
from tf1bn.parity.traces.compare import compare_traces

TRAINING = (True,) * 6 + (False,) * 2
DATA = batches(8)


def twice(path, *, decay=0.9, declared=None, bessel=False, epsilon=1e-3, updates=(0, 1)):
    """The trace of a layer of four channels that is applied to two batches in each step, by its recurrence."""
    random = np.random.default_rng(0)
    mean, variance = np.zeros(4, "f4"), np.ones(4, "f4")
    rate, one = np.float32(1 - decay), {"gamma": np.ones(4, "f4"), "beta": np.zeros(4, "f4")}
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=declared or decay, epsilon=1e-3, fused=False)
        for step in range(6):
            training = step < 4
            inputs = [random.normal(1 + i, 2 + i, (16, 3, 3, 4)).astype("f4") for i in range(2)]
            record = {"inputs": inputs, "outputs": [], **one}
            record |= {"moving_mean_before": mean, "moving_variance_before": variance}
            for i, x in enumerate(inputs):
                flat = x.reshape(-1, 4).astype("f8")
                batch = flat.mean(axis=0), flat.var(axis=0)
                use = batch if training else (record["moving_mean_before"], record["moving_variance_before"])
                record["outputs"].append(((x - use[0]) / np.sqrt(use[1] + epsilon)).astype("f4"))
                if training and i in updates:
                    factor = len(flat) / (len(flat) - 1) if bessel else 1
                    mean = mean - (mean - batch[0].astype("f4")) * rate
                    variance = variance - (variance - (batch[1] * factor).astype("f4")) * rate
            record |= {"moving_mean_after": mean, "moving_variance_after": variance}
            writer.add_step({"bn": record}, training=training)
    return trace.open(path)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return twice(tmp_path_factory.mktemp("old") / "twice")


APPLIED_TWICE = {
    "decay": ({"decay": 0.95}, "decay", "the decay in use is 0.95 and not 0.9"),
    "decay, declared as OLD": ({"decay": 0.95, "declared": 0.9}, "decay", "the decay in use is 0.95 and not 0.9"),
    "bessel": ({"bessel": True}, "bessel", "Bessel's correction"),
    "flipped": ({"decay": 0.1}, "momentum-flipped", "its decay is 0.1, OLD's is 0.9"),
    "epsilon": ({"epsilon": 1e-5}, "epsilon", "NEW's epsilon is 1e-05, OLD's is 0.001"),
    "one": ({"updates": (1,)}, "one-tower-only", "where in OLD all of them do"),
}


@pytest.mark.parametrize("case", APPLIED_TWICE)
def test_a_layer_that_both_apply_twice_has_the_one_cause(old, tmp_path, case):
    options, name, text = APPLIED_TWICE[case]
    (layer,) = compare_traces(old, twice(tmp_path / "t", **options))["layers"]
    assert [cause["id"] for cause in layer["causes"]] == [name]
    assert text in layer["explanation"]


def test_what_both_apply_twice_is_checked(old):
    (layer,) = compare_traces(old, old)["layers"]
    assert (layer["verdict"], layer["causes"]) == ("ok", [])
    (check,) = (check for check in layer["checks"] if "double-update" in check["what"])
    assert 0 < check["error"] <= check["bound"] == 1


def test_updates_of_both_applications_where_one_was_due(old, tmp_path):
    (layer,) = compare_traces(twice(tmp_path / "t", updates=(1,)), old)["layers"]
    assert [cause["id"] for cause in layer["causes"]] == ["double-update"]
    assert "NEW updates its statistics more than once in a step, OLD once" in layer["explanation"]


class Timed(Net):
    """A net whose layer bn2 has other rules in some steps; ``seen``: its record says so where it does not train."""

    def __init__(self, rules, steps, seen=False):
        super().__init__()
        self.other, self.steps, self.seen, self.number = rules, steps, seen, 0

    def step(self, x, training):
        self.layers[1].rules = self.other if self.number in self.steps else Rules()
        records = super().step(x, training)
        if self.seen and self.number in self.steps:
            records[1]["training"] = False
        self.number += 1
        return records


class On(Layer):
    """A layer whose training flag was left on; what it records says so if ``seen``."""

    def __init__(self, layer, seen):
        self.__dict__.update(layer.__dict__)
        self.seen = seen

    def __call__(self, x, training):
        y, record = super().__call__(x, True)
        return y, record if self.seen else {**record, "training": training}


def flag_on(seen):
    net = Net()
    net.layers[1] = On(net.layers[1], seen)
    return net


OFF = Rules(training=False)
ONE_LAYER = {
    "off in two steps": (lambda: Timed(OFF, {2, 3}), ["training-flag-off"], "In 2 of 6 training steps (2, 3): NEW "),
    "off, as recorded": (lambda: Timed(OFF, range(6), seen=True), ["training-flag-off"], "trains in 6 steps, first in"),
    "off in two, as recorded": (
        lambda: Timed(OFF, {2, 3}, seen=True),
        ["training-flag-off"],
        "2 steps, first in",
    ),
    "on": (lambda: flag_on(False), ["batch-stats-at-inference"], "was left on"),
    "on, as recorded": (lambda: flag_on(True), ["batch-stats-at-inference"], "in 2 steps, first in step 6"),
    "decay from a step on": (
        lambda: Timed(Rules(decay=0.99), range(3, 8)),
        ["decay"],
        "in 3 of 6 training steps (3 to 5): the decay in use is 0.99 and not 0.9",
    ),
    "decay 1": (lambda: Net({"bn2": Rules(decay=1.0)}), ["frozen"], "its decay is 1"),
    "updated twice with .95": (lambda: Net({"bn2": Rules(decay=0.95, updates=2)}), ["decay"], "that of 2 updates with"),
}


@pytest.mark.parametrize("case", ONE_LAYER)
def test_parity_says_what_an_audit_says(tmp_path, case):
    net, names, text = ONE_LAYER[case]
    sides = [write(tmp_path / "old", training=TRAINING, data=DATA)]
    sides.append(write(tmp_path / "new", net(), training=TRAINING, data=DATA))
    layers = {layer["name"]: layer for layer in compare_traces(*sides)["layers"]}
    assert [cause["id"] for cause in layers["bn2"]["causes"]] == names
    assert text in layers["bn2"]["explanation"]
    assert [layer["verdict"] for name, layer in layers.items() if name != "bn2"] == ["ok"] * 3


def test_updates_that_run_twice_in_both_are_no_finding_beside_another_decay(tmp_path):
    sides = [
        write(tmp_path / name, Net({"bn2": Rules(updates=2, decay=decay)}), training=TRAINING, data=DATA)
        for name, decay in (("old", 0.9), ("new", 0.95))
    ]
    layer = next(layer for layer in compare_traces(*sides)["layers"] if layer["name"] == "bn2")
    assert [cause["id"] for cause in layer["causes"]] == ["decay"]
    assert "0.9025 (that of 2 updates with 0.95), OLD's is 0.81 (that of 2 updates with 0.9)" in layer["explanation"]


def masked(path, *, mask, weights):
    """The trace of a layer that leaves out the last three of eight samples if ``mask``, with their weights or not."""
    random, used = np.random.default_rng(0), slice(0, 5 if mask else 8)
    mean, variance = np.zeros(3, "f4"), np.ones(3, "f4")
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False)
        for _ in range(4):
            x = random.normal(1, 2, (8, 10, 3)).astype("f4")
            x[5:] = 0
            flat = x[used].reshape(-1, 3).astype("f8")
            record = {"inputs": [x], "moving_mean_before": mean, "moving_variance_before": variance}
            mean = mean - (mean - flat.mean(axis=0).astype("f4")) * np.float32(0.1)
            variance = variance - (variance - flat.var(axis=0).astype("f4")) * np.float32(0.1)
            record |= {"moving_mean_after": mean, "moving_variance_after": variance}
            if weights:
                record["weights"] = [np.array([1, 1, 1, 1, 1, 0, 0, 0], "f4")]
            writer.add_step({"bn": record}, training=True)
    return trace.open(path)


def test_a_mask_on_one_side_alone_is_named(tmp_path):
    kinds = {"masks": (True, True), "counts": (False, False), "ignores": (False, True), "hides": (True, False)}
    sides = {name: masked(tmp_path / name, mask=mask, weights=weights) for name, (mask, weights) in kinds.items()}

    def layer(old, new):
        return compare_traces(sides[old], sides[new], only="training")["layers"][0]

    for old, new in (("masks", "counts"), ("counts", "masks"), ("masks", "ignores")):
        assert [cause["id"] for cause in layer(old, new)["causes"]] == ["padding-counted"], (old, new)
    assert layer("masks", "masks")["verdict"] == layer("counts", "counts")["verdict"] == "ok"
    hidden = layer("masks", "hides")
    assert (hidden["verdict"], hidden["causes"]) == ("undecidable", [])
    assert "either NEW uses them too, or its statistics are wrong" in hidden["explanation"]


def written(path, batches, *, decay=0.9, training=True, how=None, weights=None, outputs=False, **settings):
    """The trace of one layer: ``batches`` has the list of the batches of each step; ``how`` they become one update.

    ``training`` is whether each step trains, or all do.
    """
    modes = [training] * len(batches) if isinstance(training, bool) else training
    channels = batches[0][0].shape[-1]
    mean, variance = np.zeros(channels, "f4"), np.ones(channels, "f4")
    rate = np.float32(1 - decay)
    with trace.Writer(path) as writer:
        writer.add_layer("bn", **{"decay": decay, "epsilon": 1e-3, "fused": False} | settings)
        for parts, training in zip(batches, modes, strict=True):
            record = {"inputs": parts, "moving_mean_before": mean, "moving_variance_before": variance}
            kept = [part if weights is None else part[weights > 0] for part in parts]
            flat = [part.reshape(-1, channels).astype("f8") for part in kept]
            flat = [np.concatenate(flat)] if how == "pooled" else flat
            used = np.mean([x.mean(axis=0) for x in flat], axis=0), np.mean([x.var(axis=0) for x in flat], axis=0)
            if outputs:
                by = used if training else (mean, variance)
                made = [((part - by[0]) / np.sqrt(by[1] + outputs)).astype("f4") for part in parts]
                record |= {"outputs": made, "gamma": np.ones(channels, "f4"), "beta": np.zeros(channels, "f4")}
            if weights is not None:
                record["weights"] = [weights] * len(parts)
            if training:
                mean = (mean - (mean - used[0].astype("f4")) * rate).astype("f4")
                variance = (variance - (variance - used[1].astype("f4")) * rate).astype("f4")
            record |= {"moving_mean_after": mean, "moving_variance_after": variance}
            if how is not None:
                record["reduction"] = how
            writer.add_step({"bn": record}, training=training)
    return trace.open(path)


def steps(count, parts, rows=12, seed=3):
    random = np.random.default_rng(seed)
    return [[random.normal(i, 1 + i, (rows, 4)).astype("f4") for i in range(parts)] for _ in range(count)]


@pytest.mark.parametrize(("old", "new"), [("mean", "pooled"), ("pooled", "mean")])
def test_replicas_whose_batches_come_together_in_another_way(tmp_path, old, new):
    data = steps(4, 3)
    sides = [written(tmp_path / str(i), data, how=how) for i, how in enumerate((old, new))]
    (layer,) = compare_traces(*sides, only="training")["layers"]
    assert [(cause["id"], cause["severity"]) for cause in layer["causes"]] == [("replica", "finding")]
    words = {"mean": "the mean over the replicas", "pooled": "all replicas' batches as one"}
    assert f"OLD updates its statistics by {words[old]}, NEW by {words[new]}." in layer["explanation"]
    again = compare_traces(sides[0], written(tmp_path / "2", data, how=old), only="training")
    assert (again["ok"], again["layers"][0]["causes"]) == (True, [])


@pytest.mark.parametrize("parts", [2, 4])
def test_gradient_accumulation(tmp_path, parts):
    """NEW gets each batch of OLD in parts, and each of them updates the statistics."""
    data = steps(4, 1)
    split = [[piece] for (batch,) in data for piece in np.split(batch, parts)]
    old = written(tmp_path / "old", data)
    found = compare_traces(old, written(tmp_path / "new", split), only="training")
    (layer,) = found["layers"]
    assert [(cause["id"], cause["severity"]) for cause in layer["causes"]] == [("decay", "finding")]
    assert f"0.9^{parts} = {0.9**parts:.4g} in it, and OLD's by 0.9" in layer["explanation"]
    assert found["problems"] == [found["data"]["sentence"]]
    assert f"NEW gets each batch of OLD in {parts} parts" in found["problems"][0]
    # The root of the decay makes up for it, but for the variance between the parts.
    found = compare_traces(old, written(tmp_path / "root", split, decay=0.9 ** (1 / parts)), only="training")
    (layer,) = found["layers"]
    assert [(cause["id"], cause["severity"]) for cause in layer["causes"]] == [("decay", "advisory")]
    assert layer["verdict"] == "undecidable"
    assert not found["ok"]


def test_steps_that_are_not_the_same_show_nothing_of_the_mode(tmp_path):
    """After one batch more in NEW, or after parts, OLD evaluates in a step in which NEW still trains."""
    data, (last,) = steps(4, 1), steps(1, 1, seed=9)
    old = written(tmp_path / "old", [*data, last, last], training=[True] * 4 + [False] * 2)
    split = [[piece] for (batch,) in data for piece in np.split(batch, 2)]
    found = compare_traces(old, written(tmp_path / "parts", [*split, last], training=[True] * 8 + [False]))
    (layer,) = found["layers"]
    assert [(cause["id"], cause["severity"]) for cause in layer["causes"]] == [("decay", "finding")]
    assert "Take the k-th root of the decay" in layer["causes"][0]["remedy"]
    more = [*data[:3], steps(1, 1, seed=5)[0], data[3], last]
    found = compare_traces(old, written(tmp_path / "more", more, training=[True] * 5 + [False]))
    (layer,) = found["layers"]
    assert (layer["verdict"], layer["causes"]) == ("undecidable", [])
    assert "In step 4 only one of the runs trains; from step 3 on they get other data" in layer["explanation"]
    # With the same data the modes are those of the same steps.
    found = compare_traces(old, written(tmp_path / "flag", [*data, last, last], training=[True] * 5 + [False]))
    assert [cause["id"] for cause in found["layers"][0]["causes"]] == ["batch-stats-at-inference"]


def test_other_data_of_half_the_size_is_no_gradient_accumulation(tmp_path):
    found = compare_traces(
        written(tmp_path / "old", steps(4, 1)), written(tmp_path / "new", steps(8, 1, rows=6, seed=5)), only="training"
    )
    assert "parts" not in str(found)
    assert "The data is not the same" in found["problems"][0]


@pytest.mark.parametrize("training", [True, False])
def test_outputs_of_a_masked_layer_are_compared(tmp_path, training):
    mask = np.array([1] * 8 + [0] * 4, "f4")
    data = steps(3, 1)
    old = written(tmp_path / "old", data, weights=mask, outputs=1e-3, training=training)
    same = compare_traces(old, written(tmp_path / "same", data, weights=mask, outputs=1e-3, training=training))
    other = compare_traces(old, written(tmp_path / "eps", data, weights=mask, outputs=1e-2, training=training))
    (layer,), (wrong,) = same["layers"], other["layers"]
    assert layer["verdict"] == ("ok" if training else "undecidable"), layer["explanation"]
    assert "outputs" in [check["what"] for check in layer["checks"]]
    assert [cause["id"] for cause in wrong["causes"]] == ["epsilon"]


def test_decays_that_differ_in_the_ninth_digit_read_differently(tmp_path):
    exact = {"dtype": "float64", "rate_dtype": "float64"}
    sides = []
    for name, decay in (("old", 0.9), ("new", 0.9 + 4e-8)):
        random, mean, variance = np.random.default_rng(0), np.zeros(3), np.ones(3)
        with trace.Writer(tmp_path / name) as writer:
            writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False, **exact)
            for _ in range(5):
                x = random.normal(1, 2, (12, 3))
                record = {"inputs": [x], "moving_mean_before": mean, "moving_variance_before": variance}
                mean = mean - (mean - x.mean(axis=0)) * (1 - decay)
                variance = variance - (variance - x.var(axis=0)) * (1 - decay)
                record |= {"moving_mean_after": mean, "moving_variance_after": variance}
                writer.add_step({"bn": record}, training=True)
        sides.append(trace.open(tmp_path / name))
    (layer,) = compare_traces(*sides, only="training")["layers"]
    assert [cause["id"] for cause in layer["causes"]] == ["decay"]
    assert "0.90000004 and not 0.9" in layer["explanation"]


def averaging(path, of_all=True):
    """A layer with two applications in a step that averages all batches, as `momentum=None` of PyTorch does, or not."""
    random = np.random.default_rng(0)
    mean, variance = np.zeros(4, "f4"), np.ones(4, "f4")
    with trace.Writer(path) as writer:
        writer.add_layer("bn", decay=None if of_all else 0.9, epsilon=1e-3, fused=False)
        for step in range(4):
            inputs = [random.normal(1 + i, 2 + i, (16, 3, 3, 4)).astype("f4") for i in range(2)]
            record = {"inputs": inputs, "moving_mean_before": mean, "moving_variance_before": variance}
            rates = [1 / (2 * step + i + 1) if of_all else 0.1 for i in range(2)]
            for x, rate in zip(inputs, rates, strict=True):
                flat = x.reshape(-1, 4).astype("f8")
                mean = (mean - (mean - flat.mean(axis=0)) * rate).astype("f4")
                variance = (variance - (variance - flat.var(axis=0)) * rate).astype("f4")
            record |= {"moving_mean_after": mean, "moving_variance_after": variance}
            if of_all:
                record |= {"decay": None, "decays": [1 - rate for rate in rates]}
            writer.add_step({"bn": record}, training=True)
    return trace.open(path)


def test_an_average_of_all_batches_with_two_applications_in_a_step(tmp_path):
    average, same = averaging(tmp_path / "a"), averaging(tmp_path / "b")
    other = averaging(tmp_path / "c", of_all=False)
    result = compare_traces(average, same, only="training")
    assert result["ok"], result["layers"][0]["explanation"]
    assert result["layers"][0]["verdict"] == "ok"
    (layer,) = compare_traces(average, other, only="training")["layers"]
    assert (layer["verdict"], layer["causes"][0]["id"]) == ("finding", "decay")
    assert "NEW's decay is not OLD's, which is another one in each update" in layer["explanation"]
    (layer,) = compare_traces(other, average, only="training")["layers"]
    assert (layer["verdict"], layer["causes"][0]["id"]) == ("finding", "cumulative-average")
