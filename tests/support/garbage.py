"""Traces of garbage, and what may never be said about one.

`python tests/support/garbage.py [--count N] [--seed S] [--first I]` looks at N of them; trace I of seed S is the same
wherever it is made. An honest trace of one or two layers has a few of its values replaced, by NaN, infinities,
denormals, the largest numbers, other lengths, nothing, or by any bits; or nothing in it was honest from the start.

What is allowed as "ok" comes from a reference of its own, in `longdouble` over the values that were written, with the
crudest bound there is: n + 64 roundings, each of everything that is summed, for sums that cancel in full.
"""

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
import warnings
from pathlib import Path

import honest
import numpy as np
from faulty import Layer, data, simulated
from fuzz import LIMITS, SMALLEST, Dice, draw_values

from tf1bn import trace
from tf1bn._util import strict_json
from tf1bn.diagnosis import conclude
from tf1bn.diagnosis.engine import diagnose
from tf1bn.reports import audit as auditreport
from tf1bn.reports import html as htmlreport
from tf1bn.reports.curves import Curves
from tf1bn.reports.terminal import console

LONG = np.longdouble
STATISTICS = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")
VECTORS = (*STATISTICS, "gamma", "beta")
DTYPES = ("float16", "float32", "float64")
UNIT = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}


# ---------------------------------------------------------------- garbage


def a_number(dice, dtype):
    size = np.dtype(dtype).itemsize
    return dice.pick([np.nan, np.inf, -np.inf, LIMITS[size], -LIMITS[size], SMALLEST[size], -SMALLEST[size], 0.0, -1.0])


def spoiled(dice, array):
    """The array with some of its values replaced, or another one of the same shape."""
    how = dice.below(6)
    array = np.array(array)
    if how == 0:
        return draw_values(dice, array.dtype, array.shape, -1)
    if how == 1:
        return np.full_like(array, a_number(dice, array.dtype))
    if how == 2:
        with np.errstate(all="ignore"):
            return array * array.dtype.type(dice.pick([0, -1, 1e30, 1e-30, 1e4]))
    if array.size:
        for _ in range(1 + dice.below(3)):
            array.flat[dice.below(array.size)] = a_number(dice, array.dtype)
    return array


def reshaped(dice, array):
    """The array with one axis longer, shorter, empty or one more of them."""
    axis = dice.below(array.ndim)
    how = dice.below(5)
    if how == 0:
        return array[None]
    if how == 1:
        return np.take(array, [], axis)
    if how == 2:
        return np.take(array, [0] if array.shape[axis] else [], axis)
    if how == 3:
        return np.repeat(array, 2, axis)
    return np.moveaxis(array, axis, 0)


def spoil(dice, values):
    """Spoil one thing in the record of a step."""
    what = dice.pick([*VECTORS, *STATISTICS, "inputs", "inputs", "outputs", "moments", "weights"])
    if what not in values:
        if what == "weights" and "inputs" in values:
            drawn = [dice.rng.uniform(size=len(x)).astype("float64") for x in values["inputs"]]
            values["weights"] = [spoiled(dice, one) if dice.chance(0.3) else one for one in drawn]
        return
    if what == "moments":
        one = dice.pick(values["moments"])
        which = dice.pick(["count", "mean", "variance"])
        one[which] = dice.pick([0, 1, 2**31, 10**18]) if which == "count" else spoiled(dice, one[which])
        return
    change = reshaped if dice.chance(0.15) else spoiled
    if what in VECTORS:
        values[what] = change(dice, values[what])
    else:
        arrays = list(values[what])
        i = dice.below(len(arrays))
        arrays[i] = change(dice, arrays[i])
        values[what] = arrays
        if what == "inputs" and "outputs" in values and dice.chance(0.5):
            values["outputs"] = [np.zeros_like(x) for x in arrays]


