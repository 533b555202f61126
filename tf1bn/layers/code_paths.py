"""Which code of a TF 1.x release a call takes; the rule is that of the release in force, see `releases`."""

import dataclasses

import tensorflow as _tf

from .. import releases
from .arguments import NCHW

tf = _tf.compat.v1


@dataclasses.dataclass(frozen=True)
class Path:
    """One of four code paths under the rules of a release.

    Attributes:
      core: whether the tf.layers layer behind contrib runs, and not contrib's own code.
      fused: whether TensorFlow's fused kernels are used, and not the form composed of small operations.
      release: the `releases.Release`.
    """

    core: bool
    fused: bool
    release: releases.Release

    def variable_dtype(self, inputs_dtype):
        """The dtype of the layer's variables."""
        if self.core and self.release.core_float32:
            return _tf.float32
        half = inputs_dtype in (_tf.float16, _tf.bfloat16)
        if self.release.half_keeps_float32 and (self.fused or (self.core and half)):
            return _tf.float32
        return inputs_dtype


def path_of_batch_norm(
    release, inputs, updates_collections, batch_weights, fused, zero_debias, renorm, adjustment, regularizers
):
    """The `Path` of a call of ``batch_norm``.

    Raises:
      ValueError: ``fused=True`` with what the fused form of TF 1.0 to 1.3 does not take; later releases silently use
        the composed form.
    """
    rank = inputs.shape.rank
    # By identity, as TF 1.x does: an equal list such as ["update_ops"] takes the other path.
    default_updates = updates_collections is tf.GraphKeys.UPDATE_OPS
    core = default_updates and batch_weights is None and not zero_debias
    fits = rank in (2, 4) and batch_weights is None and not renorm and adjustment is None
    if fused and not release.falls_back:
        _check_fused(release, rank, batch_weights, renorm, regularizers)
    if not release.core_fused:
        return Path(core=core and not fused, fused=bool(fused), release=release)
    fused = fits and (fused is None or bool(fused))
    if fused and not (core and rank == 4):
        return Path(core=False, fused=True, release=release)
    if fused and not release.core_fuses_regularizers and regularizers:
        fused = regularizers.get("beta") is None and regularizers.get("gamma") is None
    return Path(core=core, fused=fused, release=release)


def path_of_batch_normalization(release, inputs, axes, fused, renorm, virtual_batch_size, adjustment, regularized):
    """The `Path` of a call of ``batch_normalization``.

    Raises:
      ValueError: ``fused=True`` with what the fused form of TF 1.3 does not take; `fused` is neither None nor a boolean
        in 1.15, and the fused form cannot be used.
    """
    if not release.core_fused:
        return Path(core=True, fused=False, release=release)
    if fused and not release.falls_back:
        _check_core_fused(release, inputs, axes, renorm, regularized)
    possible = (
        inputs.shape.rank == 4
        and axes in ([1], [3])
        and not renorm
        and virtual_batch_size is None
        and adjustment is None
        and (release.core_fuses_regularizers or not regularized)
    )
    if release.renorm_of_1_15 and fused not in (None, True, False) and fused and not possible:
        raise ValueError(
            "Unsupported axis, fused batch norm only supports axis == [1] or axis == [3]. `fused` is "
            f"{fused!r}; it must be None, True or False."
        )
    return Path(core=True, fused=possible and (fused is None or bool(fused)), release=release)


def _check_core_fused(release, inputs, axes, renorm, regularized):
    rank = inputs.shape.rank
    for phrase, name, present in (
        ("Batch renorm is currently not supported with fused batch norm.", "`renorm`", renorm),
        ("Regularizers are not currently supported for fused batch norm.", "regularizers", regularized),
        ("Only 4D inputs are currently supported with fused batch norm.", f"inputs of rank {rank}", rank != 4),
        (
            "Only axis 1 and 3 are currently supported dimensions for fused batch norm.",
            f"`axis` {axes[0]}",
            axes not in ([1], [3]),
        ),
    ):
        if present:
            raise ValueError(
                f"{phrase} `fused` is True together with {name}, which the fused layer of TensorFlow {release.name} "
                "does not take; leave `fused` out, or take `tf1bn.release` 1.4 or later, which falls back to the "
                "composed layer."
            )


def _check_fused(release, rank, batch_weights, renorm, regularizers):
    unfit = [
        (name, phrase)
        for name, phrase, present in (
            (
                "`batch_weights`",
                "Weighted mean and variance is not currently supported for fused batch norm.",
                batch_weights is not None,
            ),
            (
                "`param_regularizers`",
                "Regularizers are not currently supported for fused batch norm.",
                regularizers is not None,
            ),
            ("`renorm`", "Renorm is not supported for fused batch norm.", renorm),
            (
                f"inputs of rank {rank}",
                f"Inputs has unsupported rank. Expected 2 or 4 but got {rank}; only 4D inputs are currently supported "
                "with fused batch norm.",
                rank not in (2, 4),
            ),
        )
        if present
    ]
    if unfit:
        raise ValueError(
            f"{unfit[0][1]} `fused` is True together with {' and '.join(name for name, _ in unfit)}, which the fused "
            f"layer of TensorFlow {release.name} "
            "does not take; leave `fused` out, or take `tf1bn.release` 1.4 or later, which falls back to the "
            "composed layer."
        )


def check_dtypes(path, inputs_dtype):
    """Refuse the inputs on which the path's layer failed in its release.

    Raises:
      ValueError: the composed core layer computed in float32 alone (1.0 to 1.3), or mixed half inputs with float32
        variables (1.5 to 1.9).
      TypeError: the fused layer of 1.0 to 1.4 computed in float32 alone, and that of later releases in no float64;
        or the inputs are no floating point numbers.
    """
    release = path.release
    if not inputs_dtype.is_floating or (path.fused and inputs_dtype == _tf.float64):
        taken = "float16, bfloat16, float32"
        raise TypeError(
            f"Value passed to parameter 'x' has DataType {inputs_dtype.name} not in list of allowed values: {taken}. "
            f"`inputs` is of {inputs_dtype.name}; batch normalisation takes {taken}, and float64 with `fused=False`; "
            "cast it with `tf.cast`."
        )
    half = inputs_dtype in (_tf.float16, _tf.bfloat16)
    if path.fused:
        failed = inputs_dtype != _tf.float32 and not release.half_keeps_float32
    elif path.core:
        failed = (release.core_float32 and inputs_dtype != _tf.float32) or (half and not release.core_composes_half)
    else:
        failed = False
    if failed:
        layer = "fused" if path.fused else "composed"
        kind = TypeError if path.fused else ValueError
        raise kind(
            f"`inputs` is of {inputs_dtype.name}, on which the {layer} layer of TensorFlow {release.name} fails; cast "
            f"the inputs to float32, or take another `tf1bn.release`."
        )


def check_parameters(path, data_format, center):
    """Raises ValueError for the arguments with which contrib's own composed code failed before 1.4."""
    if not path.core and not path.fused and not path.release.falls_back and data_format == NCHW and not center:
        raise ValueError(
            "None values not supported. `center` is False with `data_format` 'NCHW', on which contrib's own composed "
            f"code of TensorFlow {path.release.name} fails; leave `center` True, or take `tf1bn.release` 1.4 or later."
        )
