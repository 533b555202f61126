"""``BatchNormalization`` of ``tf.layers`` in TF 1.15: a layer as an object.

It makes its variables when it is first applied, or when `build` is called, and uses them in every application.
``batch_normalization`` makes an object for each call.
"""

import contextlib
import re

import tensorflow as _tf

from .. import arguments, code_paths, release_scope
from ..arguments import NCHW, NHWC
from ..graph_collections import builds_graph, numbered_name
from ..normalization import build_layer
from ..variables import LayerVariables, layer_variables
from .layer_config import config_of
from .layer_state import LayerState
from .virtual_batches import check_virtual_batches, in_virtual_batches, parameter_shape

tf = _tf.compat.v1

_ZEROS, _ONES = tf.zeros_initializer(), tf.ones_initializer()
_RENORM = ("moving_stddev", "renorm_mean", "renorm_mean_weight", "renorm_stddev", "renorm_stddev_weight")
# Methods through which the class of 1.x worked, and which this class has not, or does not call itself.
_INNER = {
    "_assign_moving_average",
    "_assign_new_value",
    "_calculate_mean_and_var",
    "_fused_batch_norm",
    "_get_training_value",
    "_moments",
    "_renorm_correction_and_moments",
    "add_update",
    "add_variable",
    "add_weight",
}


