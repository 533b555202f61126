"""What Keras saves, without Keras: ``.keras``, ``.weights.h5`` and the older ``.h5``; any other HDF5 file by its names.

Reached through ``checkpoints``. Keras 3 numbers the variables of a layer: gamma, beta, moving_mean, moving_variance,
and with renorm moving_stddev, renorm_mean, renorm_stddev, without those that the layer was built without. A ``.keras``
file also has the configuration, which says which there are; in a ``.weights.h5`` file their number tells all but one
thing: whether a single parameter is gamma or beta.
"""

import io
import json
import os
import re
import zipfile
import zlib

from ..._util.text import quoted
from ...errors import CheckpointError
from ..grouping import length, named_like_batch_norm
from . import hdf5 as checkpointh5
from .base import Checkpoint, damaged, reason

LARGEST_CONFIG = 2**26
# Keras stores the weights as they are; packed again by another program they are unpacked in memory.
LARGEST_UNPACKED = 2**30
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_VARS = re.compile(r"(?:(?P<layer>.*)/)?vars/(?P<number>0|[1-9]\d{0,5})", re.DOTALL)
# Levels that every model has; the second is that of TensorFlow 2.12 and 2.13.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_STATISTICS = ("moving_mean", "moving_variance")
_RENORM = ("moving_stddev", "renorm_mean", "renorm_stddev")
_OTHER = re.compile(r"(?i)(layer|group|unit|spectral|rms|instance)_?norm|optimizer|dense|conv|metric|prelu")
_BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError, KeyError)


