"""How the moving statistics are updated, and what runs the updates."""

import contextlib

import tensorflow as _tf

from ..errors import GraphError
from . import training_flag
from .graph_collections import ACROSS_REPLICAS, over_replicas

tf = _tf.compat.v1


def assign_moving_average(variable, value, rate, drops_zero_rate=False):
    """The operation ``variable -= (variable - value) * rate``, on the variable's device.

    Args:
      drops_zero_rate: whether at rate 0 NaN and infinity in ``value`` leave the variable alone.

    Raises:
      GraphError: the variable cannot be assigned where the layer is built.
    """
    _check_assignable(variable)
    with _colocated(variable), tf.name_scope("AssignMovingAvg") as name:
        rate = _as_rate(rate, variable)
        difference = variable - _tf.cast(value, variable.dtype.base_dtype)
        product = _tf.math.multiply_no_nan(difference, rate) if drops_zero_rate else difference * rate
        return tf.assign_sub(variable, product, name=name)


def assign_debiased_average(variable, value, rate, biased, local_step):
    """The operation that moves a variable towards ``value`` as if it had not started at 0.

    See Kingma & Ba 2015, arXiv:1412.6980, section 3. After t updates of biased = biased * (1 - rate) + value * rate
    from 0, its expectation lacks the factor 1 - (1 - rate)^t, by which it is divided. At rate 0 that is 0 / 0: NaN, as
    in TF 1.x.
    """
    _check_assignable(variable)
    with _colocated(variable), tf.name_scope("AssignMovingAvg") as name:
        rate = _as_rate(rate, variable)
        value = _tf.cast(value, variable.dtype.base_dtype)
        now = tf.assign_sub(biased, (biased - value) * rate)
        steps = tf.assign_add(local_step, _tf.ones([], local_step.dtype.base_dtype))
        return tf.assign(variable, now / (1 - tf.pow(1.0 - rate, steps)), name=name)


def _is_one(decay):
    """Whether a decay is known to be 1 when the graph is built."""
    value = _tf.get_static_value(decay) if _tf.is_tensor(decay) else decay
    return not isinstance(value, _tf.Variable) and value is not None and bool(value == 1)


def _as_rate(rate, variable):
    return _tf.cast(_tf.convert_to_tensor(rate, name="decay"), variable.dtype.base_dtype)


def _check_assignable(variable):
    """Raises GraphError unless operations in the graph that is being built can assign the variable."""
    if not isinstance(variable.op, _tf.Operation):
        raise GraphError(ACROSS_REPLICAS)
    if variable.op.type != "VarHandleOp" and variable.graph is not tf.get_default_graph():
        raise GraphError(
            f"The reference variable {variable.op.name!r} cannot be updated in a function, which control flow v2 makes "
            "of each branch that `is_training` or a `tf.cond` chooses; call "
            "`tf.compat.v1.enable_resource_variables()` or `tf.compat.v1.disable_control_flow_v2()` before the graph "
            "is built."
        )


def _colocated(variable):
    graph = tf.get_default_graph()
    # A function's graph (v2 control flow) does not hold the variable.
    return graph.colocate_with(variable.op) if variable.graph is graph else contextlib.nullcontext()


