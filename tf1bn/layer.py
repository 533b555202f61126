"""``batch_norm`` of ``tf.contrib.layers`` in TF 1.15, built on the public ``tf.compat.v1`` API alone.

TF 1.15 sends a call down one of four code paths. They differ in more than speed (see ``_Path``), so tf1bn
keeps all four and chooses by the same rule:

    ========  ==========  =====================================================================================
    path      moments     chosen when
    ========  ==========  =====================================================================================
    own       fused       `fused` is not False, rank 2 or 4, and rank 2 or `updates_collections` not the default
    core      fused       `fused` is not False, rank 4, default `updates_collections`
    core      composed    default `updates_collections`, and `fused=False` or another rank
    own       composed    everything else
    ========  ==========  =====================================================================================

Training, per channel, with batch mean m and batch variance v over N values (reference: Ioffe & Szegedy 2015,
arXiv:1502.03167, algorithm 1 and section 3.1; the moving average form is that of TF 1.x):

    y               = gamma * (x - m) / sqrt(v_population + epsilon) + beta
    moving_mean     = moving_mean     - (moving_mean     - m) * (1 - decay)        starting at 0
    moving_variance = moving_variance - (moving_variance - v) * (1 - decay)        starting at 1

where v is the population variance on the composed paths and N/(N-1) of it (Bessel's correction) on the fused
ones. Inference puts moving_mean and moving_variance in the place of m and v and changes neither.
"""

import contextlib
import dataclasses

import tensorflow as _tf

from .argscope import add_arg_scope

tf = _tf.compat.v1

NHWC, NCHW = "NHWC", "NCHW"
# The fused kernels of cuDNN refuse smaller values; TF 1.4 to 1.15 raise epsilon to this on every device.
FUSED_EPSILON_FLOOR = 1.001e-5


@dataclasses.dataclass(frozen=True)
class _Path:
    """Which of TF 1.15's four code paths a call takes; ``core`` is the tf.layers layer behind contrib."""

    core: bool
    fused: bool

    def variable_dtype(self, inputs_dtype):
        if self.core:
            half = inputs_dtype in (_tf.float16, _tf.bfloat16)
            return _tf.float32 if half else inputs_dtype
        return _tf.float32 if self.fused else inputs_dtype


