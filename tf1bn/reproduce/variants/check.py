"""The referee of the layer's variants on a CPU and on a GPU: whether what ``variants`` measured is what is due.

Takes what was measured as plain arrays; imports no TensorFlow. Every statistic of every step and every output is
compared. These are the bounds of ``bounds`` and of ``conclusions.expected_output``, and they hold on a GPU because they
are made for any order of operations:

- Sums. Trees, warps, blocks and Welford's or pairwise updates are orders of the same additions. A fused multiply-add
  is the model's product and sum with one rounding less. Division by a rounded 1/N is covered.
- float16. The fused kernels sum and normalise in float32, whatever the inputs, and round the output once; the composed
  layer sums in float32, rounds both moments, and computes the rest in float16, every operation rounded.
- rsqrt. A GPU's is an approximation, good to 2 ulp (CUDA's programming guide, accuracy of single-precision functions).
  ``expected_output`` allows that to every device, so nothing is added for a GPU. A square root and a reciprocal, each
  good to 1 ulp, come to the same 4 roundings.
- Denormals. A GPU may flush them, as TensorFlow's CPU kernels do: the smallest normal number is allowed for each.
- TF32 concerns products of matrices, and there are none. Bessel's factor is the same N/(N-1) in cuDNN. Its floor of
  epsilon, 1e-5, is far below the epsilon in use, .001.

What they do not cover, and what is done about it: cuDNN's source is closed, and it may form E[x^2] - E[x]^2. That is no
order of the same sums, and its error is up to m^2/v times as large. So where the fused layer on a GPU is farther off
than the bound, and no farther than that form explains (``subtracted_squares``), the answer is undecided, no finding.
The article's own batches are judged by ``conclusions`` alone: on them that form stays within the bound in any order.
With TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT cuDNN may also sum in scaled integers, which no bound here covers. One
value per channel is not tried: there TensorFlow's kernel for the CPU gives variance 0 and cuDNN NaN.
"""

import dataclasses

import numpy as np

from ... import checker
from ...checker import error_bounds, outputs
from ...verdicts import FINDING, OK, UNDECIDABLE
from .. import article, conclusions

QUANTITIES = ("training_output", "test_output", "moving_mean", "moving_variance")
UNDECIDED, NOT_RUN = "undecided", "not run"
_VERDICTS = {OK: OK, UNDECIDABLE: UNDECIDED, FINDING: FINDING}
_ROUNDING = 0.4247  # root mean square of a rounding error in units of u, as in `bounds`


@dataclasses.dataclass(frozen=True)
class Due:
    """One quantity at one moment: its value, how far an honest layer is off, and how far one that subtracts squares."""

    quantity: str
    when: str
    value: np.ndarray
    bound: np.ndarray
    limit: np.ndarray


class Expected:
    """What a variant should give on its batches, whatever the format and the device.

    Args:
      variant: as ``variants.Variant``.
      decay: that of the moving statistics.

    Attributes:
      decay: as given.
      dues: a `Due` for every statistic and output, in order: before training, after each step, and the test's output
        with the expected statistics.
    """

    def __init__(self, variant, decay):
        *batches, self._tested = variant.batches()
        channels = variant.shape[-1]
        self._variant, self.decay = variant, decay
        start = np.full(channels, float(article.INITIAL_MEAN)), np.full(channels, float(article.INITIAL_VARIANCE))
        stats = checker.MovingStats(
            *start,
            decay=decay,
            bessel=variant.fused,
            dtype=variant.statistics_dtype,
            replay_bytes=outputs.EVERY_BATCH,
        )
        exact = np.zeros(channels)
        self.dues = [
            Due(name, "before training", value, exact, exact) for name, value in zip(QUANTITIES[2:], start, strict=True)
        ]
        carried = exact
        for step, batch in enumerate(batches, 1):
            own = outputs.batch_statistics(batch, variant.statistics_dtype)
            moments = checker.batch_moments(batch)
            lost = subtracted_squares(moments)
            self.dues.append(self._output("training_output", f"of step {step}", batch, own, lost))
            stats.update(batch)
            carried = carried * decay + lost * moments.count / (moments.count - 1) * (1 - decay)
            when = f"after step {step}"
            bound = stats.variance_bound
            self.dues += [
                Due("moving_mean", when, stats.mean, stats.mean_bound, stats.mean_bound),
                Due("moving_variance", when, stats.variance, bound, bound + carried),
            ]
        self.dues.append(self._output("test_output", "after training", self._tested, stats, carried))

    def _output(self, quantity, when, batch, stats, lost):
        value, bound = self._normalised(batch, stats.mean, stats.variance, stats.mean_bound, stats.variance_bound)
        _, limit = self._normalised(batch, stats.mean, stats.variance, stats.mean_bound, stats.variance_bound + lost)
        return Due(quantity, when, value, bound, np.maximum(bound, limit))

    def _normalised(self, batch, *statistics):
        dtype = self._variant.statistics_dtype
        stored = None if dtype == self._variant.dtype else self._variant.dtype
        return outputs.expected_output(batch, *statistics, dtype=dtype, stored=stored, epsilon=article.EPSILON)

    def tested_with(self, mean, variance):
        """The `Due` of the test's output with the statistics that the layer really had."""
        value, bound = self._normalised(self._tested, mean.astype(np.float64), variance.astype(np.float64))
        return Due("test_output", "after training", value, bound, bound)


