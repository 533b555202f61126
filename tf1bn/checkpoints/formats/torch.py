"""State dicts of PyTorch, ``.pt`` and ``.pth``, which PyTorch itself reads.

Such a file is a pickle. ``torch.load(weights_only=True)`` reads it, which builds tensors and plain containers and runs
nothing. Releases before 2.6 could be made to run code even so, and are refused.
"""

import os
import re
import warnings
import zipfile

from ..._util.text import quoted
from ...errors import CheckpointError
from .base import LONGEST_NAME, MOST_VARIABLES, Checkpoint, Format, Variable, damaged, reason

LARGEST_OLD_FILE = 2**31
# A pickle of the number that files of PyTorch before 1.6 begin with.
_OLD_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
DEEPEST = 8
MOST_ITEMS = 2**19
# Where training scripts put the model among other things that they save.
_MODEL = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
_AVERAGES = re.compile(r"(?i)(^|[_.])ema([_.]|$)")


def open_torch(path):
    """The `Checkpoint` of what ``torch.save`` wrote: a state dict, or containers with state dicts in them."""
    zipped = zipfile.is_zipfile(path)
    size = os.path.getsize(path)
    if zipped:
        _check_archive(path, size)
    elif size > LARGEST_OLD_FILE:
        raise CheckpointError(
            f"`path` is {path!r}, in the form of PyTorch before 1.6, which is read as a whole, and has {size} bytes; "
            f"at most {LARGEST_OLD_FILE} are read."
        )
    torch = _import_torch(path)
    tensors, notes = _state_dict(_load(torch, path, zipped), path, torch)
    variables = {
        name: Variable(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors.items()
    }

    def read(name):
        try:
            tensor = tensors[name].detach()
            if tensor.layout != torch.strided or tensor.is_quantized:
                raise CheckpointError(f"`{name}` in {path!r} is a sparse or quantized tensor, which is not read.")
            # NumPy has no bfloat16; float32 holds every such number.
            return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()
        except CheckpointError:
            raise
        except (RuntimeError, TypeError, ValueError) as error:
            raise damaged(path, f"reading `{name}` failed ({reason(error)})") from error

    return Checkpoint(path, variables, read, notes)


def _import_torch(path):
    """The module of PyTorch, if its ``torch.load`` can be trusted."""
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"`path` is {path!r}, a pickle of PyTorch, and PyTorch is not installed; run `pip install torch`, or save "
            "the state dict as `.safetensors` or `.npz`."
        ) from error
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < (2, 6):
        raise CheckpointError(
            f"`path` is {path!r}, and PyTorch {torch.__version__} can be made to run code by such a file; run "
            "`pip install -U torch` (2.6 or newer), or save the state dict as `.safetensors` or `.npz`."
        )
    return torch


def _load(torch, path, zipped):
    """What the file holds: tensors and plain containers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        text = str(error)
        if "weights_only" in text or "WeightsUnpickler" in text or "Unsupported" in text:
            what = re.search(r"GLOBAL (\S+)", text)
            raise CheckpointError(
                f"`path` is {path!r}, which holds more than tensors in plain containers"
                f"{f' ({what[1]})' if what else ''}, and nothing of it is unpickled; save `model.state_dict()`."
            ) from error
        raise damaged(path, f"PyTorch says: {reason(error)}") from error


def _check_archive(path, size):
    """Refuse a zip file that PyTorch did not write: its members are stored as they are, and each once."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, KeyError) as error:
        raise damaged(path, f"it is not a whole zip file ({reason(error)})") from error
    if len({member.filename for member in members}) < len(members):
        raise damaged(path, "two of its members have the same name")
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise CheckpointError(
            f"`path` is {path!r}, a TorchScript program, and programs are not loaded; save `model.state_dict()`."
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"`path` is {path!r}, a compressed zip file, which `torch.save` does not write.")
    if sum(member.file_size for member in members) > size:
        raise damaged(path, "its members are larger than the file")


