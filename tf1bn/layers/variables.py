"""The variables of a batch-norm layer: names, order, dtypes, collections and initial values of TF 1.15."""

import contextlib
import inspect

import tensorflow as _tf

from .. import releases
from .graph_collections import collect, collect_losses

tf = _tf.compat.v1

_STANDARD_COLLECTIONS = (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES)

# The core layer takes initializers by name, or as a dict of class_name and config; contrib's own code does not.
_NAMED_INITIALIZERS = {
    "zeros": tf.zeros_initializer,
    "ones": tf.ones_initializer,
    "constant": tf.constant_initializer,
    "uniform": tf.random_uniform_initializer,
    "randomuniform": tf.random_uniform_initializer,
    "normal": tf.random_normal_initializer,
    "randomnormal": tf.random_normal_initializer,
    "truncatednormal": tf.truncated_normal_initializer,
}


# What the weights of sum|w| and sum(w * w) are without a config.
_NAMED_REGULARIZERS = {
    "l1": lambda l=0.01: (l, 0.0),  # noqa: E741
    "l2": lambda l=0.01: (0.0, l),  # noqa: E741
    "l1_l2": lambda l1=0.01, l2=0.01: (l1, l2),
    "L1L2": lambda l1=0.0, l2=0.0: (l1, l2),
}


class Variables:
    """Creates or reuses the variables of one call in the current variable scope.

    With ``path.core`` the call goes through the core layer of TF 1.15, which differs from contrib's own code in when
    it fills collections and in what it takes as initializers and regularizers. ``standard_collections`` receive every
    variable besides its own ``collections``; None leaves both to ``get_variable``.
    ``release``: whose rules hold.
    """

    def __init__(
        self,
        path,
        dtype,
        shape,
        *,
        collections,
        trainable,
        initializers,
        regularizers,
        constraints=None,
        standard_collections=_STANDARD_COLLECTIONS,
        spelt="`param_{1}s[{0!r}]`".format,
        release=releases.LATEST,
    ):
        self._path = path
        self._dtype = dtype
        self._shape = list(shape)
        self._standard = standard_collections
        self._constraints = constraints or {}
        # How messages call the argument for a variable's "initializer" or "regularizer".
        self._spelt = spelt
        self._collections = collections
        self._trainable = trainable
        self._initializers = initializers or {}
        # Contrib's own code accepts the argument and drops it: the composed in all releases, the fused in 1.4.
        honoured = path.core or (path.fused and release.own_fused_regularizers)
        self._regularizers = (regularizers or {}) if honoured else {}
        self._release = release

    def parameters(self, center, scale):
        """``(gamma, beta)``, None for what is not wanted; the core layer of 1.4 on creates gamma first."""
        wanted = {"gamma": scale, "beta": center}
        made = dict.fromkeys(wanted)
        makes_all = self._path.fused and self._release.fused_makes_all
        for name in made if self._path.core and self._release.gamma_first else reversed(made):
            if wanted[name] or makes_all:
                made[name] = self._parameter(name, self._trainable and wanted[name])
        return made["gamma"], made["beta"]

    def statistics(self, renorm):
        """``(moving_mean, moving_variance)``, and renorm's three further variables or None."""
        with self._unpartitioned():
            mean, deviation = self._initializer("moving_mean"), self._initializer("moving_variance")
            statistics = self._get("moving_mean", mean), self._get("moving_variance", deviation)
            if not renorm:
                return statistics, None

            def root(shape, dtype=None, **_):
                return _tf.sqrt(deviation(shape, dtype=dtype))

            return statistics, (
                self._get("moving_stddev", root),
                self._get("renorm_mean", mean),
                self._get("renorm_stddev", root),
            )

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
        with tf.variable_scope(moving_mean.op.name):
            return tuple(
                tf.get_variable(
                    _unused(name),
                    shape,
                    moving_mean.dtype.base_dtype,
                    tf.zeros_initializer(),
                    trainable=False,
                    collections=None if self._path.fused else _STANDARD_COLLECTIONS,
                )
                for name, shape in (("biased", moving_mean.shape), ("local_step", []))
            )

    def collect_again(self, variables):
        """What the core layer does at every call; contrib's own code names collections where it creates a variable."""
        for name, variable in variables.items():
            for collection in self._of(name) if variable is not None else ():
                collect(variable, collection)

    def _parameter(self, name, trainable):
        regularizer = self._regularizers.get(name)
        if not self._path.core:
            return self._get(name, self._initializer(name), trainable, regularizer)
        regularizer = _named_regularizer(regularizer, self._spelt(name, "regularizer"), self._release)
        before = {id(variable) for variable in tf.global_variables()}
        variable = self._get(name, self._initializer(name), trainable)
        # Beside a regularizer of the enclosing scope, not instead of it.
        collect_losses(variable, regularizer, name, before)
        return variable

    def _initializer(self, name):
        default = tf.zeros_initializer() if name in ("beta", "moving_mean") else tf.ones_initializer()
        initializer = self._initializers.get(name, default)
        if self._path.core and self._release.core_is_keras and isinstance(initializer, str | dict):
            wanted = initializer if isinstance(initializer, dict) else {"class_name": initializer}
            made = _NAMED_INITIALIZERS.get(str(wanted.get("class_name")).replace("_", "").lower())
            if made is None:
                raise ValueError(
                    f"{self._spelt(name, 'initializer')} is {initializer!r}; accepted names are "
                    f"{', '.join(_NAMED_INITIALIZERS)}, and any initializer object."
                )
            return made(**wanted.get("config", {}))
        if self._path.core and not (initializer is None or callable(initializer)):
            raise ValueError(
                f"{self._spelt(name, 'initializer')} is {initializer!r}; accepted are initializers, functions from a "
                "shape to a tensor, and names."
            )
        return initializer() if inspect.isclass(initializer) else initializer

    def _of(self, name):
        collections = self._collections
        return list((collections.get(name) if isinstance(collections, dict) else collections) or [])

    def _get(self, name, initializer, trainable=False, regularizer=None):
        collections = [] if self._path.core else self._of(name)
        return tf.get_variable(
            name,
            self._shape,
            self._dtype,
            initializer,
            regularizer,
            trainable=trainable,
            collections=None if self._standard is None else [*collections, *self._standard],
            constraint=self._constraints.get(name),
        )


