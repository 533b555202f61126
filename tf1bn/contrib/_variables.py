"""The functions of ``tf.contrib.framework`` in TF 1.15 that make, find and assign variables."""

import re

import tensorflow as _tf

from ..layers.arg_scopes import add_arg_scope
from ..layers.graph_collections import builds_graph, collect

tf = _tf.compat.v1


@add_arg_scope
@builds_graph
def variable(
    name,
    shape=None,
    dtype=None,
    initializer=None,
    regularizer=None,
    trainable=True,
    collections=None,
    caching_device=None,
    device=None,
    partitioner=None,
    custom_getter=None,
    use_resource=None,
    synchronization=tf.VariableSynchronization.AUTO,
    aggregation=tf.VariableAggregation.NONE,
):
    """``tf.get_variable`` on a `device`, a string or a function; `collections` defaults to GLOBAL_VARIABLES."""
    collections = [tf.GraphKeys.GLOBAL_VARIABLES] if collections is None else collections
    getter, options = tf.get_variable, {}
    if custom_getter is not None:
        getter, options = custom_getter, {"reuse": tf.get_variable_scope().reuse}
    with tf.device(device or ""):
        return getter(
            name,
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            regularizer=regularizer,
            trainable=trainable,
            collections=list(dict.fromkeys(collections)),
            caching_device=caching_device,
            partitioner=partitioner,
            use_resource=use_resource,
            synchronization=synchronization,
            aggregation=aggregation,
            **options,
        )


@add_arg_scope
@builds_graph
def model_variable(name, shape=None, dtype=_tf.float32, initializer=None, regularizer=None, trainable=True,
                   collections=None, **options):  # fmt: skip
    """A `variable` that is put into MODEL_VARIABLES too."""
    collections = [*(collections or []), tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES]
    return variable(name, shape, dtype, initializer, regularizer, trainable, collections, **options)


@builds_graph
def local_variable(initial_value, validate_shape=True, name=None, use_resource=None):
    """A variable that is in LOCAL_VARIABLES alone and is not trained."""
    return _untrained(tf.GraphKeys.LOCAL_VARIABLES, initial_value, validate_shape, name, use_resource)


@builds_graph
def global_variable(initial_value, validate_shape=True, name=None, use_resource=None):
    """A variable that is in GLOBAL_VARIABLES and is not trained."""
    return _untrained(tf.GraphKeys.GLOBAL_VARIABLES, initial_value, validate_shape, name, use_resource)


@builds_graph
def add_model_variable(var):
    """Put a variable into MODEL_VARIABLES, unless it is there."""
    collect(var, tf.GraphKeys.MODEL_VARIABLES)


@builds_graph
def get_variables(scope=None, suffix=None, collection=tf.GraphKeys.GLOBAL_VARIABLES):
    """The variables of a collection whose name begins with `scope`, a name or a variable scope, and ends in `suffix`.

    Both are regular expressions, matched at the beginning of the name.
    """
    if isinstance(scope, tf.VariableScope):
        scope = scope.name
    if suffix is not None:
        scope = (scope or "") + ".*" + (suffix if ":" in suffix else suffix + ":")
    return tf.get_collection(collection, scope)


@builds_graph
def get_model_variables(scope=None, suffix=None):
    """`get_variables` of MODEL_VARIABLES."""
    return get_variables(scope, suffix, tf.GraphKeys.MODEL_VARIABLES)


@builds_graph
def get_local_variables(scope=None, suffix=None):
    """`get_variables` of LOCAL_VARIABLES."""
    return get_variables(scope, suffix, tf.GraphKeys.LOCAL_VARIABLES)


@builds_graph
def get_trainable_variables(scope=None, suffix=None):
    """`get_variables` of TRAINABLE_VARIABLES."""
    return get_variables(scope, suffix, tf.GraphKeys.TRAINABLE_VARIABLES)


@builds_graph
def get_variables_by_suffix(suffix, scope=None):
    """The variables whose name ends in `suffix`."""
    return get_variables(scope, suffix)


@builds_graph
def get_variables_by_name(given_name, scope=None):
    """The variables whose name without its scopes is `given_name`."""
    return get_variables(scope, f"/{given_name}:|^{given_name}:")


@builds_graph
def get_unique_variable(var_op_name):
    """The variable whose whole name is `var_op_name`.

    Raises:
      ValueError: there is none.
    """
    for var in get_variables(var_op_name):
        if var.op.name == var_op_name:
            return var
    raise ValueError(f"`var_op_name` is {var_op_name!r}, and no variable has that name.")


@builds_graph
def get_variables_to_restore(include=None, exclude=None):
    """The global variables in the scopes `include` (None: all) that are in none of `exclude`.

    Raises:
      TypeError: one of the two is neither None nor a list or tuple of scopes.
    """
    for name, scopes in (("include", include), ("exclude", exclude)):
        if scopes is not None and not isinstance(scopes, (list, tuple)):
            raise TypeError(f"`{name}` is {scopes!r}; it must be a list or tuple of scopes, or None.")
    excluded = {id(var) for scope in exclude or () for var in get_variables(scope)}
    included = get_variables() if include is None else [var for scope in include for var in get_variables(scope)]
    return [var for var in included if id(var) not in excluded]


