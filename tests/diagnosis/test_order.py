"""Of two causes that are there at once, the one that explains most of the error comes first."""

import numpy as np
import pytest
from faulty import Layer, data, record

from tf1bn.diagnosis.engine import diagnose


@pytest.mark.parametrize(
    ("decay", "rows", "names"),
    [
        # Bessel's correction changes the variance by a factor of 40/39; the rate is .9 instead of .1.
        (0.9, 40, ["momentum-flipped", "bessel"]),
        # By a factor of 2; the rate is .52 instead of .48.
        (0.52, 2, ["bessel", "momentum-flipped"]),
    ],
)
def test_the_larger_of_two_causes_comes_first(tmp_path, decay, rows, names):
    layer = Layer(1 - decay, bessel=True)
    opened = record(tmp_path / "t", layer, decay=decay, shape=(rows, 5), kind="uniform", steps=5)
    (result,) = diagnose(opened)
    assert [cause.id for cause in result.causes] == names
    # The error that is left where only one of the two is accounted for, of the same first step in float64.
    first = next(iter(opened)).layers["bn"]
    batch = np.asarray(first.inputs[0], np.float64)
    before, after = first.moving_variance_before, first.moving_variance_after
    variance, factor = batch.var(axis=0), rows / (rows - 1)
    left = {
        "momentum-flipped": np.abs(before + decay * (variance - before) - after).max(),
        "bessel": max(
            np.abs(before + (1 - decay) * (variance * factor - before) - after).max(),
            np.abs(
                first.moving_mean_before
                + (1 - decay) * (batch.mean(axis=0) - first.moving_mean_before)
                - first.moving_mean_after
            ).max(),
        ),
    }
    assert min(left, key=left.get) == names[0]


def test_a_wrong_axis_comes_before_the_variance_convention(tmp_path):
    class OtherAxis(Layer):
        def moments(self, batch):
            return super().moments(np.moveaxis(batch, 1, -1))

    def batches(t, i):
        return data("uniform", np.random.default_rng([t, i]), (4, 5, 3, 5))

    layer = OtherAxis(0.9, bessel=True)
    (result,) = diagnose(record(tmp_path / "t", layer, decay=0.9, shape=(4, 5, 3, 5), batches=batches))
    assert [cause.id for cause in result.causes] == ["wrong-axis", "bessel"]
