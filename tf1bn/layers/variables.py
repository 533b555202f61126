"""The variables of a batch-norm layer: names, order, dtypes, collections and initial values of TF 1.15."""

import contextlib
import dataclasses
import inspect
from typing import Any

import tensorflow as _tf

from . import keras_names, training_flag
from .graph_collections import collect, collect_losses

tf = _tf.compat.v1

_MODEL_COLLECTIONS = (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerVariables:
    """The variables of one call of a layer, created or reused.

    Attributes:
      gamma, beta: variables, or None without `scale`, `center`.
      statistics: (moving_mean, moving_variance).
      renorm: a dict from the short names of batch renormalisation's variables to them; empty without it.
      debias: (biased, local_step) behind a zero-debiased moving mean, or None.
      losses: a list of functions that build the losses of beta and gamma anew; of the core layer alone.
    """

    gamma: Any
    beta: Any
    statistics: tuple
    renorm: dict
    debias: tuple | None
    losses: list


def layer_variables(call):
    """The `LayerVariables` of a `LayerCall`, in the current variable scope and in the order of TF 1.x."""
    make = _Maker(call)
    gamma, beta = make.parameters()
    statistics, renorm = make.statistics()
    updated = training_flag.static_value(call.is_training) is not False
    debias = make.debias(statistics[0]) if call.zero_debias and updated else None
    return LayerVariables(gamma, beta, statistics, renorm, debias, make.losses)


def collect_again(call, variables):
    """Put the variables of the core layer into the collections that the call asks for, as it does at every call.

    Contrib's own code names the collections when it creates a variable, and never again.
    """
    gamma, beta = variables.gamma, variables.beta
    if gamma is not None and call.release.collects_beta_as_gamma:
        gamma = beta
    by_name = dict(zip(("moving_mean", "moving_variance"), variables.statistics, strict=True), beta=beta, gamma=gamma)
    for name, variable in by_name.items():
        for collection in _collections_of(call, name) if variable is not None else ():
            collect(variable, collection)


def _collections_of(call, name):
    """The list of collections that the call asks for, for the variable of this short name."""
    collections = call.variables_collections
    return list((collections.get(name) if isinstance(collections, dict) else collections) or [])


class _Maker:
    """Creates or reuses the variables of one call.

    The core layer differs from contrib's own code in when it fills collections, and in what it takes as initializers
    and regularizers.
    """

    def __init__(self, call):
        self._call = call
        self._path, self._release = call.path, call.release
        self._dtype = call.path.variable_dtype(call.inputs.dtype)
        # Contrib's own code accepts the argument and drops it: the composed in all releases, the fused in 1.4.
        honoured = call.path.core or (call.path.fused and call.release.own_fused_regularizers)
        self._regularizers = (call.regularizers or {}) if honoured else {}
        self.losses = []

    def parameters(self):
        """``(gamma, beta)``, None for what is not wanted; the core layer of 1.4 on creates gamma first."""
        wanted = {"gamma": self._call.scale, "beta": self._call.center}
        made = dict.fromkeys(wanted)
        makes_all = self._path.fused and self._release.fused_makes_all
        for name in made if self._path.core and self._release.gamma_first else reversed(made):
            if wanted[name] or makes_all:
                made[name] = self._parameter(name, self._call.trainable and wanted[name])
        return made["gamma"], made["beta"]

    def statistics(self):
        """``(moving_mean, moving_variance)``, and the dict of the further variables of batch renormalisation."""
        with self._unpartitioned():
            mean, variance = self._initializer("moving_mean"), self._initializer("moving_variance")
            statistics = self._get("moving_mean", mean), self._get("moving_variance", variance)
            return statistics, self._renorm(mean, variance) if self._call.renorm else {}

    def _renorm(self, mean, variance):
        """The further variables of batch renormalisation; ``mean``, ``variance``: initializers of the statistics."""
        if not self._release.renorm_of_1_15:
            names = ("renorm_mean", "renorm_mean_weight", "renorm_stddev", "renorm_stddev_weight")
            return {
                name: self._get(name, tf.zeros_initializer(), shape=[] if name.endswith("_weight") else None)
                for name in names
            }

        def root(shape, dtype=None, **_):
            return _tf.sqrt(variance(shape, dtype=dtype))

        initializers = {"moving_stddev": root, "renorm_mean": mean, "renorm_stddev": root}
        return {name: self._get(name, initializer) for name, initializer in initializers.items()}

    @contextlib.contextmanager
    def _unpartitioned(self):
        """TF 1.x never splits the moving statistics, whatever partitioner the scope has."""
        scope = tf.get_variable_scope()
        if self._path.core or self._release.statistics_scope:
            # It enters the scope anew, which uses up a name: the operations after it are numbered accordingly.
            with tf.variable_scope(scope, auxiliary_name_scope=self._release.names_ignore_case) as scope:
                scope.set_partitioner(None)
                yield
            return
        partitioner = scope.partitioner
        scope.set_partitioner(None)
        try:
            yield
        finally:
            scope.set_partitioner(partitioner)

    def debias(self, moving_mean):
        """The variables behind a zero-debiased moving mean: the biased average and the number of updates."""
        # A scope named like the variable, inside the variable's own scope: X/X/moving_mean/biased in checkpoints.
        # (Not that of the operation, which is another for each replica of a distribution strategy.)
        with tf.variable_scope(moving_mean.name.removesuffix(":0")):
            return tuple(
                tf.get_variable(
                    _unused(name),
                    shape,
                    moving_mean.dtype.base_dtype,
                    tf.zeros_initializer(),
                    trainable=False,
                    collections=None if self._path.fused else _MODEL_COLLECTIONS,
                )
                for name, shape in (("biased", moving_mean.shape), ("local_step", []))
            )

    def _parameter(self, name, trainable):
        regularizer = self._regularizers.get(name)
        if not self._path.core:
            return self._get(name, self._initializer(name), trainable, regularizer)
        regularizer = self._regularizer(name, regularizer)
        before = {id(variable) for variable in tf.global_variables()}
        variable = self._get(name, self._initializer(name), trainable)
        # Beside a regularizer of the enclosing scope, not instead of it.
        self.losses += collect_losses(variable, regularizer, name, before)
        return variable

    def _regularizer(self, name, regularizer):
        argument = self._call.argument_name(name, "regularizer")
        if self._release.core_is_keras or regularizer is None or callable(regularizer):
            return keras_names.regularizer(regularizer, argument)
        raise TypeError(
            f"`{argument}` is {regularizer!r}; it must be a function from a variable to its loss in TensorFlow "
            f"{self._release.name}."
        )

    def _initializer(self, name):
        default = tf.zeros_initializer() if name in ("beta", "moving_mean") else tf.ones_initializer()
        initializer = (self._call.initializers or {}).get(name, default)
        argument = self._call.argument_name(name, "initializer")
        if self._path.core and self._release.core_is_keras and isinstance(initializer, str | dict):
            return keras_names.initializer(initializer, argument, self._release.core_names_narrow)
        if self._path.core and not (initializer is None or callable(initializer)):
            raise ValueError(
                f"Could not interpret initializer identifier: {initializer!r}. `{argument}` is {initializer!r}; it "
                "must be an initializer, a function from a shape to a tensor, or a name."
            )
        return initializer() if inspect.isclass(initializer) else initializer

    def _get(self, name, initializer, trainable=False, regularizer=None, shape=None):
        own = [] if self._path.core else _collections_of(self._call, name)
        return tf.get_variable(
            name,
            self._call.parameter_shape if shape is None else shape,
            self._dtype,
            initializer,
            regularizer,
            trainable=trainable,
            collections=[*own, *_MODEL_COLLECTIONS] if self._call.model_variables else None,
            constraint=(self._call.constraints or {}).get(name),
        )


def _unused(name):
    """``name``, or the name with a number if the scope has such a variable and does not reuse its variables."""
    scope = tf.get_variable_scope()
    if scope.reuse:
        return name
    taken = {variable.op.name for variable in scope.global_variables()}
    number, candidate = 0, name
    while f"{scope.name}/{candidate}" in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
