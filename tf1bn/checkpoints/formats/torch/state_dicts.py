"""State dicts of PyTorch: files of ``torch.save`` under any name, read without PyTorch.

Such a file is a pickle and the raw numbers of tensors. Of the pickle nothing is run: `pickles` describes what it would
build, `tensors` says which calls stand for tensors. Whatever else the file holds, such as a Namespace, an optimizer or
numbers of NumPy, stays a description and is not looked at.
"""

import re
import zipfile

from ...._util.text import quoted
from ....errors import CheckpointError
from ..base import LONGEST_NAME, MOST_VARIABLES, Checkpoint, Format, Variable, damaged, head
from ..zips import BROKEN
from .files import OLD_MAGIC, OldFile, ZipFile
from .modules import is_module, state_of
from .tensors import Tensor, tensor_of, values_of

DEEPEST = 8
MOST_ITEMS = 2**19
# Where training scripts put the model among other things that they save.
_MODEL = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
_AVERAGES = re.compile(r"(?i)(^|[_.])ema([_.]|$)")
_EMA = re.compile("(?i)ema")
# What AveragedModel, DataParallel and torch.compile put in front of names.
_WRAPPERS = ("module.", "_orig_mod.")
# What is called for tensors and containers of them.
_USUAL = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.(Size|_tensor\..*|nn\..*|jit\..*)|collections\.\w+|__torch__\..*|\w+\.set"
)


def open_torch(path):
    """The `Checkpoint` of what ``torch.save`` wrote: a state dict, a module, or containers with them."""
    start = head(path)
    is_old = start.startswith(OLD_MAGIC)
    if not is_old and not start.startswith(b"PK"):
        raise damaged(path, "it is neither a zip file nor of the form that PyTorch before 1.6 wrote")
    file = OldFile(path) if is_old else ZipFile(path)
    try:
        tensors, notes, declared = _state_dict(file.saved, path)
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise damaged(path, str(error)) from error
    foreign = sorted(name for name in file.called if not _USUAL.fullmatch(name))
    if foreign:
        notes.append(f"The file would call {quoted(foreign, 5)} as well; nothing of that was run, or judged.")
    variables = {name: Variable(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}

    def read(name):
        if tensors[name].unread:
            raise CheckpointError(f"`{name}` in {path!r} is {tensors[name].unread}, which is not read.")
        try:
            return values_of(tensors[name], file.read, file.big_endian)
        except ValueError as error:
            raise damaged(path, f"reading `{name}` failed: {error}") from error

    return Checkpoint(path, variables, read, [*file.notes, *notes], declared=declared)


def _state_dict(saved, path):
    """The tensors by name, notes on where they were, and what the batch norms of whole modules declare, by name.

    The names of the only state dict, or of the model's, stay as they are. Where there are several, as a generator's and
    a discriminator's, the keys that lead to them come in front. Averages have the names of what they are averages of.
    """
    collected = _Tensors(path)
    collected.collect(saved)
    dicts = collected.dicts
    averaged = [keys for keys in dicts if any(_AVERAGES.search(key) for key in keys)]
    are_averages = set(averaged)
    others = [keys for keys in dicts if keys not in are_averages]
    model = others[0] if len(others) == 1 else next((at for key in _MODEL for at in others if at[-1:] == (key,)), ())
    prefixes = {keys: "" if keys in ((), model) else ".".join(keys) + "." for keys in others or dicts}
    names, more = _names_of_averages({keys: dicts[keys] for keys in averaged}, dicts, prefixes) if others else ({}, [])
    tensors, notes, declared = {}, [], {}
    if model:
        notes.append(f"The state dict under {'.'.join(model)!r} was judged as the model.")
    if names:
        notes.append(f"What is under {quoted(list(map('.'.join, names)))} was taken for moving averages of the model.")
    if more:
        notes.append(f"What is under {quoted(list(map('.'.join, more)))} was taken for more averages and not judged.")
    for keys in [keys for keys in dicts if keys not in more]:
        is_average, prefix = keys in names, prefixes.get(keys)
        for name, tensor in dicts[keys].items():
            full_name = f"{names[keys][name]}/ExponentialMovingAverage" if is_average else prefix + name
            if full_name in tensors:
                raise damaged(path, f"two of its tensors have the name `{full_name}`")
            tensors[full_name] = tensor
        if not is_average:
            declared |= {prefix + name: setting for name, setting in collected.declared.get(keys, {}).items()}
    return _without_statistics(tensors, declared, notes), notes, declared


def _names_of_averages(averages, dicts, prefixes):
    """What the averages are averages of.

    Args:
      averages: dict from the keys that lead to averages to these by name.
      dicts: dict from the keys that lead to all tensors to these by name.
      prefixes: dict from the keys that lead to what is no average to what stands in front of its names.

    Returns:
      names: dict from the keys of averages to a dict from each name to that of the variable.
      more: list of the keys of averages of what others before them are averages of, as with another decay.
    """
    names, more, taken = {}, [], set()
    for keys, state in averages.items():
        stem = _EMA.sub("", ".".join(keys)).strip("._-")
        # A generator and a discriminator may have the same names: the keys tell, or else the model comes first.
        homes = sorted(prefixes, key=lambda at: (".".join(at) != stem, prefixes[at] != ""))
        fitting = ((at, _names_in(state, dicts[at])) for at in homes)
        home, inside = next(((at, found) for at, found in fitting if found is not None), ((), None))
        inside = {name: name for name in state} if inside is None else inside
        mapped = {name: prefixes.get(home, "") + other for name, other in inside.items()}
        if taken & set(mapped.values()):
            more.append(keys)
        else:
            names[keys] = mapped
            taken |= set(mapped.values())
    return names, more


def _names_in(averages, variables):
    """The names of the variables that averages are of, by theirs; None if these are no averages of such variables.

    Wrappers, as for averaging or for several processes, put a word of their own in front of names on either side.
    """
    bare = {_bare(name): name for name in variables}
    names = {name: name if name in variables else bare.get(_bare(name)) for name in averages}
    found = [name for name, other in names.items() if other is not None]
    shapes_fit = all(averages[name].shape == variables[names[name]].shape for name in found)
    if not found or not shapes_fit or len({names[name] for name in found}) < len(found):
        return None
    return {name: other or name for name, other in names.items()}


def _bare(name):
    """A name without the words that wrappers put in front."""
    while (wrapper := next((each for each in _WRAPPERS if name.startswith(each)), None)) is not None:
        name = name.removeprefix(wrapper)
    return name


def _without_statistics(tensors, declared, notes):
    """The tensors without those of layers which keep no statistics on purpose."""
    without = {name for name, setting in declared.items() if not setting["statistics"]}
    if without:
        notes.append(f"{quoted(sorted(without))} keep no statistics (track_running_stats=False); not judged.")
    return {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] not in without}