@add_arg_scope
def batch_norm(
    inputs,
    decay=0.999,
    center=True,
    scale=False,
    epsilon=0.001,
    activation_fn=None,
    param_initializers=None,
    param_regularizers=None,
    updates_collections=tf.GraphKeys.UPDATE_OPS,
    is_training=True,
    reuse=None,
    variables_collections=None,
    outputs_collections=None,
    trainable=True,
    batch_weights=None,
    fused=None,
    data_format=NHWC,
    zero_debias_moving_mean=False,
    scope=None,
    renorm=False,
    renorm_clipping=None,
    renorm_decay=0.99,
    adjustment=None,
):
    """Batch normalisation with the arguments, variables and numbers of ``tf.contrib.layers.batch_norm`` (TF 1.15).

    Builds graph-mode operations: call it inside a ``tf.Graph`` and run it in a ``tf.compat.v1.Session``.

    Args:
      inputs: tensor of rank 2 or more with a known channel count, float16, float32 or float64 (the fused paths
        take no float64, as in TF 1.15: pass ``fused=False``). Normalised over every axis but the channels.
      decay: weight that the moving statistics keep at each step, a float or scalar tensor; 1 - decay is the step.
      center: add ``beta`` (shape [C], starts at 0).
      scale: multiply by ``gamma`` (shape [C], starts at 1).
      epsilon: added to the variance. The fused paths raise it to 1.001e-5 when it is not above that.
      activation_fn: applied to the result.
      updates_collections: collections that receive the two update operations. With the default they must be run
        with the training step by the caller; with None the output itself depends on them.
      is_training: a bool, or a boolean tensor, placeholder or variable: normalise with the batch's statistics and
        update the moving ones, or normalise with the moving ones.
      reuse, scope: as in ``tf.compat.v1.variable_scope``; the default scope is "BatchNorm", made unique.
      variables_collections: collections for the variables, a list, or a dict from the variable's short name.
      outputs_collections: collections for the output.
      trainable: put beta and gamma into TRAINABLE_VARIABLES. False also stops the updates of the moving
        statistics where ``updates_collections`` is the default and the rank is 4 or `fused` is False, because
        TF 1.15 does that.
      fused: use TensorFlow's fused kernels; None means True. Where they cannot be used (rank other than 2 and 4)
        the composed form is used without a word, as in TF 1.15.
      data_format: "NHWC" (channels last, whatever the rank) or "NCHW" (channels in axis 1).
      renorm_clipping, renorm_decay: have an effect only together with ``renorm``, as in TF 1.15.
      param_initializers, param_regularizers, batch_weights, zero_debias_moving_mean, renorm, adjustment: not
        available yet, see below.

    Returns:
      A tensor of the shape and dtype of ``inputs``.

    Raises:
      NotImplementedError: an argument is used that this version of tf1bn does not provide; the message names it.
      ValueError: unknown `data_format`, rank or channel count, or `is_training` is None.
      TypeError: float64 inputs on a fused path.
    """
    _refuse_unfinished(
        param_initializers=param_initializers,
        param_regularizers=param_regularizers,
        batch_weights=batch_weights,
        zero_debias_moving_mean=zero_debias_moving_mean,
        renorm=renorm,
        adjustment=adjustment,
    )
    if data_format not in (NHWC, NCHW):
        raise ValueError(
            f"`data_format` is {data_format!r}; accepted are 'NHWC' (channels last) and 'NCHW' (channels in axis 1)."
        )
    if is_training is None:
        raise ValueError(
            "`is_training` is None; pass True, False, or a boolean tensor, placeholder or variable that says whether "
            "the batch's own statistics are used."
        )
    inputs = _tf.convert_to_tensor(inputs)
    rank = inputs.shape.rank
    # By identity, as TF 1.15 does: an equal list such as ["update_ops"] takes the other path.
    default_updates = updates_collections is tf.GraphKeys.UPDATE_OPS
    fused = (fused is None or bool(fused)) and rank in (2, 4)
    path = _Path(core=default_updates and not (fused and rank == 2), fused=fused)

    if path.core and not (_tf.is_tensor(is_training) or is_training in (True, False)):
        raise TypeError(
            f"`is_training` is {is_training!r}; accepted are True, False, or a boolean tensor, placeholder or variable."
        )

    with contextlib.ExitStack() as scopes:
        variable_scope = scopes.enter_context(tf.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse))
        if path.core:
            # Given a VariableScope object, the core layer names its operations after the place where it was opened.
            scopes.enter_context(tf.name_scope(variable_scope.original_name_scope))
        channels = _channels(inputs, data_format)
        names = ("gamma", "beta") if path.core else ("beta", "gamma")
        wanted = {"gamma": scale, "beta": center}
        dtype = path.variable_dtype(inputs.dtype)
        variables = _Variables(dtype, channels, variables_collections, trainable, path.core)
        parameters = {name: variables.parameter(name) if wanted[name] else None for name in names}
        statistics = variables.statistics()

        # TF 1.15 freezes the statistics of a layer with trainable=False on the core paths only.
        active = bool(trainable) or not path.core
        normalise = _fused if path.fused else _composed
        outputs = normalise(
            inputs,
            parameters["gamma"],
            parameters["beta"],
            statistics,
            _Updates(path, statistics, decay, updates_collections, is_training, active),
            is_training=is_training,
            epsilon=epsilon,
            data_format=data_format,
        )
        outputs.set_shape(inputs.shape)
        if path.core:
            named = dict(zip(("moving_mean", "moving_variance"), statistics, strict=True))
            variables.collect_again({**named, "beta": parameters["beta"], "gamma": parameters["gamma"]})
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        if outputs_collections:
            outputs.aliases = [*getattr(outputs, "aliases", []), variable_scope.name]
            tf.add_to_collections(outputs_collections, outputs)
        return outputs


def _refuse_unfinished(**arguments):
    for name, value in arguments.items():
        if not (value is None or value is False or (isinstance(value, dict) and not value)):
            raise NotImplementedError(
                f"`{name}` is {value!r}: this version of tf1bn does not provide it yet. Leave the argument out; "
                "nothing is accepted and ignored."
            )


