"""Mutants of everything that is read and was not made by this program: JSON of all kinds, and headers of .npz.

`python tests/support/mutations.py [--count N] [--seed S] [--first I] [--kind K]` makes N of each kind, and gives each
to the command that reads it; mutant I of seed S is the same wherever it is made. A command may say whatever it likes
about one, in one sentence if it refuses it; "This was not foreseen" it may not say, and no exception may leave it.
"""

import contextlib
import copy
import functools
import io
import json
import os
import random
import re
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import campaign
import numpy as np
from portnet import Net, Rules, write

from tf1bn import trace
from tf1bn.cli import main as cli

SCALARS = [None, True, False, 0, 1, -1, 2, 3, 7, 99, 2**31, 2**63, -(2**63), 2**64, 10**399, -(10**399)]
SCALARS += [
    0.5,
    -0.0,
    1e-320,
    1e308,
    -1e308,
    "",
    "x",
    "0",
    "1.15",
    "NHWC",
    "finding",
    "*",
    "a*b",
    "**",
    "#0",
    "\x1b[2J",
]
SCALARS += [
    "\ud800",
    "\u202e",
    "\0",
    "../x",
    "/etc/passwd",
    "arrays",
    "arrays/00000000-0.npy",
    "arrays/00000000-0.npy#1",
    "#8:f4x3",
    "#0:f8x999999999999999999",
    "arrays/packed-000000.bin",
]
SCALARS += ["x" * 5000, "é" * 300, "bn1", "bn2", "ok", "bfloat16", "nan", "-1"]
PLACEHOLDER = "\ue000infinity\ue000"


def junk(rng):
    """Any value that JSON can hold, and a few that it cannot."""
    how = rng.randrange(12)
    if how < 8:
        return rng.choice(SCALARS)
    if how == 8:
        return [rng.choice(SCALARS) for _ in range(rng.randrange(4))]
    if how == 9:
        return {str(rng.choice(SCALARS)): rng.choice(SCALARS) for _ in range(rng.randrange(3))}
    if how == 10:
        value = rng.choice(SCALARS)
        for _ in range(rng.choice([2, 30])):
            value = [value] if rng.random() < 0.5 else {"layers": value}
        return value
    return PLACEHOLDER


def containers(value):
    """All dicts and lists in a value, those inside of others too."""
    if isinstance(value, (dict, list)):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


