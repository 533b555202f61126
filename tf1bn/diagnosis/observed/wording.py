"""What happened to a layer, in the terms of the framework that made its trace."""

from __future__ import annotations

import dataclasses

from ..._util.text import apart


@dataclasses.dataclass(frozen=True)
class Words:
    """How one framework says the things that the sentences of a diagnosis speak of.

    Attributes:
      no_updates: that nothing updated the statistics in training, a sentence.
      flag_off: that the layer ran in inference mode in training, a clause.
      flag_off_while: the same, as it goes on after "while".
      flag_on: that it ran in training mode in inference, a clause.
      flag_on_where: the same, as it goes on after "when".
      frozen_moves: why the statistics of a layer that is not trainable can move, a sentence.
      what_was_restored: what tells statistics that were not restored from statistics that never moved, a clause.
      same_batch: what makes the same batch update the statistics once more, a clause.
      not_kept: what makes every step start with the statistics of the start, a clause.
      no_order: why several updates of a step have no fixed order, a clause.
      evaluation: what steps that train, as they are declared, and update nothing can also be, the start of a sentence
        that goes on with `flag_on`; or empty.
      withheld: how a layer is told to leave its statistics alone in training, what follows on that it was; or empty.
      in_order: whether the updates of a step run in the order of the calls.
      has_momentum: whether the framework's momentum is 1 - decay.
      freezes: whether a layer that is not trainable must keep its statistics in this framework.
    """

    no_updates: str
    flag_off: str
    flag_off_while: str
    flag_on: str
    flag_on_where: str
    frozen_moves: str
    what_was_restored: str
    same_batch: str
    not_kept: str = "something writes the old ones back, as a restore in each step does"
    no_order: str = "TensorFlow gives them no order"
    evaluation: str = ""
    withheld: str = ""
    in_order: bool = False
    has_momentum: bool = False
    freezes: bool = False

    @property
    def keeps_all(self):
        """That the decay is 1, a clause."""
        return "the momentum is 0 (a decay of 1)" if self.has_momentum else "the decay is 1"

    @property
    def keeps_nothing(self):
        """That the decay is 0, a clause."""
        return "the momentum is 1 (a decay of 0)" if self.has_momentum else "the decay is 0"

    def decay(self, value):
        """A decay as text, beside it what the framework calls it: "0.9", or "0.9 (momentum 0.1)"."""
        return self.decays(value)[0]

    def decays(self, *values):
        """Decays as texts that read differently where the decays differ, each as in `decay`."""
        texts, momenta = apart(*values), apart(*(1 - value for value in values))
        if not self.has_momentum:
            return texts
        return [f"{text} (momentum {momentum})" for text, momentum in zip(texts, momenta, strict=True)]


_RESTORED = (
    "what tells the two apart are the statistics in the checkpoint that was restored: (0, 1) there as well, or other "
    "values, or none"
)

_NEUTRAL = Words(
    no_updates="No update of the statistics ran (in TF 1.x: the update operations, UPDATE_OPS), or the decay in use "
    "is 1 and not the declared one.",
    flag_off="the layer ran with training=False",
    flag_off_while="it runs with training=False",
    flag_on="the layer was left in training mode (is_training=True)",
    flag_on_where="the layer runs in training mode (is_training=True)",
    frozen_moves="TF 1.x and PyTorch do that in training mode, TF 2 and Keras do not.",
    what_was_restored=_RESTORED,
    same_batch="a pass that was not recorded ran it again, as activation checkpointing and a second call do",
    evaluation="Or nothing is trained in such a step",
)

_TENSORFLOW_1 = dataclasses.replace(
    _NEUTRAL,
    no_updates="The update operations (UPDATE_OPS) did not run, or ran with a decay of 1.",
    flag_on="is_training was left True",
    flag_on_where="the layer runs with is_training=True",
    frozen_moves="In TF 1.x `trainable=False` keeps gamma and beta as they are and not the statistics.",
    same_batch="the update operations ran again with it, by a further call of session.run",
)

