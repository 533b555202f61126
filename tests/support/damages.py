"""Checkpoints of every format that are cut off, bit-flipped or patched, and what may never be said about one.

`python tests/support/damages.py [--count N] [--seed S] [--first I] [--form F]` audits N damaged files of each form;
file I of seed S is the same wherever it is made. Each is judged or refused in one sentence, within `SLOWEST` seconds.
Where the form has checksums, what is judged has the statistics of the whole file, to the last bit.
"""

import dataclasses
import gzip
import json
import pathlib
import random
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable

import campaign
import numpy as np

from tf1bn.checkpoints import CheckpointError, audit_checkpoint, open_checkpoint
from tf1bn.checkpoints.audit import read_values
from tf1bn.checkpoints.grouping import group

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
SLOWEST = 10


@dataclasses.dataclass(frozen=True)
class Form:
    """A whole checkpoint.

    Attributes:
      make: function that writes it into a folder, and returns the path to audit.
      damage: names of the files of which one is damaged.
      checksums: whether a changed statistic never passes.
    """

    make: Callable
    damage: tuple[str, ...]
    checksums: bool = False


def copied(folder, *names, path=None, packed=()):
    """A function that copies recordings; those in ``packed`` are compressed there."""

    def make(target):
        for name in names:
            shutil.copy(GOLDEN / folder / name, target)
        for name in packed:
            (target / name).write_bytes(gzip.decompress((GOLDEN / folder / f"{name}.gz").read_bytes()))
        return path or names[0]

    return make


def arrays():
    """Two layers as NumPy would save them."""
    numbers = np.arange(1, 5, dtype=np.float32)
    return {
        f"{scope}/{word}": numbers * np.float32(factor)
        for scope in ("a/bn", "b/bn")
        for word, factor in (("gamma", 1.1), ("beta", -0.3), ("moving_mean", 0.7), ("moving_variance", 2.3))
    }


def npz(target):
    np.savez(target / "a.npz", **arrays())
    return "a.npz"


def packed_npz(target):
    np.savez_compressed(target / "a.npz", **arrays())
    return "a.npz"


def hdf5(target):
    import h5py

    with h5py.File(target / "a.h5", "w") as file:
        for name, values in arrays().items():
            file[name] = values
    return "a.h5"


def tar(target):
    npz(target)
    with tarfile.open(target / "a.tgz", "w:gz") as archive:
        archive.add(target / "a.npz", "a.npz")
    return "a.tgz"


V2 = ("fused_gamma.index", "fused_gamma.data-00000-of-00001")
GRAPH = ("fused.index", "fused.data-00000-of-00001")
FORMS = {
    "v1": Form(copied("checkpoints", "fused_gamma-V1"), ("fused_gamma-V1",), True),
    "v2": Form(copied("checkpoints", *V2), V2, True),
    "meta": Form(copied("graphs", *GRAPH, packed=["fused.meta"]), ("fused.meta",), True),
    "torch": Form(copied("checkpoints-torch", "plain.pt"), ("plain.pt",), True),
    "torch-module": Form(copied("checkpoints-torch", "whole.pt"), ("whole.pt",), True),
    "torch-old": Form(copied("checkpoints-torch", "old.pt"), ("old.pt",)),
    "safetensors": Form(copied("checkpoints-torch", "plain.safetensors"), ("plain.safetensors",)),
    "npz": Form(npz, ("a.npz",), True),
    "npz-packed": Form(packed_npz, ("a.npz",), True),
    "frozen": Form(copied("graphs", "fused_inference.pb"), ("fused_inference.pb",)),
    "frozen-composed": Form(copied("graphs", "switched_composed.pb"), ("switched_composed.pb",)),
    "onnx": Form(copied("onnx", "trained.onnx"), ("trained.onnx",)),
    "onnx-external": Form(copied("onnx", "external.onnx", "external.bin"), ("external.onnx", "external.bin")),
    "tfjs": Form(copied("tfjs/layers_uint8", "model.json", "group1-shard1of1.bin"), ("model.json",)),
    "tfjs-graph": Form(copied("tfjs/graph", "model.json", "group1-shard1of1.bin"), ("model.json",)),
    "tar": Form(tar, ("a.tgz",)),
    # Each is opened in a process of its own first, which takes a quarter of a second.
    "hdf5": Form(hdf5, ("a.h5",)),
}


def damaged(rng, data):
    """The bytes of a file, cut off, bit-flipped, or with a part of them zeroed, replaced, doubled, moved or removed."""
    data, kind = bytearray(data), rng.randrange(8)
    at = rng.randrange(len(data))
    size = rng.randint(1, min(64, len(data) - at))
    if kind == 0:
        del data[at:]
    elif kind in (1, 2):
        for _ in range(1 if kind == 1 else rng.randint(2, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        data[at : at + size] = bytes(size)
    elif kind == 4:
        data[at : at + size] = rng.randbytes(size)
    elif kind == 5:
        data[at:at] = data[at : at + size]
    elif kind == 6:
        part = data[at : at + size]
        del data[at : at + size]
        to = rng.randrange(len(data) + 1)
        data[to:to] = part
    else:
        data[at : at + size] = rng.choice([b"\xff", b"\x7f", b"\x80"]) * size
    return bytes(data)


class Bench:
    """The whole checkpoint of a form in a folder, and what it says."""

    def __init__(self, folder, form):
        self.form, self.folder = FORMS[form], pathlib.Path(folder)
        self.path = str(self.folder / self.form.make(self.folder))
        self.whole = {name: (self.folder / name).read_bytes() for name in self.form.damage}
        self.values = {} if form == "tar" else statistics(self.path)

    def case(self, seed, index, form):
        """Audit damaged file ``index`` of a seed; returns "same", "refused", "not ok", "ok" or "ok, changed".

        Raises:
          AssertionError: it ended in another way than it may.
        """
        rng = random.Random(f"{seed} {form} {index}")
        name = rng.choice(self.form.damage)
        data = damaged(rng, self.whole[name])
        (self.folder / name).write_bytes(data)
        start = time.perf_counter()
        try:
            outcome = self._outcome()
        finally:
            (self.folder / name).write_bytes(self.whole[name])
        assert time.perf_counter() - start < SLOWEST
        return "same" if data == self.whole[name] else outcome

    def _outcome(self):
        refusal = None
        try:
            result = audit_checkpoint(self.path)
        except CheckpointError as error:
            refusal = str(error)
        if refusal is not None:
            assert re.fullmatch(r"(`|The |None |[A-Z])[^\n]*\.", refusal), refusal
            return "refused"
        json.dumps(result, allow_nan=False)
        if not result["ok"]:
            return "not ok"
        if statistics(self.path) == self.values:
            return "ok"
        assert not self.form.checksums, "ok, though the statistics are not those of the whole file"
        return "ok, changed"


def statistics(path):
    """The bytes of the statistics of all layers of a checkpoint, in order."""
    with open_checkpoint(path) as checkpoint:
        layers, _ = group(checkpoint.variables)
        read = [read_values(checkpoint, layer) for layer in layers]
    return [[values[role].tobytes() for role in ("mean", "variance") if role in values] for values in read]


def main():
    return campaign.run(
        __doc__.splitlines()[0],
        "form",
        FORMS,
        lambda folder, form: Bench(tempfile.mkdtemp(dir=folder), form),
        lambda bench, form, seed, index: bench.case(seed, index, form),
        "damaged files",
    )


if __name__ == "__main__":
    sys.exit(main())
