"""The variants of the layer on the asked-for devices: run, judged, and as parts of the JSON of ``tf1bn reproduce``.

Joins ``variants`` and ``experiment``, which run in TensorFlow, and ``variantcheck``, which judges.
"""

import dataclasses
import os

from .. import conclusions, experiment
from .. import devices as session
from . import check as variantcheck
from . import grid as variants

INTEGER_SUMS = "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"


@dataclasses.dataclass(frozen=True)
class Judged:
    """``rows`` and ``side_by_side``: lists of dicts for the JSON; ``devices``: those that were used, such as {"CPU:0"};
    the others are lists of sentences."""

    rows: list
    side_by_side: list
    devices: frozenset
    problems: list
    undecided: list
    notes: list


def devices(asked, wanted):
    """Where the variants run, a tuple of "cpu" and "gpu". ``asked``: --device; ``wanted``: whether --variants is on."""
    if asked == "both":
        return "cpu", "gpu"
    if asked == "gpu" or wanted:
        return (asked if asked != "auto" else "gpu" if session.has_gpu() else "cpu",)
    return ()


def run(where, listings=()):
    """Run and judge all variants on the devices ``where``, a tuple of "cpu" and "gpu"; returns `Judged`.

    ``listings``: pairs of an `experiment.Run` on the GPU and its `conclusions.Check`, to be run on the CPU as well if
    both are there.
    """
    rows, pairs = [], []
    formats = {}
    for variant in variants.grid() if where else ():
        formats.setdefault(dataclasses.replace(variant, data_format=""), []).append(variant)
    for alike in formats.values():
        # What is due is the same in every format and on every device.
        expected = variantcheck.Expected(alike[0], variants.DECAY)
        for variant in alike:
            ran = [variants.play(variant, device) for device in where]
            rows += [variantcheck.check(each, expected) for each in ran]
            if len(ran) == 2:
                pairs.append(variantcheck.side_by_side(*ran, expected))
    played = [_listing(*each) for each in listings] if len(where) == 2 else []
    everything = [*rows, *pairs, *played]
    notes = [note for row in everything for note in row.notes]
    if "gpu" in where and os.environ.get(INTEGER_SUMS, "0").lower() not in ("", "0", "false"):
        notes.append(f"{INTEGER_SUMS} is set: cuDNN may then sum in scaled integers, and the bounds do not cover that.")
    return Judged(
        _sorted(rows),
        [*_sorted(pairs), *(row.json for row in played)],
        frozenset(each["device"] for row in rows for each in row.json["operations"]),
        [problem for row in everything for problem in row.problems],
        [sentence for row in everything for sentence in row.undecided],
        list(dict.fromkeys(notes)),
    )


def _listing(played, check):
    """The `variantcheck.Row` of a listing on the CPU beside the one that was played on the GPU."""
    beside = experiment.run_listing(played.spec, "cpu")
    own = conclusions.check_run(beside)
    row = variantcheck.listings(beside, played, check)
    where = f"{variantcheck.listing_name(played.spec)} on the CPU"
    return dataclasses.replace(
        row,
        problems=(*(f"{where}: {problem}" for problem in own.problems), *row.problems),
        undecided=(*(f"{where}: {sentence}" for sentence in own.undecided), *row.undecided),
    )


def _sorted(rows):
    """By device, fused before composed, NHWC before NCHW, float32 before float16, as they were run otherwise."""

    def key(row):
        return row.get("device", ""), row["layer"] != "fused", row["data_format"] != "NHWC", row["dtype"] != "float32"

    return sorted((row.json for row in rows), key=key)