def subtracted_squares(moments):
    """How far off E[x^2] - E[x]^2 in float32 can be beyond what ``bounds`` expects; float64 [C].

    In its terms: the partial sums of the squares are i rms^2, which gives their mean the standard error p u rms^2
    sqrt(N/3 + 4), and the square of the mean 2 |m| sm, which is no more than twice that. DEVIATIONS of the sum.
    """
    squares = moments.mean**2 + moments.variance
    return (
        error_bounds.DEVIATIONS * 3 * _ROUNDING * conclusions.UNIT_ROUNDOFF * squares * np.sqrt(moments.count / 3 + 4)
    )


def _compared(due, observed, other=None, *, subtracts, dtype):
    """`checker.Comparison` of a quantity with what is due, or with what the other device gave: then each may be off."""
    limit = due.limit if subtracts else due.bound
    expected, bound = due.value, due.bound
    if other is not None:
        expected, bound, limit = other, 2 * due.bound, due.bound + limit
    return checker.compare(*(np.ravel(each) for each in (observed, expected, bound, limit)), dtype=dtype)


def _observed(played, due):
    """What was measured of a quantity, by the order of ``when``."""
    step = {"before training": 0, "after training": len(played.outputs) - 1}.get(due.when)
    step = int(due.when.rpartition(" ")[2]) if step is None else step
    if due.quantity == "training_output":
        return played.outputs[step - 1]
    return played.outputs[step] if due.quantity == "test_output" else played.statistics[due.quantity][step]


def _subtracts(played):
    return played.device == "gpu" and played.variant.fused


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the report: a variant on one device, or on two. ``json`` is the JSON's dict, its verdict included."""

    json: dict
    problems: tuple = ()
    undecided: tuple = ()
    notes: tuple = ()


def check(played, expected):
    """The `Row` of a variant on one device; ``played`` is a ``variants.Played`` or ``variants.NotRun``."""
    variant = played.variant
    where = f"{variant.name} {_shape(variant)} on the {played.device.upper()}"
    row = {
        "device": played.device,
        **_named(variant),
        "verdict": NOT_RUN,
        "reason": None,
        **dict.fromkeys(QUANTITIES),
        "same_bits_again": None,
        "operations": [],
    }
    if not hasattr(played, "outputs"):
        sentence = f"{where} was not run: TensorFlow says: {played.reason.rstrip('.')}"
        row["reason"] = played.reason
        if played.impossible and played.device == "cpu":
            return Row(row, notes=(f"{sentence}.",))
        row["verdict"] = UNDECIDED
        return Row(row, undecided=(sentence,))
    statistics = played.statistics
    dues = [due for due in expected.dues if due.quantity != "test_output"]
    dues.append(expected.tested_with(*(statistics[name][-2] for name in QUANTITIES[2:])))
    how = {"subtracts": _subtracts(played), "dtype": variant.dtype}
    quantities, problems, undecided = _judged(
        where, ((due, _compared(due, _observed(played, due), **how)) for due in dues)
    )
    row.update(quantities)
    after, tested = ({name: values[i] for name, values in statistics.items()} for i in (-2, -1))
    if not outputs.same_bits(after, tested):
        problems.append(f"{where}: testing changed the moving statistics, or they are not finite")
    if played.ran_fused is not variant.fused:
        problems.append(f"{where}: the layer that ran was the {'fused' if played.ran_fused else 'composed'} one")
    elsewhere = [each for each in played.placements if not each.device.startswith(played.device.upper())]
    if elsewhere or not played.placements:
        shown = ", ".join(f"{each.name} ({each.operation}) on {each.device}" for each in elsewhere[:3])
        more = f" and {len(elsewhere) - 3} more" if len(elsewhere) > 3 else ""
        undecided.append(f"{where} did not run there: {shown + more if elsewhere else 'no operation was seen'}")
    row["verdict"] = _verdict(problems, undecided)
    row["same_bits_again"] = played.same_bits
    row["operations"] = [each._asdict() for each in played.placements]
    return Row(row, tuple(problems), tuple(undecided))


