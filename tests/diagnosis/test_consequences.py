"""Which causes follow from others: in one layer, and from layer to layer."""

import numpy as np
import pytest
from faulty import Layer, data, simulated, write

from tf1bn.diagnosis import diagnose
from tf1bn.diagnosis.conclude import audit_result

NAN_FROM = 3
FAR = (14, -7, 9)


def batches(spoilt):
    def batch(t, i):
        values = data("normal", np.random.default_rng([t, i]), (6, 3), "float32")
        if spoilt and t >= NAN_FROM:
            values[2, 1] = np.nan
        return values

    return batch


def audited(path, **layers):
    results = diagnose(write(path, layers))
    return {result.name: result for result in results}, audit_result(results)["layers"]


def test_nan_that_came_from_the_layer_before(tmp_path):
    layers = {
        "first": simulated(Layer(0.9), decay=0.9, batches=batches(False), shape=(6, 3), steps=6),
        "second": simulated(Layer(0.9), decay=0.9, batches=batches(True), shape=(6, 3), steps=6),
        "third": simulated(Layer(0.9), decay=0.9, batches=batches(True), shape=(6, 3), steps=6),
    }
    results, entries = audited(tmp_path / "t", **layers)
    assert [results[name].verdict for name in layers] == ["ok", "finding", "finding"]
    (root,), (consequence,) = results["second"].causes, results["third"].causes
    assert (root.id, root.follows_from) == ("not-finite", None)
    assert (consequence.id, consequence.follows_from, consequence.follows_from_layer) == (
        "not-finite",
        "not-finite",
        "second",
    )
    assert results["third"].explanation.count("That follows from `not-finite` of the layer second") == 1
    assert results["second"].first
    assert not results["third"].first
    assert entries[2]["causes"][0]["follows_from_layer"] == "second"
    assert "follows_from_layer" not in entries[1]["causes"][0]


def test_statistics_that_are_nan_by_themselves_follow_from_nothing(tmp_path):
    class MakesNaN(Layer):
        def train(self, moving, batches):
            mean, variance = super().train(moving, batches)
            return mean * np.float32(np.nan if self.steps >= NAN_FROM else 1), variance

    layers = {
        "first": simulated(Layer(0.9), decay=0.9, batches=batches(True), shape=(6, 3), steps=6),
        "second": simulated(MakesNaN(0.9), decay=0.9, batches=batches(False), shape=(6, 3), steps=6),
    }
    results, _ = audited(tmp_path / "t", **layers)
    (cause,) = [cause for cause in results["second"].causes if cause.id == "not-finite"]
    assert cause.follows_from is None


@pytest.mark.parametrize(("epsilon", "beyond"), [(1e-12, True), (1e-5, False)])
def test_outputs_that_are_nan_where_nothing_else_is(tmp_path, epsilon, beyond):
    """PyTorch in float16: 1 / sqrt(1e-12) is infinite, and 0 times that is NaN."""

    class Half(Layer):
        def output(self, moving, batch, training, gamma, beta):
            with np.errstate(all="ignore"):
                mean, variance = (value.astype(np.float16) for value in self.statistics(moving, batch, training))
                scale = np.float16(1) / np.sqrt(variance + np.float16(self.epsilon))
                return ((batch.astype(np.float16) - mean) * scale * gamma.astype(np.float16)).astype(np.float16)

    made = simulated(
        Half(0.9, epsilon=epsilon),
        decay=0.9,
        epsilon=epsilon,
        batches=lambda t, i: np.zeros((6, 3), np.float32),
        shape=(6, 3),
        start=(np.zeros(3), np.zeros(3)),
        steps=3,
        outputs=True,
        extra=lambda t: {"beta": np.zeros(3, np.float32)},
    )
    results, _ = audited(tmp_path / "t", bn=made)
    found = [cause for cause in results["bn"].causes if cause.id == "not-finite"]
    assert bool(found) is beyond
    if beyond:
        assert "beyond the largest float16 number; a larger epsilon mends it" in found[0].explanation
        assert results["bn"].first_step == 0


def test_a_negative_variance_makes_nan(tmp_path):
    class Negative(Layer):
        def output(self, moving, batch, training, gamma, beta):
            with np.errstate(all="ignore"):
                return super().output(moving, batch, training, gamma, beta)

    start = np.zeros(3), np.array([2, -3, 2])
    made = simulated(Negative(0.9), decay=0.9, shape=(6, 3), steps=2, start=start, training=False, outputs=True)
    results, _ = audited(tmp_path / "t", bn=made)
    assert [(cause.id, cause.follows_from) for cause in results["bn"].causes] == [
        ("bad-variance", None),
        ("not-finite", "bad-variance"),
    ]


def evaluated(means, seed):
    """A layer in inference of data with these means, whose statistics are those of data with means of 5."""
    rng = np.random.default_rng(seed)
    made = [rng.normal(means, 1, (64, 3)).astype(np.float32) for _ in range(2)]
    settings = {"shape": (64, 3), "steps": 2, "start": ([5.0] * 3, [1.1] * 3), "training": False}
    return simulated(Layer(0.9), decay=0.9, batches=lambda t, i: made[t], **settings)


def test_statistics_that_do_not_fit_may_follow_from_a_layer_before(tmp_path):
    layers = {
        "right": evaluated(5, 0),
        "root": evaluated(FAR, 1),
        "between": evaluated(5, 2),
        "later": evaluated(FAR, 3),
    }
    results, entries = audited(tmp_path / "t", **layers)
    assert [[cause.id for cause in result.causes] for result in results.values()] == [
        [],
        ["statistics-do-not-fit"],
        [],
        ["statistics-do-not-fit"],
    ]
    sentence = "Or that follows from `statistics-do-not-fit` of the layer root, which is before it."
    assert sentence in results["later"].explanation
    assert "Or that follows" not in results["root"].explanation
    assert "may_follow_from_layer" not in entries[1]["causes"][0]
    assert entries[3]["causes"][0]["may_follow_from_layer"] == "root"
    assert entries[3]["causes"][0]["explanation"].endswith(sentence)
    # Possible is not certain.
    assert "follows_from" not in entries[3]["causes"][0]


def test_a_layer_that_was_not_restored_can_be_the_root(tmp_path):
    made = simulated(Layer(0.9), decay=0.9, shape=(64, 3), steps=2, start="cold", training=False, outputs=True)
    results, _ = audited(tmp_path / "t", first=made, later=evaluated(FAR, 3))
    assert results["first"].causes[0].id == "not-restored"
    assert results["later"].causes[0].may_follow_from_layer == "first"
    results, _ = audited(tmp_path / "u", later=evaluated(FAR, 3), first=made)
    assert results["later"].causes[0].may_follow_from_layer is None