def filter_variables(var_list, include_patterns=None, exclude_patterns=None, reg_search=True):
    """The variables of a list whose names match one of `include_patterns` (None: any) and none of `exclude_patterns`.

    Args:
      reg_search: whether a pattern may match anywhere in the name, not only at its beginning.
    """
    match = re.search if reg_search else re.match

    def matched(var, patterns):
        return any(match(pattern, var.name) for pattern in patterns)

    kept = [var for var in var_list if include_patterns is None or matched(var, include_patterns)]
    return [var for var in kept if not matched(var, exclude_patterns or ())]


def get_variable_full_name(var):
    """The name of a variable in checkpoints; a part of a partitioned variable has the name of the whole."""
    return re.sub(r"/part_\d+$", "", var.op.name)


def get_global_step(graph=None):
    """The global step.

    Raises:
      ValueError: there is none.
    """
    step = tf.train.get_global_step(graph)
    if step is None:
        raise ValueError("There is no global step in the graph; `get_or_create_global_step` makes one.")
    return step


def assert_or_get_global_step(graph=None, global_step_tensor=None):
    """`global_step_tensor` if it can be a global step, or the one of the graph if it is None."""
    if global_step_tensor is None:
        return get_global_step(graph)
    tf.train.assert_global_step(global_step_tensor)
    return global_step_tensor


@builds_graph
def assign_from_values(var_names_to_values):
    """An operation that gives variables their values, and the feeds that it has to be run with.

    Args:
      var_names_to_values: dict from whole names to arrays.

    Raises:
      ValueError: there is no such variable.
    """
    return _assignments([(get_unique_variable(name), value) for name, value in var_names_to_values.items()])


@builds_graph
def assign_from_values_fn(var_names_to_values):
    """A function that runs `assign_from_values` in a session."""
    assign, feeds = assign_from_values(var_names_to_values)
    return lambda session: session.run(assign, feeds)


@builds_graph
def assign_from_checkpoint(model_path, var_list, ignore_missing_vars=False):
    """An operation that gives variables the values in a checkpoint, and the feeds that it has to be run with.

    Args:
      var_list: a list of variables, or a dict from names in the checkpoint to a variable.

    Raises:
      ValueError: the checkpoint lacks a variable and not `ignore_missing_vars`, or holds one of another shape.
    """
    reader = tf.train.load_checkpoint(model_path)
    named = var_list if isinstance(var_list, dict) else {get_variable_full_name(var): var for var in var_list}
    pairs = []
    for name, var in named.items():
        if isinstance(var, (list, tuple)) or get_variable_full_name(var) != var.op.name:
            raise ValueError(f"`var_list` holds {name!r} in parts; restore it with `tf.train.Saver`.")
        if not reader.has_tensor(name):
            if not ignore_missing_vars:
                raise ValueError(f"`var_list` holds {name!r}, which the checkpoint {model_path} lacks.")
            tf.logging.warning("Variable %s is missing in the checkpoint %s", name, model_path)
            continue
        value = reader.get_tensor(name)
        if not var.shape.is_compatible_with(value.shape):
            raise ValueError(f"`var_list` holds {name!r} of shape {var.shape}, in the checkpoint it has {value.shape}.")
        pairs.append((var, value))
    return _assignments(pairs)


@builds_graph
def assign_from_checkpoint_fn(model_path, var_list, ignore_missing_vars=False, reshape_variables=False):
    """A function of a session that restores variables from a checkpoint; None if it holds none of them.

    Args:
      model_path, var_list, ignore_missing_vars: as in `assign_from_checkpoint`.
      reshape_variables: whether a variable may have another shape with as many elements.

    Raises:
      ValueError: `var_list` is empty.
    """
    if not var_list:
        raise ValueError("`var_list` is empty; give the variables to restore.")
    named = var_list if isinstance(var_list, dict) else {var.op.name: var for var in var_list}
    if ignore_missing_vars:
        reader = tf.train.load_checkpoint(model_path)
        for name in [name for name in named if not reader.has_tensor(name)]:
            tf.logging.warning("Variable %s is missing in the checkpoint %s", name, model_path)
        named = {name: var for name, var in named.items() if reader.has_tensor(name)}
        if not named:
            tf.logging.warning("No Variables to restore")
            return None
    saver = tf.train.Saver(named, reshape=reshape_variables)
    return lambda session: saver.restore(session, model_path)


def _untrained(collection, initial_value, validate_shape, name, use_resource):
    return tf.Variable(
        initial_value,
        trainable=False,
        collections=[collection],
        validate_shape=validate_shape,
        name=name,
        use_resource=use_resource,
    )


def _assignments(pairs):
    feeds, assigns = {}, []
    for var, value in pairs:
        fed = tf.placeholder(var.dtype.base_dtype, var.shape, f"placeholder/{var.op.name}")
        assigns.append(tf.assign(var, fed))
        feeds[fed] = value.reshape(var.shape)
    return tf.group(*assigns), feeds
