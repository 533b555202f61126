"""Whether the variants of the layer gave on a device what they should, and whether two devices agree.

The runs come as plain arrays from ``grid``; this module imports no TensorFlow. Every statistic of every step and every
output is compared with the bounds of ``expected``.
"""

import dataclasses

import numpy as np

from ... import checker
from ...checker import outputs
from ...verdicts import FINDING, OK, RANK, UNDECIDABLE
from .. import article
from .expected import QUANTITIES, ExpectedQuantity

NOT_RUN = "not run"
# The JSON has always said "undecided" for what is undecidable everywhere else, and a format does not change.
JSON_VERDICTS = {OK: OK, UNDECIDABLE: "undecided", FINDING: FINDING}


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant on one device, or on two.

    Attributes:
      json: its dict in the JSON, with its verdict.
      problems: findings, as sentences.
      undecidable: what cannot be decided, as sentences.
      notes: what the user should know besides, as sentences.
    """

    json: dict
    problems: tuple = ()
    undecidable: tuple = ()
    notes: tuple = ()


def check_variant(run, expected):
    """Check a variant on one device; returns its `Row`.

    Args:
      run: a `grid.VariantRun` or `grid.NotRun`.
      expected: an `ExpectedRun`; it may be None for a `NotRun`.
    """
    variant = run.variant
    where = f"{variant.name} {_shape(variant)} on the {run.device.upper()}"
    row = {
        "device": run.device,
        **_settings(variant),
        "verdict": NOT_RUN,
        "reason": None,
        **dict.fromkeys(QUANTITIES),
        "same_bits_again": None,
        "operations": [],
    }
    if not run.ran:
        sentence = f"{where} was not run: TensorFlow says: {run.reason.rstrip('.')}"
        row["reason"] = run.reason
        if run.impossible and run.device == "cpu":
            return Row(row, notes=(f"{sentence}.",))
        row["verdict"] = JSON_VERDICTS[UNDECIDABLE]
        return Row(row, undecidable=(sentence,))
    quantities = [quantity for quantity in expected.quantities if quantity.quantity != "test_output"]
    quantities.append(expected.test_output(*(run.statistics[name][-2] for name in QUANTITIES[2:])))
    worst, problems, undecidable = _summary(
        where,
        (
            (quantity, _compare(quantity, _observed(run, quantity), limited=_may_subtract(run), dtype=variant.dtype))
            for quantity in quantities
        ),
    )
    problems += [f"{where}: {problem}" for problem in _other_problems(run)]
    elsewhere = _elsewhere(run)
    if elsewhere:
        undecidable.append(f"{where} did not run there: {elsewhere}")
    row.update(worst)
    row["verdict"] = _verdict(problems, undecidable)
    row["same_bits_again"] = run.same_bits
    row["operations"] = [placement._asdict() for placement in run.placements]
    return Row(row, tuple(problems), tuple(undecidable))


def _other_problems(run):
    """Findings that are not about a single number."""
    after, tested = ({name: values[i] for name, values in run.statistics.items()} for i in (-2, -1))
    if not outputs.same_bits(after, tested):
        yield "testing changed the moving statistics, or they are not finite"
    if run.ran_fused is not run.variant.fused:
        yield f"the layer that ran was the {'fused' if run.ran_fused else 'composed'} one"


def _elsewhere(run):
    """Which operations ran on another device, as text; "" if none did."""
    if not run.placements:
        return "no operation was seen"
    others = [placement for placement in run.placements if not placement.device.startswith(run.device.upper())]
    shown = ", ".join(f"{placement.name} ({placement.operation}) on {placement.device}" for placement in others[:3])
    return shown + (f" and {len(others) - 3} more" if len(others) > 3 else "")


def compare_devices(first, second, expected):
    """Compare a variant on two devices; returns its `Row`.

    Each may be as far from the expected value as its bound, so their difference may be twice the bound. If a device
    could not run the variant nothing is compared; `check_variant` says why.

    Args:
      first, second: `grid.VariantRun` or `grid.NotRun`, on the CPU and on the GPU.
      expected: an `ExpectedRun`.
    """
    variant = first.variant
    row = {"decay": expected.decay, "input": "random", **_settings(variant)}
    if not (first.ran and second.ran):
        return Row({**row, "verdict": NOT_RUN, **dict.fromkeys(QUANTITIES), "same_bits": None})
    triples = [(quantity, _observed(first, quantity), _observed(second, quantity)) for quantity in expected.quantities]
    where = f"{variant.name} {_shape(variant)}, the GPU and the CPU"
    limited = _may_subtract(first) or _may_subtract(second)
    return _compared_row(row, where, triples, limited=limited, dtype=variant.dtype)


def compare_listings(first, second, check):
    """Compare a run of the article's listing on two devices; returns its `Row`.

    Args:
      first, second: `experiment.Run`, on the CPU and on the GPU.
      check: the `listing_check.Check` of one of them.
    """
    spec = first.spec
    test_output = outputs.expected_output(
        spec.batch,
        check.mean,
        check.variance,
        mean_bound=check.mean_bound,
        variance_bound=check.variance_bound,
        epsilon=article.EPSILON,
    )
    statistics = ((check.mean, check.mean_bound), (check.variance, check.variance_bound))
    expected = (check.training_output, test_output, *statistics)
    observed = ((run.train.output, run.test.output, *run.train.after.values()) for run in (first, second))
    triples = [
        (ExpectedQuantity(quantity, "", value, bound, bound), *values)
        for quantity, (value, bound), *values in zip(QUANTITIES, expected, *observed, strict=True)
    ]
    row = {
        "decay": spec.decay,
        "input": spec.input,
        "layer": "fused" if first.ran_fused else "composed",
        "data_format": "NHWC",
        "dtype": "float32",
        "shape": list(spec.batch.shape),
    }
    return _compared_row(row, f"{listing_name(spec)}, the GPU and the CPU", triples, limited=False, dtype="float32")


def listing_name(spec):
    """The name of a run of the listing in sentences; ``spec`` is an `experiment.Spec`."""
    return f"listing of TF {spec.release}, {spec.layer}, decay {spec.decay:g}, {spec.input} input"


def _compared_row(row, where, triples, *, limited, dtype):
    """The `Row` of triples (expected quantity, first, second) of what two devices gave."""
    worst, problems, undecidable = _summary(
        where,
        (
            (quantity, _compare(quantity, second, first, limited=limited, dtype=dtype))
            for quantity, first, second in triples
        ),
    )
    same = all(first.tobytes() == second.tobytes() for _, first, second in triples)
    row = {**row, "verdict": _verdict(problems, undecidable), **worst, "same_bits": same}
    return Row(row, tuple(problems), tuple(undecidable))


def _compare(quantity, observed, other=None, *, limited, dtype):
    """Compare what was observed with what is expected, or with what the other device gave.

    Args:
      quantity: an `ExpectedQuantity`.
      observed, other: arrays in its shape.
      limited: whether errors up to the quantity's ``limit`` are undecidable rather than findings.
      dtype: that of the inputs.

    Returns:
      a `checker.Comparison`.
    """
    limit = quantity.limit if limited else quantity.bound
    expected, bound = quantity.value, quantity.bound
    if other is not None:
        expected, bound, limit = other, 2 * quantity.bound, quantity.bound + limit
    return checker.compare(*(np.ravel(values) for values in (observed, expected, bound, limit)), dtype=dtype)


def _observed(run, quantity):
    """What the run gave for a quantity."""
    step = {"before training": 0, "after training": len(run.outputs) - 1}.get(quantity.when)
    step = int(quantity.when.rpartition(" ")[2]) if step is None else step
    if quantity.quantity == "training_output":
        return run.outputs[step - 1]
    return run.outputs[step] if quantity.quantity == "test_output" else run.statistics[quantity.quantity][step]


def _may_subtract(run):
    """Whether the variance may have been computed as E[x^2] - E[x]^2: by cuDNN."""
    return run.device == "gpu" and run.variant.fused


def _summary(where, compared):
    """The worst comparison of each quantity, and sentences about all that are not ok.

    Args:
      where: what ran where, the beginning of the sentences.
      compared: pairs of an `ExpectedQuantity` and its `checker.Comparison`.

    Returns:
      worst: dict from a quantity to its numbers in the JSON.
      problems, undecidable: lists of sentences.
    """
    worst, sentences = {}, {FINDING: [], UNDECIDABLE: []}
    for quantity, result in compared:
        share = np.inf if result.not_finite else result.share
        rank = RANK[result.verdict], share, result.allowed
        if quantity.quantity not in worst or rank > worst[quantity.quantity][0]:
            numbers = {"error": result.error, "allowed": result.allowed, "share": share}
            worst[quantity.quantity] = rank, {**numbers, "verdict": JSON_VERDICTS[result.verdict]}
        if result.verdict != OK:
            what = f"{quantity.quantity.replace('_output', ' output')} {quantity.when}".strip()
            sentence = f"{where}: {what}: {str(result).rstrip('.')}"
            if result.verdict == UNDECIDABLE:
                sentence += ", which E[x^2] - E[x]^2 in float32 would explain"
            sentences[result.verdict].append(sentence)
    numbers = {quantity: numbers for quantity, (_, numbers) in worst.items()}
    return numbers, sentences[FINDING], sentences[UNDECIDABLE]


def _verdict(problems, undecidable):
    return JSON_VERDICTS[FINDING if problems else UNDECIDABLE if undecidable else OK]


def _settings(variant):
    return {
        "layer": variant.layer,
        "data_format": variant.data_format,
        "dtype": variant.dtype,
        "shape": list(variant.shape),
    }


def _shape(variant):
    return "x".join(str(size) for size in variant.shape)