def _state_dict(loaded, path, torch):
    """The tensors by name, and notes on where they were.

    The names of the only state dict, or of the model's, stay as they are. Where there are several, as a generator's and
    a discriminator's, the keys that lead to them come in front.
    """
    collected = _Tensors(torch, path)
    collected.collect(loaded)
    dicts = collected.dicts
    averaged = [keys for keys in dicts if any(_AVERAGES.search(key) for key in keys)]
    are_averages = set(averaged)
    others = [keys for keys in dicts if keys not in are_averages]
    model = others[0] if len(others) == 1 else next((at for key in _MODEL for at in others if at[-1:] == (key,)), ())
    tensors, notes = {}, []
    if model:
        notes.append(f"The state dict under {'.'.join(model)!r} was judged as the model.")
    if averaged and others:
        notes.append(
            f"What is under {quoted(list(map('.'.join, averaged)))} was taken for moving averages of the model."
        )
    for keys, state in dicts.items():
        is_average = others and keys in are_averages
        prefix = "" if is_average or keys in ((), model) else ".".join(keys) + "."
        for name, tensor in state.items():
            full_name = f"{name}/ExponentialMovingAverage" if is_average else prefix + name
            if full_name in tensors:
                raise damaged(path, f"two of its tensors have the name `{full_name}`")
            tensors[full_name] = tensor
    return tensors, notes


class _Tensors:
    """The tensors of each mapping inside of what a file holds.

    A mapping may stand in many places of a small file, and each way to it is another name: the ways are counted before
    they are followed.

    Attributes:
      dicts: dict from the keys that lead to a mapping, a tuple, to its tensors by name.
    """

    def __init__(self, torch, path):
        self.dicts = {}
        self._torch, self._path, self._counts, self._tensors = torch, path, {}, 0

    def collect(self, value):
        """Take the tensors of the mappings inside ``value``."""
        if isinstance(value, dict):
            if self._count(value, 0) > MOST_ITEMS:
                raise CheckpointError(
                    f"`path` is {self._path!r}, whose dicts have more than {MOST_ITEMS} items in all."
                )
            self._follow(value, ())

    def _count(self, value, depth):
        """How many items there are in a dict and in those inside of it, by all ways; each dict is looked at once."""
        if depth > DEEPEST:
            raise CheckpointError(f"`path` is {self._path!r}, whose dicts are nested more than {DEEPEST} deep.")
        if (id(value), depth) not in self._counts:
            inside = [item for key, item in value.items() if isinstance(key, str) and isinstance(item, dict)]
            self._counts[id(value), depth] = len(value) + sum(self._count(item, depth + 1) for item in inside)
        return self._counts[id(value), depth]

    def _follow(self, value, keys):
        """Take the tensors of a dict to which ``keys`` lead, and of those inside of it."""
        kinds = (dict, self._torch.Tensor)
        named = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, kinds)}
        longest = max(map(len, named), default=0)
        if longest > LONGEST_NAME:
            raise CheckpointError(
                f"`path` is {self._path!r}, which has a key of {longest} characters; at most {LONGEST_NAME} are read."
            )
        tensors = {key: item for key, item in named.items() if isinstance(item, self._torch.Tensor)}
        if tensors and not any(key.startswith("optim") for key in keys):
            self.dicts[keys] = tensors
            self._tensors += len(tensors)
        if self._tensors > MOST_VARIABLES:
            raise CheckpointError(f"`path` is {self._path!r}, which has more than {MOST_VARIABLES} tensors.")
        for key, item in named.items():
            if isinstance(item, dict):
                self._follow(item, (*keys, key))


def _matches(path, head):
    """Whether a file is a zip file of PyTorch, which has a pickle and no arrays of NumPy, or in PyTorch's old form."""
    if head.startswith(_OLD_MAGIC):
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, KeyError):
        return path.endswith(TORCH.endings)
    return any(name.endswith("data.pkl") for name in names) and not any(name.endswith(".npy") for name in names)


TORCH = Format("a file of torch.save", _matches, open_torch, (".pt", ".pth"))
