"""Files that are known and not read, each with the reason and with what to do."""

import re

from ...binary.files import mapped
from ...binary.protobuf import BYTES, VARINT, fields
from ...errors import CheckpointError
from .base import Format, refusing

_FOLDED = "in which each batch norm was folded into the operation before it; give the model that it was made from."
# The field of a Core ML model that says of which kind it is has a number from here on.
_FIRST_KIND = 200


def _is_coreml(path, head):
    if not head.startswith(b"\x08"):
        return False
    try:
        kinds = [(number, kind) for number, kind, _ in fields(mapped(path))]
    except ValueError:
        return False
    begins = kinds[:2] == [(1, VARINT), (2, BYTES)]
    return begins and any(number >= _FIRST_KIND and kind == BYTES for number, kind in kinds)


def _refuse_npy(path):
    with open(path, "rb") as file:
        header = file.read(256)
    if re.search(rb"'descr':\s*'\|?O", header):
        raise CheckpointError(
            f"`path` is {path!r}, an .npy file of Python objects, a dict most likely, which are never unpickled; where "
            "you trust it, save its arrays by name: `np.savez(FILE, **np.load(PATH, allow_pickle=True).item())`."
        )
    raise CheckpointError(
        f"`path` is {path!r}, a single array without a name; save all variables by name with `np.savez`."
    )


COREML = Format(
    "a Core ML model",
    _is_coreml,
    refusing(f"a Core ML model, {_FOLDED}"),
    (".mlmodel",),
    known_by="a message with a version, a description and a kind",
    remarks="batch normalisation is folded there",
)
NPY = Format(
    "an .npy file",
    lambda path, head: head.startswith(b"\x93NUMPY"),
    _refuse_npy,
    (".npy",),
    known_by="the magic number of NumPy",
    remarks="one array without a name, or a dict that would have to be unpickled",
)
PICKLE = Format(
    "a pickle",
    lambda path, head: len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5,
    refusing("a pickle that `torch.save` did not write, and pickles are never run; save its arrays with `np.savez`."),
    (".pkl", ".pickle"),
    known_by="the first instruction of pickles",
    remarks="could run any code, and has no form of its own",
)