class BatchNormalization(LayerState):
    """A batch normalisation layer with the arguments, attributes and numbers of ``tf.layers.BatchNormalization``.

    An object is applied to tensors by calling it, ``layer(inputs, training=...)``, as often as wanted; all applications
    share its variables, and each puts its updates into UPDATE_OPS. It is built in a ``tf.Graph``, as all of tf1bn's
    layers. Inside ``tf1bn.release(...)`` it has the arguments, defaults and numbers of that release.

    Args:
      axis, momentum, epsilon, center, scale: as all arguments that are not named here, as in
        ``tf1bn.batch_normalization``.
      name: name of the layer, from which its variable scope is made, with a number where it is taken.
      dtype: dtype of the variables; None takes that of the first inputs.
      _scope: the variable scope itself; None takes a new one at the first application.
      _reuse: True, False, None or ``tf.AUTO_REUSE``, for the variables of `_scope`.

    Attributes:
      gamma, beta, moving_mean, moving_variance: variables, None before they are made and where there is none; with
        `renorm` also moving_stddev, renorm_mean, renorm_stddev.
      built: whether the variables are made.
      axis: as given, and a list of the axes counted from 0 when the layer is built.
      fused: as given, and whether the fused form is used when the layer is built.
      trainable: whether the variables are trained and the statistics updated, in applications from now on.
      momentum, epsilon, adjustment: as given; they may be changed between applications, and the other arguments, which
        have their own names as well, may not.

    Raises:
      TypeError: an argument that the release does not have; `axis` is neither an int nor a list; or a subclass has a
        method of its own for a step inside the layer of 1.x, which would never be called here.
      ValueError: unknown keys in `renorm_clipping`, or an unknown constraint.
    """

    @release_scope.as_released(missing="core_missing")
    def __init__(
        self,
        axis=-1,
        momentum=0.99,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer=_ZEROS,
        gamma_initializer=_ONES,
        moving_mean_initializer=_ZEROS,
        moving_variance_initializer=_ONES,
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        renorm=False,
        renorm_clipping=None,
        renorm_momentum=0.99,
        fused=None,
        trainable=True,
        virtual_batch_size=None,
        adjustment=None,
        name=None,
        dtype=None,
        _scope=None,
        _reuse=None,
    ):
        release = release_scope.current()
        self._refuse_inner_methods()
        kind = re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", type(self).__name__).lower()
        super().__init__(name or numbered_name(kind), trainable, dtype)
        axes = arguments.checked_axis(axis, release)
        self.axis = axes if isinstance(axis, list) else axes[0]
        self.momentum, self.epsilon, self.center, self.scale = momentum, epsilon, center, scale
        self.beta_initializer, self.gamma_initializer = beta_initializer, gamma_initializer
        self.moving_mean_initializer = moving_mean_initializer
        self.moving_variance_initializer = moving_variance_initializer
        self.beta_regularizer, self.gamma_regularizer = beta_regularizer, gamma_regularizer
        self._given_constraints = {"beta": beta_constraint, "gamma": gamma_constraint}
        self.beta_constraint = arguments.checked_constraint(beta_constraint, "beta_constraint", release)
        self.gamma_constraint = arguments.checked_constraint(gamma_constraint, "gamma_constraint", release)
        self.renorm, self.renorm_momentum = renorm, renorm_momentum
        self.renorm_clipping = arguments.checked_clipping(renorm_clipping) if renorm else {}
        self.fused, self.virtual_batch_size, self.adjustment = fused, virtual_batch_size, adjustment
        self.gamma = self.beta = self.moving_mean = self.moving_variance = None
        self._base_name, self._reuse = name or kind, _reuse
        self._path, self._axes, self._sizes = None, None, None
        if _scope:
            self._set_scope(_scope)

    def _refuse_inner_methods(self):
        kinds = [kind for kind in type(self).__mro__ if not issubclass(BatchNormalization, kind)]
        own = {method for kind in kinds for method in vars(kind)} & _INNER
        if own:
            raise TypeError(
                f"`{type(self).__name__}` has a method `{min(own)}`, a step inside the layer of TensorFlow 1.x that "
                "this layer does not call; override `build` or `call`, or compute it outside of the layer."
            )

    @builds_graph
    def build(self, input_shape):
        """Make the variables for inputs of this shape.

        Raises:
          ValueError: as in ``tf1bn.batch_normalization``, for the shape, the axes, virtual batches and `_reuse`.
          TypeError: as there, for the dtype.
        """
        release = release_scope.current()
        if self._dtype is None:
            self._dtype = _tf.float32
        inputs = _tf.TensorSpec(input_shape, self._dtype, f"inputs of {self.name}")
        axes = arguments.resolved_axes(arguments.checked_axis(self.axis, release), inputs, release)
        check_virtual_batches(self.virtual_batch_size, axes, self.adjustment)
        regularized = self.beta_regularizer is not None or self.gamma_regularizer is not None
        self._path = code_paths.path_of_batch_normalization(
            release, inputs, axes, self.fused, self.renorm, self.virtual_batch_size, self.adjustment, regularized
        )
        self._axes, self._sizes = axes, inputs.shape.as_list()
        with self._entered():
            # None: the moving statistics are made alike in training and testing.
            made = layer_variables(self._call_of(inputs, None))
        self.gamma, self.beta = made.gamma, made.beta
        self.moving_mean, self.moving_variance = made.statistics
        vars(self).update(made.renorm)
        trained = tf.trainable_variables()
        parameters = (made.gamma, made.beta) if release.gamma_first else (made.beta, made.gamma)
        for variable in (*parameters, *made.statistics, *made.renorm.values()):
            if variable is not None:
                kept = any(variable is other for other in trained)
                (self._trained if kept else self._untrained).append(variable)
        self._losses += made.losses
        self._updates_while_frozen = not release.trainable_false_stops_core
        self.axis = [axis + (self.virtual_batch_size is not None) for axis in axes]
        self.fused, self.built = self._path.fused, True

    def call(self, inputs, training=False):
        """The normalised inputs, built from the layer's variables; applications go through it, for subclasses.

        Raises:
          TypeError: `training` is no boolean; float64 inputs in the fused form.
        """
        training = arguments.checked_training(training, self._path.release)
        code_paths.check_dtypes(self._path, inputs.dtype)
        arguments.check_numbers(self.epsilon, self.momentum, training, self._path)
        variables = LayerVariables(
            self.gamma,
            self.beta,
            (self.moving_mean, self.moving_variance),
            {name: getattr(self, name) for name in _RENORM if hasattr(self, name)},
            None,
            [],
        )
        built = build_layer(self._call_of(inputs, training), variables)
        self._updates += built.updates
        return built.outputs

    @builds_graph
    def __call__(self, inputs, *args, scope=None, **kwargs):
        """Apply the layer to a tensor; ``training=`` as in ``tf1bn.batch_normalization``.

        Raises:
          ValueError: the inputs have another rank, or another number of channels, than those before.
          GraphError, ValueError, TypeError: as in ``tf1bn.batch_normalization``.
        """
        self._set_scope(scope)
        with self._entered():
            inputs = arguments.single_tensor(inputs)
            if not self.built:
                self._dtype = self._dtype or inputs.dtype
                self.build(inputs.shape)
            self._check_compatible(inputs)
            return self.call(inputs, *args, **kwargs)

    def apply(self, inputs, *args, **kwargs):
        """The same as calling the layer."""
        return self(inputs, *args, **kwargs)

    @builds_graph
    def add_weight(self, name, shape=None, dtype=None, initializer=None, regularizer=None, trainable=True, **options):
        """A variable of the layer's scope, which is listed with the layer's own; for a `build` of a subclass.

        Args:
          name, shape, dtype, initializer, regularizer, trainable, options: as for ``tf.get_variable``; `dtype` is by
            default that of the layer.

        Raises:
          ValueError: as from ``tf.get_variable``; a layer that is built reuses its variables and makes no others.
        """
        dtype, trainable = dtype or self._dtype or _tf.float32, bool(trainable and self.trainable)
        with self._entered():
            variable = tf.get_variable(name, shape, dtype, initializer, regularizer, trainable=trainable, **options)
        if not any(variable is other for other in self.weights):
            (self._trained if trainable else self._untrained).append(variable)
            if regularizer is not None:
                self._losses.append(lambda: regularizer(variable))
        return variable

    add_variable = add_weight

    def compute_output_shape(self, input_shape):
        """The shape of the outputs for inputs of a shape, which is the same."""
        return input_shape

    def get_config(self):
        """The arguments of the layer as a dict of plain values, as TF 1.15 gives them, for `from_config`.

        `fused` and `adjustment` are not in it, nor the values of variables.

        Raises:
          ValueError: an initializer, regularizer or constraint has neither a name nor a config.
        """
        return config_of(self, self._given_constraints)

    @classmethod
    def from_config(cls, config):
        """A new layer from what `get_config` gives."""
        return cls(**config)

    # ---- inside ----

    def _set_scope(self, scope):
        if self._scope is not None:
            return
        if scope or self._reuse:
            opened = tf.variable_scope(scope or self._base_name)
        else:
            opened = tf.variable_scope(None, self._base_name)
        with opened as self._scope:
            pass

    @contextlib.contextmanager
    def _entered(self):
        """The variable scope of the layer, and the name scope that was opened with it.

        Releases through 1.5 use up a second name scope, so that the operations of the next call are numbered by two
        more.
        """
        self._set_scope(None)
        twice = release_scope.current().core_scope_twice
        reuse = True if self.built else self._reuse
        with (
            tf.variable_scope(self._scope, reuse=reuse, auxiliary_name_scope=twice),
            tf.name_scope(self._scope.original_name_scope),
        ):
            yield

    def _check_compatible(self, inputs):
        """Raises ValueError for inputs of another rank, or another number of channels, than the layer is built for."""
        sizes = inputs.shape.as_list() if inputs.shape.rank is not None else None
        wanted = {axis: self._sizes[axis] for axis in self._axes}
        if sizes is None or len(sizes) != len(self._sizes):
            found = f"found ndim={None if sizes is None else len(sizes)}"
            problem = f"expected ndim={len(self._sizes)}, {found}"
        elif any(sizes[axis] not in (size, None) for axis, size in wanted.items()):
            problem = "expected " + " and ".join(
                f"axis {axis} of input shape to have value {size}" for axis, size in wanted.items()
            )
        else:
            return
        raise ValueError(
            f"Input 0 of layer {self.name} is incompatible with the layer: {problem}. Its inputs ({inputs.name}) have "
            f"shape {inputs.shape}; its variables were made for {self._sizes}, and other inputs need a layer of their "
            "own."
        )

    def _call_of(self, inputs, training):
        """The `LayerCall` of one application; for inputs that are a ``tf.TensorSpec``, that of making the variables."""
        batch, axes, virtual_axis = inputs, self._axes, None
        if self.virtual_batch_size is not None:
            batch, virtual_axis = in_virtual_batches(inputs, self.virtual_batch_size), 1
            axes = [axis + 1 for axis in axes]
        rank = len(self._sizes)
        data_format = NCHW if axes == [1] and rank > 2 else NHWC
        trainable = self.trainable if self._path.release.trainable_none else bool(self.trainable)
        names = ("beta", "gamma", "moving_mean", "moving_variance")
        return arguments.LayerCall(
            path=self._path,
            inputs=inputs,
            batch=batch,
            parameter_shape=parameter_shape(batch, axes, virtual_axis),
            channel_axes=axes,
            virtual_axis=virtual_axis,
            data_format=data_format,
            decay=self.momentum,
            epsilon=self.epsilon,
            center=self.center,
            scale=self.scale,
            is_training=training,
            trainable=trainable,
            updates_collections=tf.GraphKeys.UPDATE_OPS,
            initializers={name: getattr(self, f"{name}_initializer") for name in names},
            regularizers={"beta": self.beta_regularizer, "gamma": self.gamma_regularizer},
            constraints={"beta": self.beta_constraint, "gamma": self.gamma_constraint},
            argument_name="{}_{}".format,
            renorm=self.renorm,
            renorm_clipping=self.renorm_clipping,
            renorm_decay=self.renorm_momentum,
            adjustment=self.adjustment,
            recorded_axis=None if data_format == NCHW or axes == [rank - 1] else axes[0],
        )
