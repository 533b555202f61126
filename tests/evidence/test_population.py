"""Statistics against the data of inference steps: far only where randomness does not explain it."""

import numpy as np
import pytest
from faulty import Layer, record

from tf1bn.diagnosis.engine import diagnose


def ids(tmp_path, samples, start, shape=(3,), data=(1, 2)):
    def batches(t, i):
        return np.random.default_rng(t).normal(*data, (16, *shape)).astype(np.float32)

    opened = record(
        tmp_path / "t",
        Layer(0.9),
        decay=0.9,
        shape=(16, *shape),
        batches=batches,
        steps=samples // 16,
        start=tuple(np.full(shape[-1], value) for value in start),
        training=False,
    )
    (result,) = diagnose(opened)
    assert result.verdict == "ok"
    return [cause.id for cause in result.causes]


@pytest.mark.parametrize(
    ("samples", "start", "expected"),
    [
        (64, (1, 4), []),
        (64, (1.5, 3), []),
        (64, (9, 4), ["statistics-do-not-fit"]),
        (256, (1, 0.25), ["statistics-do-not-fit"]),
        (256, (1, 40), ["statistics-do-not-fit"]),
        (256, (0.2, 1.6), ["cold-start"]),
    ],
)
def test_far_or_not(tmp_path, samples, start, expected):
    assert ids(tmp_path, samples, start) == expected


@pytest.mark.parametrize(
    ("start", "data", "expected"),
    [
        # Statistics of data that were smaller by a factor of 10, mean and deviation alike.
        ((10, 36), (100, 60), ["statistics-do-not-fit"]),
        # A tenth of the way to the same data.
        ((10, 361), (100, 60), ["cold-start"]),
        # A new layer, on data that are unlike its start values and on some that are like them.
        ((0, 1), (100, 60), ["cold-start"]),
        ((0, 1), (0.2, 1.1), []),
    ],
)
def test_the_scale_of_the_data_is_no_way_from_the_start(tmp_path, start, data, expected):
    assert ids(tmp_path, 256, start, data=data) == expected


def test_values_of_a_sample_are_not_samples(tmp_path):
    """Eight samples of many values each are too few, however many the values are."""

    def batches(t, i):
        rng = np.random.default_rng(t)
        return (rng.normal(0, 5, (8, 1, 1, 3)) + rng.normal(0, 0.01, (8, 40, 40, 3))).astype(np.float32)

    opened = record(
        tmp_path / "t",
        Layer(0.9),
        decay=0.9,
        shape=(8, 40, 40, 3),
        batches=batches,
        steps=1,
        start=(np.full(3, 12.0), np.full(3, 1.0)),
        training=False,
    )
    (result,) = diagnose(opened)
    assert (result.verdict, result.causes) == ("ok", ())
