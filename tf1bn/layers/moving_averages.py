"""How the moving statistics are updated, and who runs the updates."""

import contextlib

import tensorflow as _tf

from .. import releases
from . import training_flag

tf = _tf.compat.v1


def assign_moving_average(variable, value, rate):
    """``variable -= (variable - value) * rate``, beside the variable."""
    with _beside(variable), tf.name_scope("AssignMovingAvg") as name:
        rate = _as_rate(rate, variable)
        return tf.assign_sub(variable, (variable - _tf.cast(value, variable.dtype.base_dtype)) * rate, name=name)


def assign_debiased_average(variable, value, rate, biased, local_step):
    """The moving average of ``value`` as if it had not started at 0 (Kingma & Ba 2015, arXiv:1412.6980, section 3).

    After t updates of biased = biased * (1 - rate) + value * rate from 0, its expectation lacks the factor
    1 - (1 - rate)^t, by which it is divided. At rate 0 that is 0 / 0: NaN, as in TF 1.x.
    """
    with _beside(variable), tf.name_scope("AssignMovingAvg") as name:
        rate = _as_rate(rate, variable)
        value = _tf.cast(value, variable.dtype.base_dtype)
        now = tf.assign_sub(biased, (biased - value) * rate)
        steps = tf.assign_add(local_step, _tf.ones([], local_step.dtype.base_dtype))
        return tf.assign(variable, now / (1 - tf.pow(1.0 - rate, steps)), name=name)


def _as_rate(rate, variable):
    return _tf.cast(_tf.convert_to_tensor(rate, name="decay"), variable.dtype.base_dtype)


def _beside(variable):
    graph = tf.get_default_graph()
    # A function's graph (v2 control flow) does not hold the variable.
    return graph.colocate_with(variable.op) if variable.graph is graph else contextlib.nullcontext()


class Updates:
    """The updates that one call makes of the moving mean and variance.

    Args:
      path: the code path of the call.
      statistics: ``(moving_mean, moving_variance)``.
      decay: weight of the old value, a float or tensor.
      collections: where the updates go; None makes the output depend on them.
      is_training: bool or boolean tensor.
      active: False where the layer is frozen.
      debias: the variables of a zero-debiased moving mean, or None.
      renormalised_variance: with batch renormalisation, what updates the moving variance from the batch's; or None.
      release: the release whose rules hold.

    Attributes:
      in_place: whether the output depends on the updates.
      debias: as given.
      made: the operations that `collect` put into the collections.
      while_testing: whether to `collect` although it is known that the layer is not in training.
    """

    def __init__(
        self,
        path,
        statistics,
        decay,
        collections,
        is_training,
        *,
        active,
        debias=None,
        renormalised_variance=None,
        release=releases.LATEST,
    ):
        self._core = path.core
        self._core_fused = path.core and path.fused
        self._release = release
        how = release.core_fused_dynamic if path.fused else release.core_composed_dynamic
        constantly_off = _tf.is_tensor(is_training) and training_flag.known(is_training) is False
        # TF 1.0 to 1.4 took a tensor that is constantly False for one that may change.
        self.while_testing = path.core and how != "switch" and constantly_off
        self._selects = (
            path.core and how == "select" and (self.while_testing or training_flag.known(is_training) is None)
        )
        # The core layer's fused path updates the statistics whether training or not, with one rate for both; so did
        # the composed one through TF 1.4.
        self._unconditional = path.core and (path.fused or how != "switch")
        self._items_are_operations = path.core and release.core_is_keras
        self._statistics = statistics
        self._decay = decay
        self._collections = collections
        self._is_training = is_training
        self._active = active
        self.debias = debias
        self._renormalised_variance = renormalised_variance
        self.in_place = collections is None
        self.made = ()

    def run_before(self, moments, results):
        """``results``, which cannot be had without updating the statistics."""
        with tf.control_dependencies([update() for update in self._updates(moments)]):
            return _tf.nest.map_structure(_tf.identity, results)

    def collect(self, moments):
        """Put the updates into the collections, for the caller to run with the training step."""
        if not self._active:
            return
        updates = self._updates(moments)
        if self._unconditional:
            made = [update() for update in updates]
        elif self._core:
            # One decision for each, where contrib's own code makes one for both: old tools know operations by name.
            made = [
                training_flag.cond(self._is_training, update, lambda statistic=statistic: statistic)
                for update, statistic in zip(updates, self._statistics, strict=True)
            ]
        else:
            made = training_flag.cond(
                self._is_training, lambda: tuple(update() for update in updates), lambda: self._statistics
            )
        self.made = tuple(update.op for update in made)
        for update in made:
            tf.add_to_collections(self._collections, update.op if self._items_are_operations else update)

    def _updates(self, moments):
        mean, variance = moments
        moving_mean, moving_variance = self._statistics
        shared = self._rate() if self._core_fused or self._selects else None
        rate = self._rate if shared is None else lambda: shared

        def update_mean():
            if self.debias is not None:
                return assign_debiased_average(moving_mean, mean, rate(), *self.debias)
            return assign_moving_average(moving_mean, mean, rate())

        def update_variance():
            if self._renormalised_variance is not None:
                return self._renormalised_variance(variance, rate())
            return assign_moving_average(moving_variance, variance, rate())

        return update_mean, update_variance

    @property
    def of_the_batch(self):
        """Whether `collect` wants the batch's moments even while testing: it updates with them, come what may."""
        return self._unconditional and not self._core_fused and self._release.core_composed_dynamic == "always"

    def _rate(self):
        """1 - decay; in one release and code path or another a tensor that is 0 while testing."""
        if self._selects or (self._core_fused and self._release.float32_rate):
            # decay becomes a float32 tensor first and is subtracted there; elsewhere that happens in Python. At .999
            # the two rates differ by 1.3e-5 of themselves.
            decay = _tf.convert_to_tensor(self._decay)
            return 1.0 - training_flag.cond(
                self._is_training, lambda: _tf.identity(decay), lambda: _tf.ones_like(decay)
            )
        rate = 1.0 - self._decay
        if not self._core_fused:
            return rate
        rate = _tf.convert_to_tensor(rate)
        return training_flag.cond(self._is_training, lambda: _tf.identity(rate), lambda: _tf.zeros_like(rate))