class Updates:
    """The updates that one call makes of the moving mean and variance.

    Args:
      call: the `arguments.LayerCall`.
      variables: the `variables.LayerVariables`.
      renorm: with batch renormalisation what `renorm_of` gives; else None.

    Attributes:
      in_place: whether the output depends on the updates, because no collection receives them.
      while_testing: whether to `collect` although it is known that the layer is not in training.
      use_batch_moments: whether `collect` must be given the batch's moments while testing too.
      items: a list of what `collect` put into the collections, operations or tensors.
    """

    def __init__(self, call, variables, renorm=None):
        path, release = call.path, call.release
        self._call = call
        self._statistics, self._debias = variables.statistics, variables.debias
        self._renorm = renorm
        # The core layer of TF 1.6 on freezes the statistics with trainable=False; contrib's own code never does.
        self._updates_statistics = bool(call.trainable) or not (path.core and release.trainable_false_stops_core)
        self._core_fused = path.core and path.fused
        how = release.core_fused_dynamic if path.fused else release.core_composed_dynamic
        value = training_flag.static_value(call.is_training)
        # TF 1.0 to 1.4 took a tensor that is constantly False for one that may change.
        self.while_testing = path.core and how != "switch" and value is False and _tf.is_tensor(call.is_training)
        self._selects = path.core and how == "select" and (self.while_testing or value is None)
        # The core layer's fused path updates the statistics whether training or not, with one rate for both; so did
        # the composed one through TF 1.4.
        self._unconditional = path.core and (path.fused or how != "switch")
        fed = self._core_fused and value is None
        self._drops_zero_rate = release.drops_zero_rate and not fed and _is_one(call.decay)
        self.use_batch_moments = self._unconditional and not path.fused and release.core_composed_dynamic == "always"
        self.in_place = call.updates_collections is None
        self.items = []

    def run_before(self, moments, results):
        """Copies of the tensors ``results`` that no run can compute without updating the statistics.

        moments: those of the batch, `over_replicas`; a branch of a cond cannot compute these.
        """
        with tf.control_dependencies([update() for update in self._functions(moments)]):
            return _tf.nest.map_structure(_tf.identity, results)

    def collect(self, moments):
        """Put the updates into the collections, for the caller to run with the training step."""
        if not self._updates_statistics:
            return
        moments = over_replicas(moments)
        functions, is_training = self._functions(moments), self._call.is_training
        if self._unconditional:
            updates = [update() for update in functions]
        elif self._call.path.core:
            # One decision for each, where contrib's own code makes one for both: old tools know operations by name.
            updates = [
                training_flag.cond(is_training, update, lambda statistic=statistic: statistic)
                for update, statistic in zip(functions, self._statistics, strict=True)
            ]
        else:
            updates = training_flag.cond(
                is_training, lambda: tuple(update() for update in functions), lambda: self._statistics
            )
        as_operations = self._call.path.core and self._call.release.core_is_keras
        self.items = [update.op if as_operations else update for update in updates]
        for item in self.items:
            tf.add_to_collections(self._call.updates_collections, item)

    def _functions(self, moments):
        """Two functions that make the update of the moving mean and that of the moving variance."""
        mean, variance = moments
        moving_mean, moving_variance = self._statistics
        shared = self._rate() if self._core_fused or self._selects else None
        rate = self._rate if shared is None else lambda: shared

        def update_mean():
            if self._debias is not None:
                return assign_debiased_average(moving_mean, mean, rate(), *self._debias)
            return assign_moving_average(moving_mean, mean, rate(), self._drops_zero_rate)

        def update_variance():
            if self._renorm is not None:
                return self._renorm.update_variance(variance, rate())
            return assign_moving_average(moving_variance, variance, rate(), self._drops_zero_rate)

        return update_mean, update_variance

    def _rate(self):
        """1 - decay; in some releases and code paths a tensor that is 0 while testing."""
        decay, is_training = self._call.decay, self._call.is_training
        if self._selects or (self._core_fused and self._call.release.float32_rate):
            # decay becomes a float32 tensor first and is subtracted there; elsewhere that happens in Python. At .999
            # the two rates differ by 1.3e-5 of themselves.
            decay = _tf.convert_to_tensor(decay)
            if not decay.dtype.is_floating:
                raise TypeError(
                    f"Expected {decay.dtype.base_dtype.name}, but got 1.0 of type 'float'. `decay` (`momentum` of "
                    f"`batch_normalization`) is {self._call.decay!r}; it must be a floating point number here, such as "
                    "0.0 for 0."
                )
            return 1.0 - training_flag.cond(is_training, lambda: _tf.identity(decay), lambda: _tf.ones_like(decay))
        rate = 1.0 - decay
        if not self._core_fused:
            return rate
        rate = _tf.convert_to_tensor(rate)
        return training_flag.cond(is_training, lambda: _tf.identity(rate), lambda: _tf.zeros_like(rate))


# ---- batch renormalisation (Ioffe 2017, arXiv:1702.03275) ----


def renorm_of(call, variables):
    """The batch renormalisation of a `LayerCall`, as its release does it."""
    return (AveragedRenorm if call.release.renorm_of_1_15 else WeightedRenorm)(call, variables)


class _Renorm:
    """What the two schemes share: training outputs are (x_hat * r + d) * gamma + beta, r and d without gradient.

    With m and v the batch's moments, s = sqrt(v + epsilon), and M and S averages of m and s with `renorm_decay`,
    r = s / S and d = (m - M) / S, both clipped.
    """

    def __init__(self, call, variables):
        self._variables = variables.renorm
        self._statistics = variables.statistics
        self._clipping = call.renorm_clipping
        self._decay = call.renorm_decay
        self._epsilon = call.epsilon
        self._is_training = call.is_training

    def correct(self, mean, variance):
        """``r, d`` [C], and what the moving mean and variance are moved to.

        No run can compute the latter two without updating M and S.
        """
        stddev = _tf.sqrt(variance + self._epsilon)
        now_mean, now_stddev = self._averages(mean, stddev)
        r, d = stddev / now_stddev, (mean - now_mean) / now_stddev
        # The corrections are those before the update.
        with tf.control_dependencies([r, d]):
            values = _tf.identity(mean), _tf.identity(stddev)
        r, d = self._clipped(r, d)
        r, d = self._if_training((r, d), (_tf.ones_like(r), _tf.zeros_like(d)))
        after = self._update(values, mean, variance)
        return _tf.stop_gradient(r, name="renorm_r"), _tf.stop_gradient(d, name="renorm_d"), after

    def _if_training(self, values, otherwise):
        return training_flag.select_each(self._is_training, values, otherwise)

    def _clipped(self, r, d):
        if self._clipping.get("rmin") is not None:
            r = _tf.maximum(r, self._clipping["rmin"])
        if self._clipping.get("rmax") is not None:
            r = _tf.minimum(r, self._clipping["rmax"])
        if self._clipping.get("dmax") is not None:
            d = _tf.minimum(_tf.maximum(d, -self._clipping["dmax"]), self._clipping["dmax"])
        return r, d


