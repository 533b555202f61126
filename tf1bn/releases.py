"""What each TF 1.x release's ``tf.contrib.layers.batch_norm`` and ``tf.layers.batch_normalization`` did: one table.

Sources: the released wheels; where the text says "measured", the release was run. ``tf1bn.release`` puts one in force.
"""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["LATEST", "NAMES", "TABLE", "Release", "get", "markdown"]


@dataclasses.dataclass(frozen=True)
class Release:
    """What a release does; a row of the table applies from release ``since`` on until the next row.

    "Core" is the tf.layers layer to which contrib hands most calls, "own" contrib's own code beside it; "fused" is
    TensorFlow's fused kernel, which stores the batch variance times N/(N-1) (Bessel's correction) where the composed
    form stores the population variance.
    """

    name: str
    since: str
    change: str
    fused_default: bool = False
    """What a call without ``fused=`` does on rank 2 and rank 4 inputs."""
    epsilon_floor: float = 0.0
    """Smallest epsilon of the fused layer."""
    epsilon_extra: float = 1e-12
    """Added in the fused layer to an epsilon of 1e-5 or less."""
    missing: tuple[str, ...] = ("param_regularizers", "renorm", "renorm_clipping", "renorm_decay", "adjustment")
    """Arguments of ``batch_norm`` that do not exist yet."""
    core_missing: tuple[str, ...] = (
        *("renorm", "renorm_clipping", "renorm_momentum", "fused", "beta_constraint", "gamma_constraint"),
        *("virtual_batch_size", "adjustment"),
    )
    """Arguments of ``batch_normalization`` that do not exist yet."""
    core_scope_twice: bool = True
    """``batch_normalization`` opens two name scopes in each call."""
    core_axes: bool = False
    """`axis` of ``batch_normalization`` may be a list."""
    fused_makes_all: bool = True
    """The fused layer has beta and gamma whatever ``center`` and ``scale`` say."""
    core_fused: bool = False
    """The core layer has a fused form; before, ``fused=True`` is contrib's own code for every call."""
    falls_back: bool = False
    """``fused=True`` is silently composed where it does not fit; before, an error."""
    own_fused_regularizers: bool = False
    """Contrib's own fused code applies ``param_regularizers``; before, it accepts and drops them."""
    core_fuses_regularizers: bool = False
    """The core layer is fused with ``param_regularizers`` too; before, they make it composed."""
    drops_zero_rate: bool = False
    """With a decay that is known to be 1, NaN and infinity in a batch leave the statistics alone: the graph optimizer
    of the release removes the multiplication by 0. (Not where the fused core layer has a fed is_training.)"""
    float32_rate: bool = False
    """The core layer, fused, subtracts decay from 1 in float32."""
    core_composed_dynamic: str = "always"
    """What the updates of the composed core layer do when the graph decides is_training: "always" happen, while testing
    too; "select" a decay that is 1 while testing, in float32; "switch" between happening and not."""
    core_fused_dynamic: str = "select"
    """The same for the fused core layer, where "switch" makes the rate 0 while testing."""
    core_float32: bool = True
    """The core layer makes and takes float32 alone."""
    half_keeps_float32: bool = False
    """Half inputs have float32 variables where the layer is fused or core."""
    core_composes_half: bool = False
    """The core layer, composed, works on half inputs."""
    gamma_first: bool = False
    """The core layer creates gamma before beta."""
    collects_beta_as_gamma: bool = False
    """The core layer puts beta where ``variables_collections`` asks for gamma."""
    statistics_scope: bool = False
    """The moving statistics are made in a scope of their own, and partitioned nowhere."""
    always_aliased: bool = False
    """Outputs have an alias without ``outputs_collections``."""
    reuses_silently: bool = False
    """Where composed, variables that exist are reused and others are made, whatever ``reuse`` says."""
    alias_of_name_scope: bool = True
    """The alias of collected outputs is the name scope's name, not the variable scope's."""
    trainable_false_stops_core: bool = False
    """``trainable=False`` stops the core layer's updates, but not those of contrib's own code."""
    core_takes_numbers: bool = False
    """is_training may be 0 or 1 in the core layer."""
    core_is_keras: bool = False
    """The core layer is that of Keras: update items are operations, is_training may be None, initializers and
    regularizers have names."""
    core_names_narrow: bool = False
    """Initializers by the names uniform, normal and truncated_normal have the ranges of Keras: +-.05, and a deviation
    of .05; before, those of ``tf.random_uniform_initializer`` and its like, 0 to 1, and 1."""
    names_ignore_case: bool = False
    """"batchnorm" inside a scope that was entered as "BatchNorm" is numbered."""
    trainable_none: bool = False
    """``trainable=None`` makes the parameters trainable."""
    fused_operation: str = "FusedBatchNorm"
    """The name of the fused operation in the graph."""
    renorm_of_1_15: bool = False
    """Batch renormalisation as the core layer of 1.15 does it; before, with weights for its averages."""

    def rounds_rate(self, core: bool, fused: bool, dynamic: bool) -> bool:
        """Whether a code path forms 1 - decay in float32; ``dynamic``: the graph decides is_training."""
        if not core:
            return False
        how = self.core_fused_dynamic if fused else self.core_composed_dynamic
        return (fused and self.float32_rate) or (dynamic and how == "select")


def _after(row: Release, name: str, change: str, **changes: Any) -> Release:
    """The row of a release that differs from the row before in ``changes``."""
    return dataclasses.replace(row, name=name, since=name, change=change, **changes)


def _without(row: Release, *names: str) -> tuple[str, ...]:
    """The arguments that a row lacks, without those that the next one has."""
    return tuple(name for name in row.missing if name not in names)


