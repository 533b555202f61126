"""Models that were saved whole: the state dict of a module, from the description of the object.

A module keeps ``_parameters``, ``_buffers`` and ``_modules``, all dicts; one of TorchScript keeps them side by side.
"""

from ..base import MOST_VARIABLES
from .pickles import Call, Global
from .tensors import Tensor, tensor_of

DEEPEST = 64
_KEPT = ("_parameters", "_buffers", "_modules")


def is_module(value):
    """Whether a value of a pickle is a module of PyTorch, or a program of TorchScript."""
    if not isinstance(value, Call) or not isinstance(value.state, dict):
        return False
    return "_modules" in value.state or _is_script(value)


def _is_script(value):
    return isinstance(value.function, Global) and value.function.module.startswith("__torch__")


def state_of(module):
    """The state dict of a module and what its batch norms declare.

    Returns:
      `Tensor` by name; and for each batch norm, by the name of its module, a dict with its "epsilon", "decay", "scale"
      and "center", as far as they are known, and "statistics", whether it keeps any.

    Raises:
      ValueError: it has too many tensors, or its modules are nested too deeply.
    """
    tensors, settings, waiting, visited = {}, {}, [("", module, 0)], 0
    while waiting:
        prefix, value, depth = waiting.pop()
        visited += 1
        if depth > DEEPEST or visited > MOST_VARIABLES or len(tensors) > MOST_VARIABLES:
            raise ValueError("its modules are too many, or nested too deeply")
        state = value.state
        if _is_script(value):
            items = state
        else:
            items = {
                key: item for kept in _KEPT if isinstance(state.get(kept), dict) for key, item in state[kept].items()
            }
            if {"eps", "momentum", "affine", "num_features"} <= state.keys():
                settings[prefix.removesuffix(".")] = _declared(state)
        for key, item in items.items():
            if not isinstance(key, str):
                continue
            if is_module(item):
                waiting.append((f"{prefix}{key}.", item, depth + 1))
            elif isinstance(tensor := tensor_of(item), Tensor):
                tensors[prefix + key] = tensor
    return tensors, settings


def _declared(state):
    """The settings of a batch norm, from its attributes; momentum None is a plain mean over all batches."""
    scaled = state["affine"] is True
    result = {"scale": scaled, "center": scaled, "statistics": state.get("track_running_stats", True) is not False}
    for ours, theirs in (("epsilon", "eps"), ("decay", "momentum")):
        if type(state[theirs]) in (int, float) and 0 <= state[theirs] <= 1:
            result[ours] = float(state[theirs])
    if "decay" in result:
        result["decay"] = 1 - result["decay"]
    return result
