"""Masked moments as Keras computes them: sums that are divided by the number of unmasked values plus 1e-7."""

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.evidence.read_ahead import read

KERAS = 1e-7


def written(path, framework, masks, dtype="float64", added=KERAS):
    """The trace of a layer whose batches of one channel are masked by rows, with sums divided by count + ``added``."""
    rng, mean, variance = np.random.default_rng(0), np.zeros(1, dtype), np.ones(1, dtype)
    with trace.Writer(path, framework=framework) as writer:
        settings = {"dtype": dtype, "rate_dtype": dtype, "recurrence": "weighted"}
        writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False, **settings)
        for mask in masks:
            x = rng.normal(3, 2, (len(mask), 1)).astype(dtype)
            kept, count = x[np.array(mask, bool)].astype("f8"), sum(mask) + added
            record = {"inputs": [x], "weights": [np.array(mask, "f4")]}
            record |= {"moving_mean_before": mean, "moving_variance_before": variance}
            by = kept.sum(axis=0) / count if count else 0.0
            spread = np.square(kept - by).sum(axis=0) / count if count else 0.0
            mean, variance = ((0.9 * old + 0.1 * new).astype(dtype) for old, new in ((mean, by), (variance, spread)))
            record |= {"moving_mean_after": mean, "moving_variance_after": variance}
            writer.add_step({"bn": record}, training=True)
    return trace.open(path)


MASKS = [[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]]


def test_a_masked_layer_of_keras_in_float64_is_right(tmp_path):
    (result,) = diagnose(written(tmp_path / "a", "Keras", MASKS))
    assert (result.verdict, [cause.id for cause in result.causes]) == ("ok", ["cold-start"])
    # Of another framework it would not be: 1e-7 of three values is seen in float64.
    (result,) = diagnose(written(tmp_path / "b", "another", MASKS))
    assert result.verdict == "finding"
    (result,) = diagnose(written(tmp_path / "c", "Keras", MASKS, added=0.0))
    assert result.verdict == "finding"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_without_an_unmasked_value_has_the_moments_0(tmp_path, dtype):
    opened = written(tmp_path / "a", "Keras", [[1, 1], [0, 0], [1, 0]], dtype)
    (result,) = diagnose(opened)
    assert result.verdict == "ok", result.explanation
    views = [view for *_, view in read(opened, ["bn"]) if view is not None]
    assert (views[1].moments[0].mean, views[1].moments[0].variance) == (0, 0)
