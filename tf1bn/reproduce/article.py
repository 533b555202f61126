"""The article of 29 September 2017, "tensorflow: bn层 的 decay参数项": its printed numbers and conclusions as data.

It builds one graph twice under ``variable_scope('my', reuse=AUTO_REUSE)``, with ``is_training=True`` and
``False``, both on one placeholder [1, 4, 4, 1] float32 fed from ``np.random.uniform(0, 255)``, with
``updates_collections=None`` and otherwise default arguments; first with ``decay=0``, then with ``decay=1``.
The input was not printed. It is recovered here from the printed output, so the experiment can be repeated on
the author's own numbers.
"""

import dataclasses

import numpy as np

SHAPE = (1, 4, 4, 1)
EPSILON = 0.001
# What the article prints for a layer that has not been trained.
INITIAL_MEAN, INITIAL_VARIANCE = 0.0, 1.0


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What the article printed for one value of decay.

    Attributes:
      decay: the argument of the layer.
      training_output, test_output: 16 numbers each, the outputs flattened row by row.
      moving_mean, moving_variance: the values after training; testing left them unchanged.
    """

    decay: float
    training_output: tuple
    test_output: tuple
    moving_mean: float
    moving_variance: float

    def batch(self):
        """The input that the author fed, recovered from what was printed: float32 [1, 4, 4, 1].

        Testing normalises with the printed statistics, so x = y * sqrt(moving_variance + epsilon) + moving_mean.
        The printed digits carry float32 precision, hence so does x.
        """
        y = np.array(self.test_output)
        x = y * np.sqrt(self.moving_variance + EPSILON) + self.moving_mean
        return x.astype(np.float32).reshape(SHAPE)


_DECAY_0_OUTPUT = (
    0.27311635, -0.7590425, -0.4103117, -1.40655911, -0.25747275, 0.40145767, 0.46040225, 1.17546725,
    -1.32714963, -1.20369065, -0.08007884, -0.7148838, 1.18637156, 1.85863471, -0.70913869, 1.51287651,
)  # fmt: skip

EXPERIMENTS = (
    Experiment(
        decay=0,
        training_output=_DECAY_0_OUTPUT,
        test_output=_DECAY_0_OUTPUT,  # the article prints the very same digits
        moving_mean=114.78817749,
        moving_variance=5496.60107422,
    ),
    Experiment(
        decay=1,
        training_output=(
            1.58194923, 1.092067, 0.90377307, -0.54407573, -1.40420842, -1.2678678, -2.07936239, -0.7029525,
            0.66369891, 0.8902123, -0.08132553, -0.80555594, 0.52472615, 0.6974256, 0.22497487, 0.30652118,
        ),
        test_output=(
            223.02729797, 193.41201782, 182.02893066, 94.50087738, 42.50252914, 50.74484634, 1.68685985, 84.89615631,
            167.51550293, 181.2091217, 122.47590637, 78.69338226, 159.11407471, 169.5544281, 140.99295044, 145.92274475,
        ),
        moving_mean=0.0,
        moving_variance=1.0,
    ),
)  # fmt: skip

CONCLUSIONS = {
    1: "Training changes the moving statistics, testing does not.",
    2: "Testing uses the statistics that training left behind.",
    3: "decay is given in both phases; in training it does not affect the output, only how far the statistics move.",
    4: "With decay = 1 the training output is right, but the statistics never move: testing does not normalise at all.",
}

SLIP = (
    "The prose above the article's second listing says that with decay = 1 the statistics moved to 114.788 and "
    "5496.6. Its own printout shows 0 and 1 throughout, and so does this run: the sentence was copied from the "
    "first experiment."
)
