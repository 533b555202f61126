"""Untrusted HDF5 files: every dataset by its path, inside the file itself and of a bounded size. Needs h5py.

Only hard links are followed, each object once: soft and external links, virtual
datasets and external storage could name anything on the machine, and cycles would never end. Filters are those that
h5py itself brings, so no plugin is loaded.
"""

import dataclasses

import numpy as np

from ...._util.text import reason
from ....binary.numbers import widened
from ....errors import CheckpointError
from ..base import LONGEST_VECTOR, MOST_VARIABLES, Variable, damaged

DEEPEST = 64
MOST_GROUPS = 2**20
LARGEST_TEXT = 2**26
# A chunk is decompressed whole, however little of it the dataset needs.
LARGEST_CHUNK = 2**26
_FILTERS = {1, 2, 3, 32000}  # gzip, shuffle, fletcher32, lzf
# What h5py raises on damaged files.
BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@dataclasses.dataclass
class Contents:
    """The datasets by path, as `Variable`, and the attributes of the groups by path ("" is the root)."""

    variables: dict
    attributes: dict


def open_h5(source, path):
    """The `h5py.File` of a file name or a file object."""
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(
            f"`path` is {path!r}, a file of Keras or HDF5, and h5py is not installed; run `pip install h5py`."
        ) from error
    try:
        return h5py.File(source, "r")
    except BROKEN as error:
        raise damaged(path, f"it is not a whole HDF5 file ({reason(error)})") from error


def list_contents(file, path):
    """The `Contents` of an open file; nothing but names, shapes and short attributes is read."""
    try:
        return _list_contents(file, path)
    except CheckpointError:
        raise
    except BROKEN as error:
        raise damaged(path, f"its groups cannot be listed ({reason(error)})") from error


def _list_contents(file, path):
    import h5py

    contents = Contents({}, {"": _texts(file)})
    waiting, seen = [("", file)], {_address(file)}
    while waiting:
        prefix, group = waiting.pop()
        if prefix.count("/") >= DEEPEST:
            raise CheckpointError(f"`path` is {path!r}, whose groups are nested more than {DEEPEST} deep.")
        for name in group:
            whole = f"{prefix}/{name}" if prefix else name
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
                raise CheckpointError(
                    f"`{whole}` in {path!r} is {kind} link, which is not followed; save the model again without links."
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                if _address(item) in seen:
                    raise CheckpointError(f"`{whole}` in {path!r} is another group under a second name; not followed.")
                seen.add(_address(item))
                contents.attributes[whole] = _texts(item)
                waiting.append((whole, item))
            elif isinstance(item, h5py.Dataset):
                contents.variables[whole] = _variable(item, whole, path)
            if len(seen) > MOST_GROUPS or len(contents.variables) > MOST_VARIABLES:
                raise CheckpointError(
                    f"`path` is {path!r}, which has more than {MOST_GROUPS} groups or {MOST_VARIABLES} variables."
                )
    return contents


def _address(item):
    import h5py

    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _variable(item, name, path):
    if item.is_virtual or item.external:
        raise CheckpointError(f"`{name}` in {path!r} keeps its values in other files, which are not read.")
    if item.shape is None:
        return Variable((), "empty")
    # HDF5 has no bfloat16; Keras writes opaque values of two bytes in its place.
    if item.dtype.kind == "V" and item.dtype.itemsize == 2 and item.dtype.names is None and not item.dtype.shape:
        return Variable(item.shape, "bfloat16")
    return Variable(item.shape, "object" if item.dtype.hasobject else item.dtype.name)


def _texts(group):
    """The attributes that matter here: layers' names, the form of the file, and a model's configuration."""
    keys = ("name", "layer_names", "model_config", "keras_version")
    return {key: _text(group.attrs, key) for key in keys if key in group.attrs}


def _text(attributes, key):
    """An attribute as text; None if it is absent, of another kind or longer than `LARGEST_TEXT`."""
    if key not in attributes:
        return None
    identity = attributes.get_id(key)
    if identity.shape != () or identity.get_storage_size() > LARGEST_TEXT:
        return None
    value = attributes[key]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None


def read(file, name, variable, path):
    """The values of a dataset; bfloat16 as float32, which holds every such number."""
    try:
        item = file[name]
        plan = item.id.get_create_plist()
        unknown = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - _FILTERS
        if unknown:
            raise CheckpointError(
                f"`{name}` in {path!r} is packed by a filter that h5py does not bring (number {min(unknown)})."
            )
        size = int(np.prod(item.chunks or (), dtype=np.float64)) * item.dtype.itemsize
        if size > LARGEST_CHUNK or item.size > LONGEST_VECTOR:
            raise CheckpointError(f"`{name}` in {path!r} is stored in blocks of {size} bytes; not unpacked.")
        values = item[()]
    except CheckpointError:
        raise
    except BROKEN as error:
        raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error
    if variable.dtype == "bfloat16":
        return widened(values.view(np.uint16))
    return values
