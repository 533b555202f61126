"""PyTorch's state dicts without PyTorch's trust in files: ``.safetensors``, and ``.pt``/``.pth`` by torch itself.

Reached through ``checkpoints``. A ``.pt`` file is a pickle; ``torch.load(weights_only=True)`` reads it, which builds
tensors and plain containers and runs nothing. Releases before 2.6 could be made to run code even so and are refused.
"""

import itertools
import json
import os
import re
import zipfile

from ..._util.text import quoted
from ...errors import CheckpointError
from .base import MOST_VARIABLES, Checkpoint, Variable, damaged, reason

LARGEST_HEADER = 2**25
LARGEST_OLD_FILE = 2**31
DEEPEST = 8
# Where training scripts put the model among other things that they save.
_MODEL = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
_AVERAGES = re.compile(r"(?i)(^|[_.])ema([_.]|$)")
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64"}


def open_safetensors(path):
    """The `Checkpoint` of a ``.safetensors`` file, which the package safetensors reads."""
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
            name: Variable(tuple(one.get_shape()), _DTYPES.get(one.get_dtype(), one.get_dtype()))
            for name, one in slices.items()
        }
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise damaged(path, f"it is no whole safetensors file ({reason(error)})") from error

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
    """Refuse what safetensors would take: a header of any size, and names that stand twice in it."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > os.fstat(file.fileno()).st_size - 8:
            raise damaged(path, "it is no whole safetensors file (its header is longer than the file)")
        if size > LARGEST_HEADER:
            raise CheckpointError(f"`path` is {path!r}, whose header has more than {LARGEST_HEADER} bytes; not read.")
        text = file.read(size)

    def unique(pairs):
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name stands twice in its header")
        return None

    try:
        json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is no whole safetensors file ({reason(error)})") from error


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
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        text = str(error)
        if "weights_only" in text or "WeightsUnpickler" in text or "Unsupported" in text:
            what = re.search(r"GLOBAL (\S+)", text)
            raise CheckpointError(
                f"`path` is {path!r}, which holds more than tensors in plain containers"
                f"{f' ({what[1]})' if what else ''}, and nothing of it is unpickled; save `model.state_dict()`."
            ) from error
        raise damaged(path, f"PyTorch says: {reason(error)}") from error
    tensors, notes = _state_dict(loaded, path, torch)
    variables = {
        name: Variable(tuple(one.shape), str(one.dtype).removeprefix("torch.")) for name, one in tensors.items()
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


def _check_archive(path, size):
    """Refuse a zip file that PyTorch did not write: its members are stored as they are, and each once."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, KeyError) as error:
        raise damaged(path, f"it is no whole zip file ({reason(error)})") from error
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
    """The tensors by name, and notes on where they were. One model's own names stay as they are; those of several, as a
    generator's and a discriminator's, come after their keys.
    """
    found = {}
    _collect(loaded, (), found, torch, path)
    averaged = [at for at in found if any(_AVERAGES.search(part) for part in at)]
    others = [at for at in found if at not in averaged]
    model = others[0] if len(others) == 1 else next((at for key in _MODEL for at in others if at[-1:] == (key,)), ())
    tensors, notes = {}, []
    if model:
        notes.append(f"The state dict under {'.'.join(model)!r} was judged as the model.")
    if averaged and others:
        notes.append(
            f"What is under {quoted(list(map('.'.join, averaged)))} was taken for moving averages of the model."
        )
    for at, own in found.items():
        twins = others and at in averaged
        prefix = "" if twins or at in ((), model) else ".".join(at) + "."
        for name, tensor in own.items():
            whole = f"{name}/ExponentialMovingAverage" if twins else prefix + name
            if whole in tensors:
                raise damaged(path, f"two of its tensors have the name `{whole}`")
            tensors[whole] = tensor
    return tensors, notes


def _collect(value, at, found, torch, path):
    """The tensors of each mapping by the keys that lead to it."""
    if len(at) > DEEPEST:
        raise CheckpointError(f"`path` is {path!r}, whose dicts are nested more than {DEEPEST} deep.")
    if not isinstance(value, dict):
        return
    named = {key: one for key, one in value.items() if isinstance(key, str)}
    tensors = {key: one for key, one in named.items() if isinstance(one, torch.Tensor)}
    if tensors and not any(part.startswith("optim") for part in at):
        found[at] = tensors
    if sum(map(len, found.values())) > MOST_VARIABLES:
        raise CheckpointError(f"`path` is {path!r}, which has more than {MOST_VARIABLES} tensors.")
    for key, one in itertools.islice(named.items(), MOST_VARIABLES):
        _collect(one, (*at, key), found, torch, path)