_1_0 = Release(
    "1.0",
    "1.0",
    "epsilon +1e-12 in the fused layer when it is 1e-5 or less (1.0 to 1.3); the fused layer has beta and gamma "
    "always; with a fed `is_training` the updates of the default call happen while testing too (until 1.1); existing "
    "variables are reused without a message (1.0 alone)",
    collects_beta_as_gamma=True,
    always_aliased=True,
    reuses_silently=True,
)
_1_1 = _after(
    _1_0,
    "1.1",
    "`param_regularizers` added (not with `fused`)",
    missing=_without(_1_0, "param_regularizers"),
    collects_beta_as_gamma=False,
    always_aliased=False,
    reuses_silently=False,
)
_1_2 = _after(
    _1_1,
    "1.2",
    "`renorm`, `renorm_clipping`, `renorm_decay=.99` added; with a fed `is_training` decay is 1 while testing, and "
    "rounded to float32",
    missing=("adjustment",),
    core_missing=("fused", "beta_constraint", "gamma_constraint", "virtual_batch_size", "adjustment"),
    core_composed_dynamic="select",
)
_1_3 = _after(
    _1_2,
    "1.3",
    "`fused=True` and `fused=None` (not the default) at rank 4 reach a second fused layer; the last release whose "
    "default stores the population variance (measured)",
    core_missing=("beta_constraint", "gamma_constraint", "virtual_batch_size", "adjustment"),
    core_fused=True,
    fused_makes_all=False,
)
_1_4 = _after(
    _1_3,
    "1.4",
    "`fused=None` means True: N/(N-1) in the moving variance at rank 2 and 4 (measured); falls back to the "
    "composed layer without a message; `param_regularizers` dropped when fused, or prevent it (rank 4, default "
    "`updates_collections`); float64 where composed; gamma made before beta; `tf.AUTO_REUSE` appears",
    core_missing=("virtual_batch_size", "adjustment"),
    fused_default=True,
    falls_back=True,
    epsilon_floor=1.001e-5,
    epsilon_extra=0.0,
    core_fused_dynamic="switch",
    core_float32=False,
    core_composes_half=True,
    gamma_first=True,
    statistics_scope=True,
    alias_of_name_scope=False,
)
_1_5 = _after(
    _1_4,
    "1.5",
    "`adjustment` added (prevents fusing); regularizers reach the fused layer; float16 input keeps float32 variables",
    missing=(),
    core_missing=(),
    core_axes=True,
    own_fused_regularizers=True,
    core_fuses_regularizers=True,
    core_composed_dynamic="switch",
    half_keeps_float32=True,
    core_composes_half=False,
)
_1_6 = _after(
    _1_5,
    "1.6",
    "`trainable=False` stops the updates of the moving statistics at rank 4 or `fused=False` with default "
    "`updates_collections` (measured)",
    core_scope_twice=False,
    trainable_false_stops_core=True,
    core_takes_numbers=True,
)
_1_7 = _after(
    _1_6,
    "1.7",
    "a decay known to be 1 keeps NaN and infinity in a batch out of the moving statistics, because the graph optimizer "
    "removes the multiplication by 0 (measured)",
    drops_zero_rate=True,
)
_1_8 = _after(
    _1_7,
    "1.8",
    "1 - decay in float32 at rank 4 with default `updates_collections`: at .999 the step is .000999987 (measured)",
    float32_rate=True,
)
_1_9 = _after(
    _1_8,
    "1.9",
    "the layer behind the default `updates_collections` is Keras': initializers and regularizers may be names, "
    "`is_training` may be None, UPDATE_OPS holds operations where it held tensors",
    core_is_keras=True,
    names_ignore_case=True,
)
_1_10 = _after(
    _1_9,
    "1.10",
    "float16 input where composed with default `updates_collections`; `trainable=None` means True",
    trainable_none=True,
    core_composes_half=True,
)
_1_11 = _after(
    _1_10,
    "1.11",
    "initializers by name, `uniform`, `normal` and `truncated_normal`, draw from +-.05 and with a deviation of .05; "
    "before from 0 to 1 and with a deviation of 1 (read)",
    core_names_narrow=True,
)
_1_15 = _after(
    _1_11,
    "1.15",
    "function unchanged since 1.14; `renorm` rewritten in the core layer",
    fused_operation="FusedBatchNormV3",
    renorm_of_1_15=True,
)
TABLE = (_1_0, _1_1, _1_2, _1_3, _1_4, _1_5, _1_6, _1_7, _1_8, _1_9, _1_10, _1_11, _1_15)
NAMES = tuple(f"1.{minor}" for minor in range(16))
LATEST = _1_15


def get(name: str) -> Release:
    """What release ``name`` ("1.0" to "1.15") does.

    Raises:
      ValueError: there is no such release.
    """
    if str(name) not in NAMES:
        raise ValueError(f"`release` is {name!r}; it must be a TensorFlow release from '1.0' to '1.15'.")
    minor = int(str(name).split(".")[1])
    row = [row for row in TABLE if int(row.since.split(".")[1]) <= minor][-1]
    return dataclasses.replace(row, name=f"1.{minor}")


def markdown() -> str:
    """The table as Markdown, for the documentation."""
    lines = [
        "| TensorFlow | default layer | moving variance | fused epsilon at least | what changed |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        layer, variance = ("fused", "N/(N-1) of it") if row.fused_default else ("composed", "population variance")
        floor = f"{row.epsilon_floor:g}" if row.epsilon_floor else "as given"
        lines.append(f"| {row.name} | {layer} | {variance} | {floor} | {row.change} |")
    return "\n".join(lines) + "\n"