class _Tensors:
    """The tensors of each mapping inside of what a file holds.

    A mapping may stand in many places of a small file, and each way to it is another name: the ways are counted before
    they are followed.

    Attributes:
      dicts: dict from the keys that lead to a mapping, a tuple, to its tensors by name.
      declared: dict from the keys that lead to a module, to what its batch norms declare by their names.
    """

    def __init__(self, path):
        self.dicts, self.declared = {}, {}
        self._path, self._counts, self._tensors = path, {}, 0
        self._modules, self._settings = {}, {}

    def collect(self, value):
        """Take the tensors of the mappings and modules inside ``value``, as `pickles` describes it."""
        if is_module(value):
            value = self._state(value)
        if isinstance(value, dict):
            if self._count(value, 0) > MOST_ITEMS:
                raise CheckpointError(
                    f"`path` is {self._path!r}, whose dicts have more than {MOST_ITEMS} items in all."
                )
            self._follow(value, ())

    def _state(self, value):
        """The state dict of a module, a `Tensor` for what stands for one, and any other value as it is."""
        if isinstance(value, dict | Tensor):
            return value
        if not is_module(value):
            return tensor_of(value) or value
        if id(value) not in self._modules:
            self._modules[id(value)], settings = state_of(value)
            self._settings[id(self._modules[id(value)])] = settings
        return self._modules[id(value)]

    def _count(self, value, depth):
        """How many items there are in a dict and in those inside of it, by all ways; each dict is looked at once."""
        if depth > DEEPEST:
            raise CheckpointError(f"`path` is {self._path!r}, whose dicts are nested more than {DEEPEST} deep.")
        if (id(value), depth) not in self._counts:
            items = [self._state(item) for key, item in value.items() if isinstance(key, str)]
            inside = [item for item in items if isinstance(item, dict)]
            self._counts[id(value), depth] = len(value) + sum(self._count(item, depth + 1) for item in inside)
        return self._counts[id(value), depth]

    def _follow(self, value, keys):
        """Take the tensors of a dict to which ``keys`` lead, and of those inside of it."""
        read = {key: self._state(item) for key, item in value.items() if isinstance(key, str)}
        named = {key: item for key, item in read.items() if isinstance(item, dict | Tensor)}
        longest = max(map(len, named), default=0)
        if longest > LONGEST_NAME:
            raise CheckpointError(
                f"`path` is {self._path!r}, which has a key of {longest} characters; at most {LONGEST_NAME} are read."
            )
        tensors = {key: item for key, item in named.items() if isinstance(item, Tensor)}
        if tensors and not any(key.startswith("optim") for key in keys):
            self.dicts[keys] = tensors
            self.declared[keys] = self._settings.get(id(value), {})
            self._tensors += len(tensors)
        if self._tensors > MOST_VARIABLES:
            raise CheckpointError(f"`path` is {self._path!r}, which has more than {MOST_VARIABLES} tensors.")
        for key, item in named.items():
            if isinstance(item, dict):
                self._follow(item, (*keys, key))


def _matches(path, start):
    """Whether a file is a zip file of PyTorch, which has a pickle and no arrays of NumPy, or in PyTorch's old form."""
    if start.startswith(OLD_MAGIC):
        return True
    if not start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except BROKEN:
        return path.endswith(TORCH.endings)
    return any(name.endswith("data.pkl") for name in names) and not any(name.endswith(".npy") for name in names)


TORCH = Format(
    "a file of torch.save",
    _matches,
    open_torch,
    (".pt", ".pth"),
    known_by="a zip file with a `data.pkl`, or the magic number of PyTorch before 1.6",
    read_with="NumPy",
    remarks="state dicts, modules saved whole, TorchScript; nothing of the pickle is run",
)