def a_layer(dice, seed):
    """Declared settings and records, as `faulty.simulated` makes them, of which some are spoiled."""
    dtype = dice.pick(["float16", "float32", "float32", "float32", "float64"])
    decay = dice.pick([0.0, 0.5, 0.9, 0.9, 0.999, 1.0])
    fused = dice.pick([False, False, True, None])
    shape = dice.pick([(8, 3, 3, 4), (6, 2), (5, 1, 3), (1, 1, 1, 3), (2, 1), (40, 2, 5)])
    if dice.chance(0.3):
        # So small that the reference knows a difference from rounding.
        shape = (2 + dice.below(4), 1 + dice.below(3))
    rng = np.random.default_rng(seed)
    kind = dice.pick(sorted(honest.KINDS))
    settings, made = simulated(
        Layer(decay, bool(fused), dtype=dtype),
        decay=decay,
        shape=shape,
        steps=1 + dice.below(3),
        start=dice.pick(["warm", "cold"]),
        training=dice.pick([True, True, lambda t: t != 1, False]),
        applications=dice.pick([1, 1, 1, 2]),
        outputs=dice.chance(0.4),
        keep=dice.pick(["inputs", "inputs", "moments"]),
        batches=lambda t, i: data(kind, rng, shape, dtype),
        fused=fused,
        dtype=dtype,
        data_format=dice.pick(["NHWC", "NCHW"]) if len(shape) == 4 else "NHWC",
    )
    if dice.chance(0.15):
        settings |= {
            "zero_debias": dice.chance(0.5),
            "renorm": dice.chance(0.5),
            "trainable": dice.chance(0.5),
            "epsilon": dice.pick([0.0, 1e-30, 1e30, None]),
            "decay": dice.pick([None, settings["decay"]]),
            "release": dice.pick([None, "1.0", "1.3", "1.15"]),
            "recurrence": dice.pick([None, "difference", "weighted"]),
            "rate_dtype": dice.pick([None, "float32", "float64"]),
        }
    made = [({**values}, trains) for values, trains in made]
    for _ in range(dice.pick([0, 1, 1, 2, 5])):
        spoil(dice, dice.pick(made)[0])
    return settings, made


def saved(folder, count, array):
    name = f"arrays/{count}.npy"
    np.save(folder / name, np.asarray(array))
    return name


def write(folder, layers):
    """Write a trace by hand: `trace.Writer` would refuse the worst."""
    (folder / "arrays").mkdir(parents=True)
    count = 0
    lines = []
    for t in range(max(len(made) for _, made in layers.values())):
        records = {}
        for name, (_, made) in layers.items():
            if t >= len(made):
                continue
            values, trains = made[t]
            record = {"training": trains}
            for key, value in values.items():
                several = key in ("inputs", "outputs", "weights")
                if key == "moments":
                    record[key] = []
                    for one in value:
                        record[key].append({"count": one["count"]})
                        for each in ("mean", "variance"):
                            count += 1
                            record[key][-1][each] = saved(folder, count, one[each])
                    continue
                names = []
                for array in value if several else [value]:
                    count += 1
                    names.append(saved(folder, count, array))
                record[key] = names if several else names[0]
            records[name] = record
        lines.append({"step": t, "training": any(one["training"] for one in records.values()), "layers": records})
    defaults = {"zero_debias": False, "trainable": True, "release": None}
    head = {
        "format": "tf1bn-trace",
        "version": 1,
        "layers": {name: defaults | each for name, (each, _) in layers.items()},
    }
    (folder / "trace.json").write_text(json.dumps(head))
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# ---------------------------------------------------------------- what may not be said


def _no_number(constant):
    raise AssertionError(f"the JSON holds {constant}")