_KERAS = dataclasses.replace(
    _NEUTRAL,
    no_updates="No update of the moving statistics ran, although the layer was called in training, or the momentum in "
    "use is 1 and not the declared one.",
    flag_on="the layer was called with training=True",
    flag_on_where="the layer is called with training=True",
    frozen_moves="Keras runs a layer with `trainable = False` in inference mode, so it was set after the call was "
    "traced, or something else writes the statistics.",
    same_batch="the layer was called once more with training=True, as recomputation and a second call do",
    no_order="the layer was called in another order than is recorded, or by several threads",
    evaluation="",
    in_order=True,
    freezes=True,
)

_TORCH = dataclasses.replace(
    _NEUTRAL,
    no_updates="The module was in training mode and did not update its buffers: `track_running_stats` is False, or "
    "its momentum is 0 whatever the trace says.",
    flag_off="the module ran in evaluation mode (`eval()`)",
    flag_off_while="the module is in evaluation mode (`eval()`)",
    flag_on="the module was left in training mode (no `model.eval()`)",
    flag_on_where="the module is in training mode (no `model.eval()`)",
    frozen_moves="In PyTorch `requires_grad = False` keeps weight and bias as they are; the buffers move until "
    "`eval()` is called on the module.",
    what_was_restored="what tells the two apart are the buffers running_mean and running_var in the state_dict that "
    "was loaded: (0, 1) there as well, or other values, or none, as in a copy that averages parameters alone",
    same_batch="the module ran it again in training mode, in a second forward pass or, under activation "
    "checkpointing, in the backward pass",
    no_order="the module was called in another order than is recorded, or by several threads",
    evaluation="",
    withheld=": its `track_running_stats` was False, or its own code called `torch.nn.functional.batch_norm` without "
    "them",
    in_order=True,
    has_momentum=True,
)

_FLAX = dataclasses.replace(
    _NEUTRAL,
    no_updates="The `batch_stats` of one step did not become those of the next: what `apply` returns with "
    "mutable=['batch_stats'] was dropped.",
    flag_off="the module ran with use_running_average=True",
    flag_off_while="it runs with use_running_average=True",
    flag_on="the module ran with use_running_average=False",
    flag_on_where="the module runs with use_running_average=False",
    frozen_moves="Flax updates batch_stats in training mode, whatever the optimizer trains.",
    what_was_restored="what tells the two apart are the batch_stats in the checkpoint that was restored: (0, 1) there "
    "as well, or other values, or none, as where params alone are saved",
    same_batch="the module was applied once more in training mode, as `jax.checkpoint` and a second call do",
    not_kept="the `batch_stats` that `apply` returns were dropped, and are to be those of the next step",
    no_order="the module was called in another order than is recorded",
    evaluation="",
    in_order=True,
)

_BY_NAME = {"torch": _TORCH, "keras": _KERAS, "tensorflow": _NEUTRAL, "flax": _FLAX}


def all_training_steps(count):
    """All training steps of a trace that has so many: "the training step", or "all 3 training steps"."""
    return "the training step" if count == 1 else f"all {count} training steps"


def words_for(framework, release):
    """The `Words` of a framework.

    Args:
      framework: "torch", "keras", "tensorflow", "flax" or None, as the trace names it.
      release: the release of TensorFlow 1.x that the layer declares, or None.
    """
    if release is not None:
        return _TENSORFLOW_1
    return _BY_NAME.get(framework, _NEUTRAL)


def words_of(survey):
    """The `Words` of the framework that made the trace of a `survey.Survey`."""
    return words_for(survey.framework, survey.layer.release)


def about(trace):
    """The "framework" of a trace and its "framework_version", a dict of what is known.

    What was recorded inside of TensorFlow 1.x may say the release of its layers alone.
    """
    known = {name: getattr(trace, name, None) for name in ("framework", "framework_version")}
    releases = {layer.release for layer in trace.layers.values()}
    if known["framework"] is None and len(releases) == 1 and releases != {None}:
        known = {"framework": "TensorFlow", "framework_version": releases.pop()}
    return {name: value for name, value in known.items() if isinstance(value, str)}


def framework_of(trace):
    """The framework that a trace says it is of: "torch", "keras", "tensorflow" or another; None if it does not say."""
    framework = getattr(trace, "framework", None)
    name = framework.get("name") if hasattr(framework, "get") else getattr(framework, "name", framework)
    if not isinstance(name, str):
        return None
    name = name.lower()
    # "PyTorch", "Keras", and the older Keras under another name of its own.
    return next((known for known in ("torch", "keras") if known in name), name)