def side_by_side(first, second, expected):
    """The `Row` of a variant on two devices: each is as far from exact as its bound at most, so both by twice it.

    What one of them could not run is not compared, and `check` says why.
    """
    variant = first.variant
    row = {"decay": expected.decay, "input": "random", **_named(variant)}
    if not (hasattr(first, "outputs") and hasattr(second, "outputs")):
        return Row({**row, "verdict": NOT_RUN, **dict.fromkeys(QUANTITIES), "same_bits": None})
    subtracts = _subtracts(first) or _subtracts(second)
    pairs = [(due, _observed(first, due), _observed(second, due)) for due in expected.dues]
    where = f"{variant.name} {_shape(variant)}, the GPU and the CPU"
    return _beside(row, where, pairs, subtracts=subtracts, dtype=variant.dtype)


def listings(first, second, check):
    """The `Row` of a listing on two devices, `experiment.Run`; ``check``: the `conclusions.Check` of one of them."""
    spec = first.spec
    statistics = ((check.mean, check.mean_bound), (check.variance, check.variance_bound))
    test = outputs.expected_output(
        spec.batch,
        check.mean,
        check.variance,
        mean_bound=check.mean_bound,
        variance_bound=check.variance_bound,
        epsilon=article.EPSILON,
    )
    dues = (check.training_output, test, *statistics)
    observed = ((run.train.output, run.test.output, *run.train.after.values()) for run in (first, second))
    pairs = [
        (Due(quantity, "", value, bound, bound), *each)
        for quantity, (value, bound), *each in zip(QUANTITIES, dues, *observed, strict=True)
    ]
    row = {
        "decay": spec.decay,
        "input": spec.input,
        "layer": "fused" if first.ran_fused else "composed",
        "data_format": "NHWC",
        "dtype": "float32",
        "shape": list(spec.batch.shape),
    }
    return _beside(row, f"{listing_name(spec)}, the GPU and the CPU", pairs, subtracts=False, dtype="float32")


def listing_name(spec):
    """What a listing is called in a sentence; ``spec`` is an `experiment.Spec`."""
    layer = "fused" if spec.fused else "composed"
    return f"listing of TF {spec.release}, {layer}, decay {spec.decay:g}, {spec.input} input"


def _beside(row, where, pairs, **how):
    """The `Row` of pairs (due, first, second) of what two devices gave."""
    quantities, problems, undecided = _judged(
        where, ((due, _compared(due, second, first, **how)) for due, first, second in pairs)
    )
    same = all(first.tobytes() == second.tobytes() for _, first, second in pairs)
    row = {**row, "verdict": _verdict(problems, undecided), **quantities, "same_bits": same}
    return Row(row, tuple(problems), tuple(undecided))


def _judged(where, compared):
    """Of pairs of a `Due` and its `Comparison`: the worst of each quantity as JSON, and sentences about those that are
    not ok, findings and undecided ones apart."""
    worst, said = {}, {FINDING: [], UNDECIDABLE: []}
    order = (OK, UNDECIDABLE, FINDING)
    for due, result in compared:
        share = np.inf if result.not_finite else result.share
        rank = order.index(result.verdict), share, result.allowed
        if due.quantity not in worst or rank > worst[due.quantity][0]:
            numbers = {"error": result.error, "allowed": result.allowed, "share": share}
            worst[due.quantity] = rank, {**numbers, "verdict": _VERDICTS[result.verdict]}
        if result.verdict != OK:
            what = f"{due.quantity.replace('_output', ' output')} {due.when}".strip()
            sentence = f"{where}: {what}: {str(result).rstrip('.')}"
            if result.verdict == UNDECIDABLE:
                sentence += ", which E[x^2] - E[x]^2 in float32 would explain"
            said[result.verdict].append(sentence)
    return {quantity: numbers for quantity, (_, numbers) in worst.items()}, said[FINDING], said[UNDECIDABLE]


def _verdict(problems, undecided):
    return FINDING if problems else UNDECIDED if undecided else OK


def _named(variant):
    return {
        "layer": "fused" if variant.fused else "composed",
        "data_format": variant.data_format,
        "dtype": variant.dtype,
        "shape": list(variant.shape),
    }


def _shape(variant):
    return "x".join(str(size) for size in variant.shape)