def too_far(settings, values, trains):
    """Why the statistics after a step are surely not those that are due, or None if they may be."""
    after = [np.asarray(values[name], LONG) for name in STATISTICS[2:]]
    before = [np.asarray(values[name], LONG) for name in STATISTICS[:2]]
    if not all(np.isfinite(one).all() for one in (*after, *before)):
        return "a statistic is not finite"
    if not trains:
        return None if all((x == y).all() for x, y in zip(before, after, strict=True)) else "they moved in a test"
    if (
        settings["decay"] is None
        or settings.get("renorm")
        or settings.get("zero_debias")
        or "weights" in values
        or len(values.get("inputs", values.get("moments"))) != 1
    ):
        return None
    rate, unit = LONG(1) - LONG(settings["decay"]), UNIT[settings["dtype"]]
    if "inputs" in values:
        x = values["inputs"][0]
        if settings["data_format"] == "NCHW" and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        x = x.reshape(-1, x.shape[-1]).astype(LONG)
        count = len(x)
        with np.errstate(all="ignore"):
            mean, size = x.mean(axis=0), np.abs(x).max(axis=0, initial=0)
            variance = np.square(x - mean).mean(axis=0)
    else:
        (one,) = values["moments"]
        count, mean, variance = one["count"], *(np.asarray(one[name], LONG) for name in ("mean", "variance"))
        with np.errstate(all="ignore"):
            size = np.abs(mean) + np.sqrt(np.abs(variance) * count)
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        return "the batch is not finite and the statistics are"
    largest = LIMITS[np.dtype(settings["dtype"]).itemsize]
    roundings = (count + 64) * max(unit, UNIT["float32"] if settings["dtype"] == "float16" else 0)
    for bessel in {False, True} if settings["fused"] is None else {settings["fused"]}:
        factor = LONG(count) / (count - 1) if bessel and count > 1 else LONG(1)
        reasons = []
        for name, a0, a1, due, sums in (
            ("mean", before[0], after[0], mean, roundings * size),
            ("variance", before[1], after[1], variance * factor, 8 * roundings * size * size),
        ):
            with np.errstate(all="ignore"):
                expected = a0 - (a0 - due) * rate
                allowed = sums * rate + 64 * unit * (np.abs(a0) + np.abs(due) + np.abs(expected)) + 1e-44
                allowed += 2.0**-24 if settings["dtype"] == "float16" else 0
                allowed += 2e-5 * rate * np.abs(a0 - due)  # 1 - d in float32
                if (size * size * count > largest).any():
                    continue
                if not (np.abs(a1 - expected) <= allowed).all():
                    reasons.append(f"the moving {name} is {a1}, where {expected} within {allowed} is due")
        if not reasons:
            return None
    return reasons[0]


def check(layers, folder, page=False):
    """Judge a trace that holds these layers; returns the verdicts, or the sentence that refuses the trace.

    ``page`` says whether the HTML page is made, too, which takes ten times as long.

    Raises:
      AssertionError: something was said that may not be.
    """
    opened = trace.open(folder)
    try:
        with Curves() as curves:
            results = diagnose(opened, curves=curves)
            plots = {name: curves.of(name) for name in opened.layers}
    except trace.TraceError as error:
        text = str(error)
        assert text.endswith("."), text
        assert "\n" not in text, text
        return text
    found = conclude.audit_result(results)
    json.loads(strict_json.to_json(found), parse_constant=_no_number)
    if page:
        layers_of_page = [{**one, "curves": plots[one["name"]]} for one in found["layers"]]
        text = htmlreport.render({**found, "path": str(folder), "layers": layers_of_page})
        assert text.rstrip().endswith("</html>"), text[-80:]
    with contextlib.redirect_stdout(io.StringIO()):
        auditreport.print_audit(found, str(folder), console())
    for one, layer in zip(results, found["layers"], strict=True):
        settings, made = layers[one.name]
        assert layer["explanation"].endswith("."), layer["explanation"]
        for each in one.causes:
            assert each.explanation.endswith("."), each.explanation
            assert each.misfit is None or math.isfinite(each.misfit), each
        assert (one.verdict == "finding") == any(each.severity == "finding" for each in one.causes), one
        if one.verdict != "ok":
            continue
        for t, (values, trains) in enumerate(made):
            reason = too_far(settings, values, trains)
            assert reason is None, f"step {t} of {one.name!r} is said to be ok, and {reason}"
            assert not (np.asarray(values[STATISTICS[3]]) < 0).any(), "a negative moving variance is said to be ok"
    return {one.name: one.verdict for one in results}


def case(seed, index, folder):
    """Make trace ``index`` of ``seed`` in ``folder`` and `check` it."""
    dice = Dice(seed, index)
    layers = {name: a_layer(dice, [seed, index, i]) for i, name in enumerate(["bn", "bn2"][: dice.pick([1, 1, 2])])}
    write(folder, layers)
    return check(layers, folder, page=index % 20 == 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("error")
    counts = {}
    failed = 0
    for index in range(args.first, args.first + args.count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                verdict = case(args.seed, index, Path(folder) / "trace")
            except Exception as error:
                failed += 1
                print(f"--seed {args.seed} --first {index} --count 1: {type(error).__name__}: {error}", flush=True)
                if args.count == 1:
                    raise
                continue
        for one in verdict.values() if isinstance(verdict, dict) else ["refused"]:
            counts[one] = counts.get(one, 0) + 1
    print(f"{args.count} traces, {failed} failed; {counts}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
