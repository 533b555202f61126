"""The files of a checkpoint: how they are found and how large they may be, and ``.npz`` without TensorFlow.

Reached through ``checkpoints``.
"""

import dataclasses
import glob
import os
import re
import zipfile
import zlib

import numpy as np

from ...errors import CheckpointError
from ..grouping import role_of

LONGEST_VECTOR = 2**20
MOST_VALUES = 2**25
MOST_VARIABLES = 2**18
LARGEST_INDEX = 2**28
_STATE_LINE = re.compile(rb'^\s*model_checkpoint_path\s*:\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Variable:
    """What is known about a variable without reading it."""

    shape: tuple
    dtype: str

    @property
    def floating(self):
        """Whether it may be a parameter or a statistic of a layer."""
        return self.dtype in ("float16", "bfloat16", "float32", "float64")


class Checkpoint:
    """The variables of a checkpoint by name, and a way to read those that are asked for.

    Attributes:
      path: what was opened in the end.
      variables: `Variable` by name.
      notes: sentences on how it was found.
      declared: what the configuration of a layer says, by the layer's name: its "epsilon", "decay", "scale", ...
      problems: sentences on layers that could not be read.
    """

    def __init__(self, path, variables, read, notes=(), close=None, declared=None, problems=()):
        if len(variables) > MOST_VARIABLES:
            raise CheckpointError(
                f"`path` is {path!r}, which has {len(variables)} variables; at most {MOST_VARIABLES} are read."
            )
        self.path, self.variables, self.notes = path, variables, list(notes)
        self.declared, self.problems = declared or {}, list(problems)
        self._read, self._close, self._left = read, close, MOST_VALUES

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._close:
            self._close()

    def read(self, name):
        """The values of a variable, as the checkpoint has them."""
        size = int(np.prod(self.variables[name].shape, dtype=np.float64))
        if size > LONGEST_VECTOR:
            raise CheckpointError(f"`{name}` in {self.path!r} has {size} values; at most {LONGEST_VECTOR} are read.")
        self._left -= size
        if self._left < 0:
            raise CheckpointError(f"The layers of {self.path!r} have more than {MOST_VALUES} values; no more are read.")
        values = np.asarray(self._read(name))
        if values.shape != self.variables[name].shape:
            raise damaged(self.path, f"`{name}` has the shape {values.shape} and not {self.variables[name].shape}")
        return values


def damaged(path, why):
    return CheckpointError(f"The checkpoint {path!r} is damaged: {why}.")


def holds(path, mark, at=None):
    """Whether a file has ``mark`` at its end, or at offset ``at``."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(mark), 0) if at is None else at)
        return file.read(len(mark)) == mark


def holds_pickle(path):
    """Whether a zip file is one of PyTorch's, which has a pickle and no arrays of NumPy."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, KeyError):
        return path.endswith((".pt", ".pth"))
    return any(name.endswith("data.pkl") for name in names) and not any(name.endswith(".npy") for name in names)


def reason(error):
    """What a library says, short enough for one sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]


def latest(folder):
    """The prefix that the state file of a folder names, inside that folder, and notes about it."""
    state = os.path.join(folder, "checkpoint")
    if not os.path.isfile(state):
        found = sorted(name[: -len(".index")] for name in os.listdir(folder) if name.endswith(".index"))
        hint = f"give one of its prefixes: {', '.join(found[:5])}" if found else "give a checkpoint's prefix"
        raise CheckpointError(f"`path` is {folder!r}, a folder without a `checkpoint` state file; {hint}.")
    if os.path.getsize(state) > LARGEST_INDEX:
        raise CheckpointError(f"The state file {state!r} has more than {LARGEST_INDEX} bytes; it is not read.")
    with open(state, "rb") as file:
        line = _STATE_LINE.search(file.read())
    if not line or not line[1]:
        raise damaged(folder, "its state file `checkpoint` names no `model_checkpoint_path`")
    named = os.fsdecode(_unescaped(line[1]))
    prefix = os.path.join(folder, named)
    if _inside(prefix, folder) and exists(prefix):
        return prefix, [f"The state file of {folder!r} names {named!r}, which was judged.", *_links(prefix, folder)]
    # Folders are moved with absolute paths in their state files.
    beside = os.path.join(folder, os.path.basename(named))
    if not _inside(prefix, folder) and exists(beside):
        return beside, [
            f"The state file of {folder!r} names {named!r} outside of the folder, which was not followed; "
            f"{os.path.basename(named)!r} in the folder was judged.",
            *_links(beside, folder),
        ]
    if not _inside(prefix, folder):
        raise CheckpointError(
            f"The state file of {folder!r} names {named!r}, which is outside of the folder and not followed; give "
            "that prefix itself."
        )
    raise damaged(folder, f"its state file names {named!r}, and there is no such checkpoint in the folder")


def _unescaped(text):
    """The bytes of a quoted string as text protocol buffers write them."""
    simple = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}

    def one(found):
        return bytes([int(found[1], 8) & 255]) if found[1] else simple.get(found[2], found[2])

    return re.sub(rb"\\(?:([0-7]{1,3})|(.))", one, text)


def _inside(path, folder):
    # By name only; links are looked at where the files are known.
    whole, root = os.path.abspath(path), os.path.abspath(folder)
    return whole.startswith(os.path.join(root, ""))


def exists(prefix):
    return os.path.isfile(prefix + ".index") or os.path.isfile(prefix) or bool(shards(prefix))


def shards(pattern):
    """The files of a V1 checkpoint in shards, which is named with question marks."""
    if not re.search(r"-\?{5}-of-\d{5}$", pattern):
        return []
    start = glob.escape(pattern[: pattern.index("-?????-of-")])
    return sorted(glob.glob(start + pattern[pattern.index("-?????-of-") :]))


def _links(prefix, folder):
    root = os.path.join(os.path.realpath(folder), "")
    files = [prefix + ".index", prefix, *shards(prefix), *glob.glob(glob.escape(prefix) + ".data-*")]
    away = [os.path.basename(file) for file in files if not os.path.realpath(file).startswith(root)]
    return [f"The folder {folder!r} has links to files elsewhere, which were read: {', '.join(away)}."] if away else []


def open_npz(path):
    """The arrays of an ``.npz`` file; their headers are read first, and objects never."""
    broken = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError, KeyError)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(members) > MOST_VARIABLES:
                raise CheckpointError(f"`path` is {path!r}, which has more than {MOST_VARIABLES} arrays.")
            if len(set(members)) < len(members):
                raise damaged(path, "two of its members have the same name")
            headers = {name[:-4]: _header(archive, name) for name in members if name.endswith(".npy")}
    except CheckpointError:
        raise
    except broken as error:
        raise damaged(path, f"it is no whole `.npz` file ({reason(error)})") from error
    if not headers:
        raise CheckpointError(f"`path` is {path!r}, a zip file without a single array; give one that `np.savez` wrote.")
    pickled = sorted(name for name, header in headers.items() if header is None)
    if len(pickled) == len(headers) or any(map(role_of, pickled)):
        raise CheckpointError(
            f"The array `{pickled[0]}` in {path!r} holds Python objects, which are never unpickled; save plain arrays."
        )
    variables = {name: header for name, header in headers.items() if header is not None}
    try:
        arrays = np.load(path, allow_pickle=False)
    except broken as error:
        raise damaged(path, f"it is no whole `.npz` file ({reason(error)})") from error

    def read(name):
        try:
            return arrays[name + ".npy"]
        except (*broken, OSError) as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    notes = [f"{len(pickled)} arrays of Python objects were not read."] if pickled else []
    return Checkpoint(path, variables, read, notes, arrays.close)


def _header(archive, name):
    """Shape and dtype of an array in a zip file, or None for objects."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{name} has the unknown version {version}")
        shape, _, dtype = readers[version](file)
    return None if dtype.hasobject else Variable(shape, dtype.name)