def _named_regularizer(regularizer, argument, release):
    """A function from a variable to its loss; the core layer takes Keras' names for its default ones, from 1.9 on."""
    if regularizer is None or callable(regularizer):
        return regularizer
    if not release.core_is_keras:
        raise TypeError(
            f"{argument} is {regularizer!r}; accepted in TensorFlow {release.name} is a function from a variable to "
            "its loss."
        )
    wanted = regularizer if isinstance(regularizer, dict) else {"class_name": regularizer}
    config = wanted.get("config", {})
    weights = _NAMED_REGULARIZERS.get(wanted.get("class_name"), lambda **_: None)(**config)
    if weights is None:
        raise ValueError(
            f"{argument} is {regularizer!r}; accepted are a function from a variable to its loss, and the names "
            f"{', '.join(_NAMED_REGULARIZERS)}."
        )
    absolute, square = weights

    def loss(variable):
        total = 0.0
        if absolute:
            total += absolute * tf.reduce_sum(_tf.abs(variable))
        if square:
            total += square * tf.reduce_sum(_tf.square(variable))
        return total

    return loss


def _unused(name):
    """``name``, numbered if the scope has such a variable and is not reusing its variables."""
    scope = tf.get_variable_scope()
    if scope.reuse:
        return name
    taken = {variable.op.name for variable in scope.global_variables()}
    number, candidate = 0, name
    while f"{scope.name}/{candidate}" in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
