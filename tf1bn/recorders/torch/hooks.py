"""The forward hooks by which a recorder hears of a model's modules, and what it keeps of a module that runs."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from torch import nn


class Running:
    """A batch-norm module that is being applied.

    Attributes:
      module, inputs: itself and its input; before: its statistics before, or None if this is not recorded.
      called: whether it has called `torch.nn.functional.batch_norm`.
    """

    def __init__(self, module: nn.Module, inputs: Any, before: Any) -> None:
        self.module, self.inputs, self.before = module, inputs, before
        self.called = False


class Hook:
    """A forward hook of one module. In a copy or a pickle of the model it does nothing."""

    def __init__(self, recorder: Any, module: nn.Module, event: str) -> None:
        self._recorder, self._module, self._event = recorder, weakref.ref(module), event

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any = None) -> None:
        if self._module() is not module:
            return
        if self._event == "before_model":
            self._recorder.before_model(module)
        elif self._event == "after_model":
            self._recorder.after_model(module, output is not None)
        elif self._event == "before_norm":
            self._recorder.before_norm(module, inputs)
        else:
            self._recorder.after_norm(module, output)

    def __reduce__(self) -> Any:
        # A callable of the standard library that takes anything and does nothing: a model that is saved whole while it
        # is recorded must load where tf1bn is not installed.
        return getattr, (contextlib.nullcontext(), "__exit__")
