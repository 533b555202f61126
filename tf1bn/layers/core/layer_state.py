"""What an object of the core layer says of itself: its names, variables, updates and losses."""

import numpy as np
import tensorflow as _tf

from ...errors import GraphError
from ..graph_collections import parts

tf = _tf.compat.v1

_TENSORS = (
    "it knows those of Keras's functional models alone, in TF 1.x too; keep the tensors that go into and out of it"
)
# What the class of 1.x has besides, and what to do without it.
_ABSENT = {
    **dict.fromkeys(("input", "output", "input_shape", "output_shape", "input_mask", "output_mask"), _TENSORS),
    **{f"get_{which}{what}_at": _TENSORS for which in ("input", "output") for what in ("", "_shape", "_mask")},
    "add_update": "put the update into the collection, `tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)`",
    "add_loss": "put the loss into the collection, `tf.losses.add_loss(loss)`",
    "add_metric": "make the metric outside of the layer, with `tf.metrics`",
    "input_spec": "look at the shape of a variable, such as `layer.moving_mean.shape`",
    "graph": "look at that of a variable, `layer.moving_mean.graph`",
}


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

    def get_weights(self):
        """The values of `weights` in the default session, a list of arrays.

        Raises:
          GraphError: there is no default session, or it runs another graph.
          ValueError: a partitioner has split a variable.
        """
        variables = self._whole_variables("get_weights")
        return self._session("get_weights", variables).run(variables) if variables else []

    def set_weights(self, weights):
        """Assign values to `weights` in the default session; it adds no operation to the graph.

        Args:
          weights: one array for each of `weights`, in that order and of their shapes.

        Raises:
          ValueError: there are more or fewer arrays, or one has another shape; or a partitioner has split a variable.
          GraphError: there is no default session, or it runs another graph.
        """
        variables = self._whole_variables("set_weights")
        if len(weights) != len(variables):
            raise ValueError(
                f"You called `set_weights(weights)` on layer {self.name!r} with a weight list of length "
                f"{len(weights)}, but the layer was expecting {len(variables)} weights"
                + ("." if self.built else ": it is not built; apply it, or call its `build`.")
            )
        for variable, values in zip(variables, weights, strict=True):
            if not variable.shape.is_compatible_with(np.shape(values)):
                raise ValueError(
                    f"Layer weight shape {variable.shape} not compatible with provided weight shape "
                    f"{np.shape(values)}: `weights` must have the shapes of `layer.weights`."
                )
        if variables:
            feeds = {
                variable.initializer.inputs[1]: values for variable, values in zip(variables, weights, strict=True)
            }
            self._session("set_weights", variables).run([variable.initializer for variable in variables], feeds)

    def _whole_variables(self, method):
        variables = self.weights
        if any(len(parts(variable)) != 1 or parts(variable)[0] is not variable for variable in variables):
            raise ValueError(
                f"A partitioner has split a variable of layer {self.name!r}, which `{method}` does not put together; "
                "run or assign the parts, `list(layer.gamma)`, in the session."
            )
        return variables

    def _session(self, method, variables):
        session = tf.get_default_session()
        if session is None or session.graph is not variables[0].graph:
            found = "there is no default session" if session is None else "the default session runs another graph"
            raise GraphError(
                f"`{method}` of layer {self.name!r} needs the session that holds its variables, and {found}; call it "
                "inside `with session.as_default():`."
            )
        return session

    def __getattr__(self, name):
        if name in _ABSENT:
            raise AttributeError(f"Layer {self.name} has no `{name}`: {_ABSENT[name]}.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