def another(rng, value):
    """Another value of the same type, which a check of types does not see."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([-value, value + 1, value - 1, 2 * value, 0, 2**40])
    if isinstance(value, float):
        return rng.choice([-value, 2 * value, value / 3, 0.0, 1.0, 1e-300, 1e300])
    if isinstance(value, str):
        return rng.choice([value[:-1], value + "1", value.upper(), value.replace("0", "1"), "float16", "NCHW", "bn1"])
    if isinstance(value, list):
        return rng.choice([value[:-1], value + value, value[::-1]])
    return dict(list(value.items())[::-1]) if isinstance(value, dict) else 0


# Settings of a layer that a trace may leave out.
SETTINGS = {"axis": [-9, -4, -1, 0, 1, 2, 3, 5, 2**70], "renorm": [True], "rate_dtype": ["float32", "float64"]}
SETTINGS |= {"recurrence": ["weighted", "difference"], "center": [False], "scale": [False], "unrecordable": ["no"]}
SETTINGS |= {"dtype": ["float16", "float64", "bfloat16"], "zero_debias": [True], "decay": [0, 1, None], "fused": [None]}
SETTINGS |= {"epsilon": [0, None, -1, 1e300], "data_format": ["NCHW", "NHWC"], "release": ["1.0", None]}


def mutate(rng, value):
    """Change one thing in a value of JSON, in place; returns the value, which may be another one."""
    inside = [each for each in containers(value) if each]
    if not inside or rng.random() < 0.02:
        return junk(rng)
    # Deep ones are many, and the first few say most.
    where = rng.choice(inside[:6] if rng.random() < 0.3 else inside)
    key = rng.choice(list(where) if isinstance(where, dict) else range(len(where)))
    how = rng.randrange(12)
    if how < 4:
        where[key] = junk(rng)
    elif how > 7:
        where[key] = another(rng, where[key])
    elif how == 4:
        del where[key]
    elif how == 5:
        other = rng.choice(inside)
        where[key] = copy.deepcopy(rng.choice(list(other.values() if isinstance(other, dict) else other)))
    elif how == 6 and isinstance(where, dict):
        where[str(rng.choice(SCALARS))] = where.pop(key)
    elif how == 7 and isinstance(where, list):
        where.insert(key, copy.deepcopy(rng.choice(where)))
    else:
        where[key] = [where[key]] if rng.random() < 0.5 else {"a": where[key]}
    return value


def damaged_text(rng, data):
    """Bytes with a few of them changed, cut or repeated."""
    data = bytearray(data)
    for _ in range(1 + rng.randrange(3)):
        at, how = rng.randrange(len(data) + 1), rng.randrange(6)
        if how == 0:
            del data[at : at + rng.choice([1, 2, 50])]
        elif how == 1:
            data[at:at] = rng.choice(
                [b"\0", b"\xff", b"[", b"{", b'"', b"\\", b"NaN", b"1e999", b"9" * 500, b"\n", b","]
            )
        elif how == 2:
            data[at:at] = b"[" * rng.choice([10, 2000, 100000])
        elif how == 3:
            data[at:at] = data[max(at - 20, 0) : at]
        elif how == 4:
            del data[at:]
        elif at < len(data):
            data[at] = rng.randrange(256)
    return bytes(data)


def mutant_of(rng, text):
    """A mutant of a JSON text, in bytes."""
    if rng.random() < 0.2:
        return damaged_text(rng, text.encode())
    value = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        value = mutate(rng, value)
    changed = json.dumps(value).replace(json.dumps(PLACEHOLDER), rng.choice(["1e999", "NaN", "-Infinity"]))
    return changed.encode()


class Bench:
    """Two traces, two checkpoints and what the commands stored about them, in a folder; and the mutants of each.

    Args:
      folder: an empty folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        write(self.folder / "old")
        write(self.folder / "new", Net({"bn2": Rules(bessel=True)}))
        self._moments("moments")
        self._moments("packed", packed=True)
        for name, last in (("a", 1.0), ("b", 2.0)):
            values = {"bn1/moving_mean": np.arange(3.0), "bn1/moving_variance": np.array([1, last, 1])}
            values |= {"bn1/gamma": np.ones(3), "bn2/moving_mean": np.zeros(2), "bn2/moving_variance": np.ones(2)}
            np.savez(self.folder / name, **values)
        self._said("parity", "old", "new", "--json", "traces.json")
        self._said("parity", "a.npz", "b.npz", "--json", "checkpoints.json")
        self.texts = {name: (self.folder / name).read_text() for name in ("traces.json", "checkpoints.json")}
        self.lines = {name: (self.folder / name / "steps.jsonl").read_text() for name in ("old", "moments", "packed")}

    def _moments(self, name, **options):
        """A small trace of moments, of which the JSON has the counts."""
        with trace.Writer(self.folder / name, **options) as writer:
            writer.add_layer("bn", decay=0.9, epsilon=1e-3, fused=False)
            mean, variance = np.zeros(3, np.float32), np.ones(3, np.float32)
            for _ in range(3):
                moments = [{"count": 8, "mean": np.ones(3), "variance": np.full(3, 2.0)}]
                record = {"moments": moments, "moving_mean_before": mean, "moving_variance_before": variance}
                mean, variance = mean * np.float32(0.9) + np.float32(0.1), variance * np.float32(0.9) + np.float32(0.2)
                writer.add_step(
                    {"bn": {**record, "moving_mean_after": mean, "moving_variance_after": variance}}, training=True
                )

    def _said(self, *arguments):
        """The exit code of a command, and what it wrote to stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.main([*arguments])
        finally:
            os.chdir(before)
        return code, out.getvalue(), err.getvalue()

    def check(self, *arguments):
        """Run a command; returns its exit code.

        Raises:
          AssertionError: the command ended in another way than it may.
        """
        code, _, err = self._said(*arguments)
        assert code in (0, 1, 2), (code, err)
        assert "not foreseen" not in err, err
        if err:
            assert code == 2, (code, err)
            assert re.fullmatch(r"tf1bn \w+: [^\n]+[.?]\n", err), err
        return code

    def trace_json(self, rng):
        source = rng.choice(["old", "moments", "packed"])
        text = (self.folder / source / "trace.json").read_text()
        if rng.random() < 0.5:
            value = json.loads(text)
            for _ in range(rng.choice([1, 1, 2, 3])):
                layer, name = rng.choice(list(value["layers"].values())), rng.choice(list(SETTINGS))
                layer[name] = rng.choice(SETTINGS[name])
            data = json.dumps(value).encode()
        else:
            data = mutant_of(rng, text)
        return self._judged(rng, self._trace("trace.json", data, source))

    def steps(self, rng):
        source = rng.choice(["old", "moments", "packed"])
        lines = self.lines[source].splitlines(keepends=True)
        at = rng.randrange(len(lines))
        lines[at] = mutant_of(rng, lines[at]).decode("utf-8", "surrogateescape") + "\n"
        data = "".join(lines).encode("utf-8", "surrogateescape")
        return self._judged(rng, self._trace("steps.jsonl", data, source))

    def _trace(self, file, data, source):
        """The name of a copy of a trace with another file; the arrays are links to the same files."""
        folder = self.folder / "mutant"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / source, folder, copy_function=os.link)
        (folder / file).unlink()
        (folder / file).write_bytes(data)
        return "mutant"

    def _judged(self, rng, name):
        options = ["--html", "page.html"] if rng.random() < 0.02 else []
        if rng.random() < 0.4:
            return self.check("audit", name, *options)
        pair = rng.choice([("old", name), (name, "new"), ("moments", name), (name, name)])
        options += ["--only", rng.choice(["training", "inference"])] if rng.random() < 0.2 else []
        return self.check("parity", *pair, *options)

    def map(self, rng):
        text = rng.choice(
            ['{"bn1": "bn1", "bn2": null}', '{"bn*": "bn*"}', '{"b*1": "b*1", "bn2": "bn3", "bn4": null}']
        )
        (self.folder / "map.json").write_bytes(mutant_of(rng, text))
        pair = rng.choice([("old", "new"), ("a.npz", "b.npz"), ("a.npz", "b.npz")])
        return self.check("parity", *pair, "--map", "map.json")

    def stored(self, rng):
        text = self.texts[rng.choice(["traces.json", "checkpoints.json"])]
        (self.folder / "stored.json").write_bytes(mutant_of(rng, text))
        options = ["--html", "page.html"] if rng.random() < 0.3 else []
        options += ["--json", "again.json"] if rng.random() < 0.5 else []
        options += ["--layer", "bn1"] if rng.random() < 0.2 else []
        return self.check("parity", "stored.json", *options)

    def npz(self, rng):
        arrays = {"bn/moving_mean": np.arange(4, dtype="<f4"), "bn/moving_variance": np.ones(4, "<f4")}
        changed = rng.choice(list(arrays))
        with zipfile.ZipFile(self.folder / "mutant.npz", "w") as archive:
            for name, array in arrays.items():
                file = io.BytesIO()
                np.save(file, array)
                data = file.getvalue()
                archive.writestr(f"{name}.npy", self._array(rng, data) if name == changed else data)
        return self.check(*rng.choice([("audit", "mutant.npz"), ("parity", "a.npz", "mutant.npz")]))

    def _array(self, rng, data):
        """A mutant of an .npy file."""
        if rng.random() < 0.4:
            head = damaged_text(rng, data[:128])
            return head + data[128:]
        shape = rng.choice(["(4,)", "(-4,)", "(True,)", "(4L,)", "()", "(4,1)", "(2**9,)", "4", "('a',)", "(1e9,)"])
        shape = rng.choice([shape, shape, f"({10**30},)", f"({2**62},{2**62})", "(" * 3000, "(4," + "1," * 70 + ")"])
        kind = rng.choice(["'<f4'", "'<f4'", "'>f8'", "'|O'", "'|V4'", "'<U9'", "'<M8[s]'", "[('a','<f4')]", "'2f4'"])
        kind = rng.choice(
            [kind, kind, "'<f999999999999'", "None", "'" + "x" * 3000 + "'", "'<f4,<f4'", "'|b1'", "'<c8'"]
        )
        kind = rng.choice([kind, "[('a','<f4',(3,))]", "[" * 2000, "'f0'", "'V0'", "{'a':1}"])
        order = rng.choice(["False", "False", "True", "None", "3", "[]"])
        header = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"
        if rng.random() < 0.2:
            header = damaged_text(rng, header.encode()).decode("latin-1")
        header = (header + rng.choice(["\n", "", " " * 60 + "\n", " 0_0if 1else 2", "\0"])).encode("latin-1")
        version, size = rng.choice(
            [(b"\1\0", "<H"), (b"\2\0", "<I"), (b"\2\0", "<I"), (b"\3\0", "<I"), (b"\0\0", "<H")]
        )
        length = len(header) + rng.choice([0, 0, 0, 0, 1, -1, 5000])
        length = max(0, min(length, 2**16 - 1 if size == "<H" else 2**32 - 1))
        return b"\x93NUMPY" + version + struct.pack(size, length) + header + data[128:]


KINDS = ("trace_json", "steps", "map", "stored", "npz")


def case(bench, kind, seed, index):
    """Make mutant ``index`` of ``seed`` of a kind, and give it to a command; returns the exit code."""
    rng = random.Random(f"{seed} {kind} {index}")
    return getattr(bench, kind)(rng)


def main():
    # One bench serves all kinds.
    bench_of = functools.cache(Bench)
    return campaign.run(
        __doc__.splitlines()[0], "kind", KINDS, lambda folder, kind: bench_of(folder), case, "mutants, exit codes"
    )


if __name__ == "__main__":
    sys.exit(main())
