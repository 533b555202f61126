"""``.safetensors`` files, which the package safetensors reads."""

import json
import os

from ..._util.text import reason
from ...errors import CheckpointError
from .base import Checkpoint, Format, Variable, damaged

LARGEST_HEADER = 2**25
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64"}


def open_safetensors(path):
    """The `Checkpoint` of a ``.safetensors`` file."""
    try:
        import safetensors
    except ImportError as error:
        raise CheckpointError(
            f"`path` is {path!r}, and the package safetensors is not installed; run `pip install safetensors`."
        ) from error
    _check_header(path)
    try:
        file = safetensors.safe_open(path, framework="numpy")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        variables = {
            name: Variable(tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), part.get_dtype()))
            for name, part in slices.items()
        }
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise damaged(path, f"it is not a whole safetensors file ({reason(error)})") from error

    def read(name):
        if variables[name].dtype == "bfloat16":
            try:
                import ml_dtypes  # noqa: F401
            except ImportError as error:
                raise CheckpointError(
                    f"`{name}` in {path!r} is bfloat16, which needs the package ml_dtypes; run `pip install ml_dtypes`."
                ) from error
        try:
            return file.get_tensor(name)
        except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    return Checkpoint(path, variables, read)


def _check_header(path):
    """Refuse what the package would accept: a header of any size, and names that occur twice in it."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > os.fstat(file.fileno()).st_size - 8:
            raise damaged(path, "it is not a whole safetensors file (its header is longer than the file)")
        if size > LARGEST_HEADER:
            raise CheckpointError(f"`path` is {path!r}, whose header has more than {LARGEST_HEADER} bytes; not read.")
        text = file.read(size)

    def unique(pairs):
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name occurs twice in its header")

    try:
        json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not a whole safetensors file ({reason(error)})") from error


# The form has no mark of its own, so the ending decides.
SAFETENSORS = Format(
    "a safetensors file",
    lambda path, head: False,
    open_safetensors,
    (".safetensors",),
    known_by="its ending",
    read_with="safetensors",
)