class AveragedRenorm(_Renorm):
    """The scheme of TF 1.15, whose M and S are renorm_mean and renorm_stddev.

    moving_stddev is a moving average of s with the layer's own decay, and moving_variance is set to
    max(moving_stddev^2 - epsilon, 0).
    """

    def _averages(self, mean, stddev):
        average_mean, average_stddev = self._pair()
        floor = _tf.maximum(_tf.convert_to_tensor(average_stddev), _tf.sqrt(_tf.convert_to_tensor(self._epsilon)))
        return average_mean, floor

    def _update(self, values, mean, variance):
        updates = [
            training_flag.cond(
                self._is_training,
                lambda variable=variable, value=value: assign_moving_average(variable, value, 1.0 - self._decay),
                lambda variable=variable: _tf.identity(variable),
            )
            for variable, value in zip(self._pair(), values, strict=True)
        ]
        with tf.control_dependencies(updates):
            return _tf.identity(mean), _tf.identity(variance)

    def _pair(self):
        return self._variables["renorm_mean"], self._variables["renorm_stddev"]

    def update_variance(self, variance, rate):
        """The operation that moves moving_stddev towards the batch's deviation and sets moving_variance from it."""
        moving_stddev = self._variables["moving_stddev"]
        stddev = assign_moving_average(moving_stddev, _tf.sqrt(variance + self._epsilon), rate)
        stddev = _tf.convert_to_tensor(stddev)
        value = _tf.nn.relu(stddev * stddev - self._epsilon)
        with tf.name_scope("AssignNewValue") as name:
            return tf.assign(self._statistics[1], value, name=name)


class WeightedRenorm(_Renorm):
    """The scheme of TF 1.2 to 1.14, which keeps the averages free of their start values by weights.

    renorm_mean and renorm_stddev average from 0, and so do their weights, which average 1. M is
    renorm_mean + (1 - renorm_mean_weight) m, as if the average had started at this batch's mean, and S likewise.
    After the update the moving statistics move to m* = renorm_mean / renorm_mean_weight and to s*^2 - epsilon, where
    s* is renorm_stddev / renorm_stddev_weight: to averages of the last batches, not to the moments of one.
    """

    def __init__(self, call, variables):
        super().__init__(call, variables)
        self._selects = call.release.core_composed_dynamic == "select"

    def _averages(self, mean, stddev):
        return tuple(
            average + (1.0 - weight) * value
            for (average, weight), value in zip(self._pairs(), (mean, stddev), strict=True)
        )

    def _if_training(self, values, otherwise):
        if self._selects and _tf.is_tensor(self._is_training):
            return tuple(tf.where(self._is_training, *pair) for pair in zip(values, otherwise, strict=True))
        return super()._if_training(values, otherwise)

    def _pairs(self):
        return [(self._variables[name], self._variables[f"{name}_weight"]) for name in ("renorm_mean", "renorm_stddev")]

    def _update(self, values, mean, variance):
        decay = self._decay
        if self._selects:
            static = training_flag.static_value(self._is_training) is True
            # While testing, releases through 1.4 update with decay 1, and divide by a weight that may still be 0.
            decay = training_flag.cond(
                self._is_training,
                lambda decay=decay: decay if static else _tf.identity(decay),
                lambda decay=decay: _tf.ones_like(decay),
            )
        mean, stddev = (
            self._updated(average, weight, value, 1.0 - decay)
            for (average, weight), value in zip(self._pairs(), values, strict=True)
        )
        return mean, _tf.square(stddev) - self._epsilon

    def _updated(self, average, weight, value, rate):
        """The average over its weight, both after the update."""
        value = _tf.identity(value)

        def update():
            now = value
            if value.graph is not tf.get_default_graph():
                # A function that is inlined loses control dependencies on what is outside of it.
                now = _tf.identity(value)
            with tf.control_dependencies([now]):
                one = tf.constant(1.0, weight.dtype.base_dtype)
            return assign_moving_average(average, value, rate) / assign_moving_average(weight, one, rate)

        if self._selects:
            return update()
        return training_flag.cond(self._is_training, update, lambda: _tf.identity(average))

    def update_variance(self, variance, rate):
        """The operation that moves the moving variance towards what `correct` gave."""
        return assign_moving_average(self._statistics[1], variance, rate)