def is_keras(path):
    """Whether a zip file is Keras' own."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool({_WEIGHTS, "metadata.json", "model.weights.json"} & set(archive.namelist()))
    except _BROKEN:
        return False


def open_keras(path):
    """The `Checkpoint` of a ``.keras`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(set(members)) < len(members):
                raise damaged(path, "two of its members have the same name")
            if _WEIGHTS not in members:
                other = sorted(name for name in members if name.startswith("model.weights"))
                raise CheckpointError(
                    f"`path` is {path!r}, which holds no {_WEIGHTS!r}"
                    + (f" but {other[0]!r}; save the weights in one HDF5 file." if other else ".")
                )
            config = _config(archive, path) if _CONFIG in members else None
            source = _member(archive, path)
    except CheckpointError:
        raise
    except _BROKEN as error:
        raise damaged(path, f"it is no whole `.keras` file ({reason(error)})") from error
    try:
        return _opened(source, path, config, source.close)
    except BaseException:
        source.close()
        raise


def open_hdf5(path):
    """The `Checkpoint` of a ``.weights.h5`` file, of an older ``.h5``, or of any file of named datasets."""
    return _opened(path, path, None, None)


def _config(archive, path):
    if archive.getinfo(_CONFIG).file_size > LARGEST_CONFIG:
        raise CheckpointError(f"`path` is {path!r}, whose {_CONFIG} has more than {LARGEST_CONFIG} bytes; not read.")
    with archive.open(_CONFIG) as file:
        return _parsed(file.read(LARGEST_CONFIG), path, _CONFIG)


def _parsed(text, path, what):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its {what} is no JSON ({reason(error)})") from error


def _member(archive, path):
    """A file object of the weights inside the archive."""
    info = archive.getinfo(_WEIGHTS)
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        with archive.open(info):
            # Opening checks the member's own header, which lies before the values.
            pass
        with open(path, "rb") as file:
            file.seek(info.header_offset + 26)
            sizes = file.read(4)
        start = info.header_offset + 30 + int.from_bytes(sizes[:2], "little") + int.from_bytes(sizes[2:], "little")
        if start + info.file_size > os.path.getsize(path):
            raise damaged(path, f"{_WEIGHTS!r} is cut off")
        return _Part(path, start, info.file_size)
    if info.file_size > LARGEST_UNPACKED:
        raise CheckpointError(
            f"`path` is {path!r}, whose weights are compressed and {info.file_size} bytes long; at most "
            f"{LARGEST_UNPACKED} are unpacked."
        )
    with archive.open(info) as file:
        # One byte more than is declared would be an error of the archive's checksum, which reading to the end makes.
        return io.BytesIO(file.read(info.file_size + 1))


class _Part(io.RawIOBase):
    """A part of a file as a file: HDF5 jumps about in it, which zipfile's own objects do by reading from the start."""

    def __init__(self, path, start, size):
        self._file, self._start, self._size, self._at = open(path, "rb"), start, size, 0  # noqa: SIM115

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        self._file.seek(self._start + self._at)
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view[: max(self._size - self._at, 0)])
        self._at += count
        return count

    def close(self):
        self._file.close()
        super().close()


def _opened(source, path, config, close):
    file = checkpointh5.open_h5(source, path)
    try:
        found = checkpointh5.contents(file, path)
        if config is None and (text := found.attributes[""].get("model_config")):
            config = _parsed(text, path, "model_config")
        declared = _batch_norms(config) if config is not None else {}
        names, notes, problems, settings = _names(found, declared)
    except BaseException:
        file.close()
        raise
    variables = {name: found.variables[at] for name, at in names.items()}

    def finish():
        file.close()
        if close:
            close()

    def read(name):
        return checkpointh5.read(file, names[name], variables[name], path)

    return Checkpoint(path, variables, read, notes, finish, settings, problems)


def _names(found, declared):
    """The datasets' paths by the names that their variables have in Keras, notes, problems, and what layers declare."""
    if any("layer_names" in texts for texts in found.attributes.values()):
        return _older(found, declared)
    numbered, names = {}, {}
    for at, variable in found.variables.items():
        if match := _VARS.fullmatch(at):
            numbered.setdefault(match["layer"] or "", {})[int(match["number"])] = (at, variable)
        else:
            names[at] = at
    notes, problems, settings, guessed, open_ones = [], [], {}, [], []
    for layer, by_number in sorted(numbered.items()):
        vectors = [by_number[i] for i in sorted(by_number)]
        setting = declared.get(layer)
        shown = found.attributes.get(f"{layer}/vars" if layer else "vars", {}).get("name")
        if layer.split("/")[0] == "optimizer":
            continue
        if setting is None and not _looks_like(layer, shown):
            if not 2 <= len(vectors) <= 7 or not _same_length(vectors) or _another(layer, shown):
                continue
            if len(vectors) != 4:
                open_ones.append(layer)
                continue
            guessed.append(layer)
        words = _words(setting) if setting else _counted(len(vectors))
        if words is None or len(words) != len(vectors) or max(by_number) != len(vectors) - 1:
            expected = f"{len(words)}" if setting else "2 to 7"
            problems.append(
                f"`{layer}` is a batch norm by its {'configuration' if setting else 'name'}, and its variables are "
                f"number {', '.join(map(str, sorted(by_number)))} where {expected} are due; it was not judged."
            )
            continue
        name = _shown(layer, shown, names)
        if setting:
            settings[name] = setting
        names |= {f"{name}/{word}": at for word, (at, _) in zip(words, vectors, strict=True)}
        if "gamma_or_beta" in words:
            notes.append(
                f"`{name}` has one parameter beside its statistics, and the file does not say whether it is gamma or "
                "beta; the `.keras` file of the model does."
            )
    if guessed:
        notes.append(f"{quoted(guessed)} hold four vectors of one length, and were taken for batch norms for that.")
    if open_ones:
        notes.append(
            f"{quoted(open_ones)} hold vectors of one length and could be batch norms, but nothing says so; not judged."
        )
    return names, notes, problems, settings


def _words(setting):
    """The names of a layer's variables in their order, from its configuration."""
    affine = [word for word, key in (("gamma", "scale"), ("beta", "center")) if setting[key]]
    return [*affine, *_STATISTICS, *(_RENORM if setting["renorm"] else ())]


def _counted(number):
    """The names by the number of variables alone, None if there is no such batch norm."""
    renorm = _RENORM if number >= 5 else ()
    affine = {0: (), 1: ("gamma_or_beta",), 2: ("gamma", "beta")}.get(number - 2 - len(renorm))
    return None if affine is None else [*affine, *_STATISTICS, *renorm]


def _looks_like(layer, shown):
    own = layer.rsplit("/", 1)[-1]
    return any(named_like_batch_norm(name) for name in (own, shown) if name)


def _another(layer, shown):
    return any(_OTHER.search(name) for name in (layer.rsplit("/", 1)[-1], shown) if name)


def _same_length(vectors):
    sizes = {length(variable.shape) for _, variable in vectors}
    return len(sizes) == 1 and None not in sizes and all(v.shape and v.floating for _, v in vectors)


def _shown(layer, shown, names):
    """The layer's name for a reader: its place in the model, ending in the name that its author gave it."""
    parts = [part for part in layer.split("/") if part not in _CONTAINERS] or ["(model)"]
    # Names that Keras counts through a process differ from run to run; those of the file's groups do not.
    kinds = ("batch_normalization", re.sub(r"_\d+$", "", parts[-1]))
    counted = shown is None or re.sub(r"_\d+$", "", shown) in kinds
    for name in ["/".join(parts) if counted else "/".join([*parts[:-1], shown]), "/".join(parts), layer]:
        if not any(taken.startswith(f"{name}/") for taken in names):
            return name
    return layer


def _older(found, declared):
    """The names in a file of Keras 2, or of Keras 3 in that form: LAYER/[MODEL/...]LAYER/gamma:0."""
    names, settings = {}, {}
    top = "model_weights/" if "layer_names" in found.attributes.get("model_weights", {}) else ""
    for at in sorted(found.variables):
        if not at.startswith(top) or at.startswith("optimizer_weights/"):
            continue
        outer, _, inner = at[len(top) :].partition("/")
        name = inner if outer in inner.split("/")[:-1] else f"{outer}/{inner}" if inner else outer
        names[name if name not in names else at] = at
    ends = {}
    for place, setting in declared.items():
        ends.setdefault(setting["name"], []).append(place)
    for name in names:
        scope = name.rpartition("/")[0]
        places = ends.get(scope.rpartition("/")[2], [])
        if len(places) == 1:
            settings[scope] = declared[places[0]]
    return names, [], [], settings


def _batch_norms(config):
    """What the batch norms of a model's configuration declare, by the places that Keras 3 gives their variables."""
    found = {}
    _walk(config, "", found, 0)
    return found


def _walk(entry, place, found, depth):
    own = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(own, dict) or depth > checkpointh5.DEEPEST:
        return
    if {"momentum", "epsilon", "center", "scale", "moving_mean_initializer"} <= own.keys():
        if setting := _setting(own):
            found[place] = setting
        return
    prefix = f"{place}/" if place else ""
    if isinstance(own.get("layers"), list):
        used = {}
        for child in own["layers"]:
            if isinstance(child, dict) and isinstance(child.get("class_name"), str):
                kind = _snake_case(child["class_name"])
                used[kind] = used.get(kind, -1) + 1
                name = f"{kind}_{used[kind]}" if used[kind] else kind
                _walk(child, f"{prefix}layers/{name}", found, depth + 1)
    _walk(own.get("layer"), f"{prefix}layer", found, depth + 1)


def _setting(own):
    """The part of a batch norm's configuration that matters here, None if it is none that Keras writes."""
    number = (int, float)
    if not all(type(own[key]) in number and 0 <= own[key] <= 1 for key in ("momentum", "epsilon")):
        return None
    axis = own.get("axis")
    return {
        "name": str(own.get("name")),
        "epsilon": float(own["epsilon"]),
        "decay": float(own["momentum"]),
        "axis": axis if isinstance(axis, int) else None,
        "scale": own["scale"] is True,
        "center": own["center"] is True,
        "renorm": own.get("renorm") is True,
    }


def _snake_case(name):
    """The name of a group from that of a class, as Keras makes it: ``MyBN`` is ``my_bn``, ``Conv2D`` ``conv2d``."""
    words = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", re.sub(r"\W", "", name))
    return words.lower()
