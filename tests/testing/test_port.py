"""The worked port of docs/porting.md: a discriminator with two updates in each step, in TF 1.15.5 and here."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow
from golden.record import dcgan

import tf1bn
from tf1bn import checker

tf = tensorflow.compat.v1
ROOT = Path(__file__).resolve().parents[2]
RECORDED = json.loads((ROOT / "tests/golden/dcgan.json").read_text(encoding="ascii"))
DECAY, UNIT = 0.9, 2.0**-24


@pytest.fixture(scope="module")
def played():
    with tf.Graph().as_default():
        return dcgan.train(tf, tf1bn.batch_norm)


def misfits(layer_inputs, before, after, uncertain=0.0):
    """For mean and variance, the error in units of the bound under each thing that two updates in one run can do.

    One after the other, in either order, or both from the old value: a0 - (1 - d)(2 a0 - m1 - m2).

    ``uncertain``: how far the layer's inputs may be from those at hand; it moves a batch's mean by as much and its
    variance by twice that times the deviation.
    """

    def updated(*batches):
        # Both graphs keep the fused kernel here: rank 4, updates_collections=None.
        stats = checker.MovingStats(*before, decay=DECAY, bessel=True)
        for batch in batches:
            stats.update(batch)
        return np.stack([stats.mean, stats.variance]), np.stack([stats.mean_bound, stats.variance_bound])

    (first, first_bound), (second, second_bound) = (updated(batch) for batch in layer_inputs)
    apart = first + second - np.stack(before), first_bound + second_bound
    deviation = max(np.sqrt(batch.var(axis=(0, 1, 2), dtype=np.float64)).max() for batch in layer_inputs)
    slack = 2 * (1 - DECAY) * np.array([[uncertain], [(2 * deviation + uncertain) * uncertain]])
    errors = [
        np.abs(np.stack(after) - expected) / (bound + slack)
        for expected, bound in (updated(*layer_inputs), updated(*layer_inputs[::-1]), apart)
    ]
    return np.stack(errors).max(axis=2)  # [possibility, statistic]


def test_each_step_is_two_updates(played):
    for layer_inputs, before, after in played:
        assert misfits(layer_inputs, before, after).min(axis=0).max() <= 1


def test_so_it_is_in_the_recording_of_tf_1_15(played):
    # A convolution adds up 75 products of numbers of at most 1.
    uncertain = 75 * UNIT * 75
    for (layer_inputs, _, _), step in zip(played, RECORDED["steps"], strict=True):
        before, after = ([np.array(v) for v in step[when]] for when in ("before", "after"))
        assert misfits(layer_inputs, before, after, uncertain).min(axis=0).max() <= 1


def test_one_update_a_step_would_be_noticed(played):
    for layer_inputs, before, after in played:
        for batch in layer_inputs:
            single = checker.MovingStats(*before, decay=DECAY, bessel=True)
            single.update(batch)
            assert np.abs(after[1] - single.variance).max() > 100 * single.variance_bound.max()


def test_the_page_shows_this_code_and_these_numbers():
    page = (ROOT / "docs" / "porting.md").read_text(encoding="utf-8")
    source = Path(dcgan.__file__).read_text(encoding="utf-8")
    code = re.search(r"# port: begins\n(.*?)\n\n# port: ends", source, re.DOTALL).group(1)
    assert code in page
    for name, values in zip(("moving_mean", "moving_variance"), RECORDED["steps"][-1]["after"], strict=True):
        shown = ", ".join(f"{value:.6f}" for value in values)
        assert f"| `{name}` in TF 1.15.5 | {shown} |" in page