def _channels(inputs, data_format):
    shape = inputs.shape
    if shape.rank is None:
        raise ValueError(
            f"`inputs` ({inputs.name}) has an unknown rank; batch_norm needs the rank and the number of channels when "
            "the graph is built. Give them with `inputs.set_shape(...)`."
        )
    axis = 1 if data_format == NCHW else -1
    needed = 2 if data_format == NCHW else 1
    if shape.rank < needed:
        raise ValueError(
            f"`inputs` ({inputs.name}) has shape {shape}; batch_norm needs rank {needed} or more with "
            f"data_format={data_format!r}."
        )
    channels = shape[axis]
    if channels is None:
        raise ValueError(
            f"`inputs` ({inputs.name}) has shape {shape} with an unknown number of channels for "
            f"data_format={data_format!r}; give it with `inputs.set_shape(...)`."
        )
    return channels


def _static_value(is_training):
    """True or False if known while the graph is built, else None. A constant tensor counts as known."""
    if isinstance(is_training, _tf.Variable):
        return None
    if _tf.is_tensor(is_training):
        value = _tf.get_static_value(is_training)
        return None if value is None else bool(value)
    return bool(is_training)


def _cond(is_training, if_training, if_not):
    known = _static_value(is_training)
    if known is None:
        return tf.cond(is_training, if_training, if_not)
    return if_training() if known else if_not()


class _Variables:
    """Creates or reuses the layer's variables in the current scope, with the collections that TF 1.15 gives them."""

    def __init__(self, dtype, channels, collections, trainable, core):
        self._dtype = dtype
        self._shape = [channels]
        self._collections = collections
        self._trainable = trainable
        self._core = core

    def parameter(self, name):
        initial = tf.ones_initializer() if name == "gamma" else tf.zeros_initializer()
        return self._get(name, initial, self._trainable)

    def statistics(self):
        # TF 1.15 never splits the moving statistics, whatever partitioner the scope has. It enters the scope anew
        # for that, which uses up a name: the operations after it are numbered accordingly.
        with tf.variable_scope(tf.get_variable_scope()) as scope:
            scope.set_partitioner(None)
            return (
                self._get("moving_mean", tf.zeros_initializer(), trainable=False),
                self._get("moving_variance", tf.ones_initializer(), trainable=False),
            )

    def collect_again(self, variables):
        """What the core paths do at every call; the own paths name collections only where a variable is created."""
        for name, variable in variables.items():
            for collection in self._of(name) if variable is not None else ():
                if not any(variable is other for other in tf.get_collection(collection)):
                    tf.add_to_collection(collection, variable)

    def _of(self, name):
        collections = self._collections
        return list((collections.get(name) if isinstance(collections, dict) else collections) or [])

    def _get(self, name, initializer, trainable):
        collections = [] if self._core else self._of(name)
        return tf.get_variable(
            name,
            self._shape,
            self._dtype,
            initializer,
            trainable=trainable,
            collections=[*collections, tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES],
        )


