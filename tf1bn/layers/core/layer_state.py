"""What an object of the core layer says of itself: its names, variables, updates and losses."""

import tensorflow as _tf

from ..graph_collections import parts


class LayerState:
    """The lists of a `layer_object.BatchNormalization`, which fills them when it is built and applied.

    Attributes:
      name: the name of the layer.
      trainable: whether the variables are trained and the statistics updated, in applications from now on.
      built: whether the variables are made.
    """

    def __init__(self, name, trainable, dtype):
        self.name, self.trainable, self.built = name, trainable, False
        self._dtype = None if dtype is None else _tf.as_dtype(dtype)
        self._scope, self._updates_while_frozen = None, False
        self._trained, self._untrained, self._updates, self._losses = [], [], [], []

    @property
    def dtype(self):
        """The name of the dtype of the layer, None if no argument and no inputs have given it one."""
        return self._dtype and self._dtype.name

    @property
    def scope_name(self):
        """The name of the variable scope.

        Raises:
          ValueError: the layer has not been used.
        """
        if self._scope is None:
            raise ValueError(
                f"No name available for layer scope because the layer {self.name!r} has not been used yet; the name is "
                "determined when it is first applied."
            )
        return self._scope.name

    @property
    def trainable_weights(self):
        """The variables that are trained, a list; empty while `trainable` is False."""
        return list(self._trained) if self.trainable else []

    @property
    def non_trainable_weights(self):
        """The other variables, a list."""
        return list(self._untrained) if self.trainable else self._trained + self._untrained

    @property
    def weights(self):
        """All variables, a list."""
        return self.trainable_weights + self.non_trainable_weights

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def updates(self):
        """What updates the moving statistics, a list of the items that are in UPDATE_OPS; empty if not `trainable`.

        In releases whose layers go on updating with ``trainable=False`` it is not empty then.
        """
        return list(self._updates) if self.trainable or self._updates_while_frozen else []

    @property
    def losses(self):
        """The losses of the regularizers, a list of tensors, built anew at each access."""
        return [loss for loss in (build() for build in self._losses) if loss is not None]

    def get_updates_for(self, inputs):
        """Those of `updates` that depend on a tensor or a list of tensors; for None those on none of the inputs."""
        if inputs is None:
            return []
        return [update for update in self.updates if _depends(update, _tf.nest.flatten(inputs))]

    def get_losses_for(self, inputs):
        """`losses` for None; no loss depends on inputs."""
        return self.losses if inputs is None else []

    def count_params(self):
        """The number of values in all variables.

        Raises:
          ValueError: the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on {self.name}, but the layer isn't built; apply it, or call its "
                "`build` with the shape of the inputs."
            )
        return sum(part.shape.num_elements() for variable in self.weights for part in parts(variable))


def _depends(item, tensors):
    """Whether an operation or tensor is computed from one of the tensors."""
    wanted, seen = {id(tensor.op) for tensor in tensors}, set()
    stack = [item.op if _tf.is_tensor(item) else item]
    while stack:
        op = stack.pop()
        if id(op) in wanted:
            return True
        if id(op) not in seen:
            seen.add(id(op))
            stack.extend(source.op for source in op.inputs)
    return False
