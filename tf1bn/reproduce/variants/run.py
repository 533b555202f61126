"""Runs the variants of the layer on the devices that were asked for, checks them, and makes rows of the JSON."""

import dataclasses
import os

from .. import devices, experiment, listing_check
from . import grid
from .check import check_variant, compare_devices, compare_listings, listing_name
from .expected import ExpectedRun

INTEGER_SUMS = "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"


@dataclasses.dataclass(frozen=True)
class VariantResults:
    """The variants on all devices.

    Attributes:
      rows: dicts for the JSON, one for each variant and device.
      side_by_side: dicts for the JSON, one for each variant or listing on two devices.
      devices: those that were used, such as {"CPU:0"}.
      problems: findings, as sentences.
      undecidable: what cannot be decided, as sentences.
      notes: what the user should know besides, as sentences.
    """

    rows: list
    side_by_side: list
    devices: frozenset
    problems: list
    undecidable: list
    notes: list


def variant_devices(device, variants):
    """Where the variants run, a tuple of "cpu" and "gpu".

    Args:
      device: the option --device.
      variants: whether the option --variants is given.
    """
    if device == "both":
        return "cpu", "gpu"
    if device == "gpu" or variants:
        return (device if device != "auto" else "gpu" if devices.has_gpu() else "cpu",)
    return ()


def check_variants(where, listings=()):
    """Run and check all variants; returns `VariantResults`.

    Args:
      where: the devices, a tuple of "cpu" and "gpu".
      listings: pairs of an `experiment.Run` on the GPU and its `listing_check.Check`, which are run on the CPU as well
        if ``where`` has both.
    """
    rows, pairs = [], []
    groups = {}  # of variants that differ in the data format alone
    for variant in grid.all_variants() if where else ():
        groups.setdefault(dataclasses.replace(variant, data_format=""), []).append(variant)
    for group in groups.values():
        # The same values are expected in every data format and on every device.
        expected = ExpectedRun(group[0], grid.DECAY)
        for variant in group:
            runs = [grid.run_variant(variant, device) for device in where]
            rows += [check_variant(run, expected) for run in runs]
            if len(runs) == 2:
                pairs.append(compare_devices(*runs, expected))
    listing_rows = [_compare_with_cpu(run, check) for run, check in listings] if len(where) == 2 else []
    everything = [*rows, *pairs, *listing_rows]
    notes = [note for row in everything for note in row.notes]
    if "gpu" in where and os.environ.get(INTEGER_SUMS, "0").lower() not in ("", "0", "false"):
        notes.append(f"{INTEGER_SUMS} is set: cuDNN may then sum in scaled integers, and the bounds do not cover that.")
    return VariantResults(
        _sorted(rows),
        [*_sorted(pairs), *(row.json for row in listing_rows)],
        frozenset(operation["device"] for row in rows for operation in row.json["operations"]),
        [problem for row in everything for problem in row.problems],
        [sentence for row in everything for sentence in row.undecidable],
        list(dict.fromkeys(notes)),
    )


def _compare_with_cpu(gpu_run, gpu_check):
    """The `Row` of a listing that ran on the GPU, run on the CPU as well."""
    cpu_run = experiment.run_listing(gpu_run.spec, "cpu")
    cpu_check = listing_check.check_run(cpu_run)
    row = compare_listings(cpu_run, gpu_run, gpu_check)
    where = f"{listing_name(gpu_run.spec)} on the CPU"
    return dataclasses.replace(
        row,
        problems=(*(f"{where}: {problem}" for problem in cpu_check.problems), *row.problems),
        undecidable=(*(f"{where}: {sentence}" for sentence in cpu_check.undecidable), *row.undecidable),
    )


def _sorted(rows):
    """The JSON of rows by device, fused before composed, NHWC before NCHW, float32 before float16, else in order."""

    def key(row):
        return row.get("device", ""), row["layer"] != "fused", row["data_format"] != "NHWC", row["dtype"] != "float32"

    return sorted((row.json for row in rows), key=key)