class _Updates:
    """How one call updates the moving statistics, and who runs the updates."""

    def __init__(self, path, statistics, decay, collections, is_training, active):
        self._path = path
        self._statistics = statistics
        self._decay = decay
        self._collections = collections
        self._is_training = is_training
        self._active = active
        # With updates_collections=None the output itself depends on the updates.
        self.in_place = collections is None
        # Old code and checkpoint tools know operations by name, so the order in which they are made is kept.
        self.select_first = path.core

    def run_before(self, moments, results):
        """``results``, which cannot be had without updating the statistics."""
        with tf.control_dependencies(self._assign_both(moments, self._rate())):
            return _tf.nest.map_structure(_tf.identity, results)

    def collect(self, moments):
        """Put the updates into the collections, for the caller to run with the training step."""
        if not self._active:
            return
        if self._path.core and self._path.fused:
            updates = self._assign_both(moments, self._rate())
        elif self._path.core:
            updates = [
                _cond(self._is_training, lambda pair=pair: self._assign(*pair, self._rate()), lambda pair=pair: pair[0])
                for pair in zip(self._statistics, moments, strict=True)
            ]
        else:
            updates = _cond(
                self._is_training, lambda: self._assign_both(moments, self._rate()), lambda: self._statistics
            )
        for update in updates:
            tf.add_to_collections(self._collections, update.op if self._path.core else update)

    def _rate(self):
        if not (self._path.core and self._path.fused):
            return 1.0 - self._decay
        # This path makes decay a float32 tensor first and subtracts there; the others subtract in Python. At .999
        # the two rates differ by 1.3e-5 of themselves (TF 1.8 to 1.15). It also updates when not training, at rate 0.
        decay = _tf.convert_to_tensor(self._decay)
        return 1.0 - _cond(self._is_training, lambda: _tf.identity(decay), lambda: _tf.ones_like(decay))

    def _assign_both(self, moments, rate):
        return tuple(self._assign(*pair, rate) for pair in zip(self._statistics, moments, strict=True))

    @staticmethod
    def _assign(variable, value, rate):
        graph = tf.get_default_graph()
        beside = graph.colocate_with(variable.op) if variable.graph is graph else contextlib.nullcontext()
        with tf.name_scope("AssignMovingAvg") as name, beside:
            dtype = variable.dtype.base_dtype
            rate = _tf.cast(_tf.convert_to_tensor(rate, name="decay"), dtype)
            return tf.assign_sub(variable, (variable - _tf.cast(value, dtype)) * rate, name=name)


def _fused(inputs, gamma, beta, statistics, updates, *, is_training, epsilon, data_format):
    channels = statistics[0].shape
    x = inputs
    if inputs.shape.rank == 2:
        x = _tf.reshape(inputs, [-1, 1, 1, *channels] if data_format == NHWC else [-1, *channels, 1, 1])
    dtype = statistics[0].dtype.base_dtype
    arguments = {
        "scale": _tf.ones(channels, dtype) if gamma is None else gamma,
        "offset": _tf.zeros(channels, dtype) if beta is None else beta,
        "epsilon": epsilon if epsilon > FUSED_EPSILON_FLOOR else FUSED_EPSILON_FLOOR,
        "data_format": data_format,
    }

    def training():
        return tuple(tf.nn.fused_batch_norm(x, **arguments))

    def inference():
        mean, variance = (_tf.convert_to_tensor(statistic) for statistic in statistics)
        y, *_ = tf.nn.fused_batch_norm(x, mean=mean, variance=variance, is_training=False, **arguments)
        return y, mean, variance

    outputs, *moments = _cond(is_training, training, inference)
    if _static_value(is_training) is not False:
        if updates.in_place:
            normalised = outputs
            outputs = _cond(
                is_training, lambda: updates.run_before(moments, normalised), lambda: _tf.identity(normalised)
            )
        else:
            updates.collect(moments)
    return _tf.reshape(outputs, _tf.shape(inputs)) if inputs.shape.rank == 2 else outputs


def _composed(inputs, gamma, beta, statistics, updates, *, is_training, epsilon, data_format):
    rank = inputs.shape.rank
    axis = 1 if data_format == NCHW else rank - 1
    broadcast_shape = [-1 if i == axis else 1 for i in range(rank)]
    dtype = statistics[0].dtype.base_dtype

    mean, variance = statistics
    if _static_value(is_training) is not False:
        moments = tuple(_tf.nn.moments(_tf.cast(inputs, dtype), [i for i in range(rank) if i != axis]))
        if updates.in_place:
            mean, variance = _cond(is_training, lambda: updates.run_before(moments, moments), lambda: statistics)
        elif updates.select_first:
            mean, variance = (
                _cond(is_training, lambda pair=pair: pair[0], lambda pair=pair: _tf.convert_to_tensor(pair[1]))
                for pair in zip(moments, statistics, strict=True)
            )
            updates.collect((mean, variance))
        else:
            updates.collect(moments)
            mean, variance = _cond(is_training, lambda: moments, lambda: statistics)

    def fit(value):
        if value is None:
            return None
        value = _tf.cast(value, inputs.dtype)
        return value if axis == rank - 1 else _tf.reshape(value, broadcast_shape)

    return _tf.nn.batch_normalization(inputs, fit(mean), fit(variance), fit(beta), fit(gamma), epsilon)
