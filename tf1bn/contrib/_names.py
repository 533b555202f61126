"""The names of ``tf.contrib`` that tf1bn provides, and what to use instead of those that it does not."""

from ._lent_names import (
    CHECKS,
    CRF,
    DATA_MODULES,
    DATASETS,
    DISTRIBUTIONS,
    KERAS,
    LEGACY_SEQ2SEQ,
    LENT_LAYERS,
    LENT_MODULES,
    MNIST,
    NEST,
    RNN,
    SIGNAL,
    SLIM_MODULES,
    TRAINING,
    VOCABULARY,
    WINDOWS,
)

_ARG_SCOPE = dict.fromkeys(
    ("arg_scope", "add_arg_scope", "current_arg_scope", "has_arg_scope", "arg_scoped_arguments", "arg_scope_func_key"),
    "layers.arg_scopes",
)
_VARIABLES = dict.fromkeys(
    [
        "add_model_variable",
        "assert_or_get_global_step",
        "assign_from_checkpoint",
        "assign_from_checkpoint_fn",
        "assign_from_values",
        "assign_from_values_fn",
        "filter_variables",
        "get_global_step",
        "get_local_variables",
        "get_model_variables",
        "get_trainable_variables",
        "get_unique_variable",
        "get_variable_full_name",
        "get_variables",
        "get_variables_by_name",
        "get_variables_by_suffix",
        "get_variables_to_restore",
        "global_variable",
        "local_variable",
        "model_variable",
        "variable",
    ],
    "contrib._variables",
)
_VARIABLES |= {"VariableDeviceChooser": "tf_slim.ops.variables"}
_VARIABLES |= {
    name: f"tf.train.{name}" for name in ("assert_global_step", "create_global_step", "get_or_create_global_step")
}
_INITIALIZERS = dict.fromkeys(
    ("xavier_initializer", "xavier_initializer_conv2d", "variance_scaling_initializer"), "contrib._initializers"
)
_REGULARIZERS = dict.fromkeys(
    ("l1_regularizer", "l2_regularizer", "l1_l2_regularizer", "sum_regularizer", "apply_regularization"),
    "contrib._regularizers",
)
_UTILS = dict.fromkeys(
    [
        "collect_named_outputs",
        "append_tensor_alias",
        "get_tensor_aliases",
        "gather_tensors_aliases",
        "convert_collection_to_dict",
        "get_variable_collections",
        "two_element_tuple",
        "n_positive_integers",
        "last_dimension",
        "channel_dimension",
        "constant_value",
        "static_cond",
        "smart_cond",
    ],
    "contrib._utils",
)
_LAYERS = {"batch_norm": "layers.contrib_batch_norm"}
_LAYERS |= dict.fromkeys(
    [
        "avg_pool2d",
        "bias_add",
        "dropout",
        "elu",
        "flatten",
        "fully_connected",
        "linear",
        "max_pool2d",
        "one_hot_encoding",
        "relu",
        "relu6",
        "repeat",
        "softmax",
        "stack",
    ],
    "contrib._layers",
)
_LAYERS |= dict.fromkeys(
    [
        "conv2d",
        "conv2d_transpose",
        "convolution2d",
        "convolution2d_transpose",
        "separable_conv2d",
        "separable_convolution2d",
    ],
    "contrib._convolutions",
)
_FRAMEWORK = {**_ARG_SCOPE, **_VARIABLES, **CHECKS}
_FRAMEWORK |= {name: f"tf.train.{name}" for name in ("init_from_checkpoint", "list_variables", "load_checkpoint")}
_FRAMEWORK |= {"load_variable": "tf.train.load_variable", "nest": ":framework.nest", "is_tensor": "tf.is_tensor"}
_ALL_LAYERS = {**_LAYERS, **LENT_LAYERS, **_INITIALIZERS, **_REGULARIZERS}

# What each module of `tf.contrib` holds: for each name the module of tf1bn that defines it, the name in `tf` that it
# stands for, the module of tf_slim that it is lent from, or, after a colon, the module of `tf.contrib` that it is.
# A module that is lent whole has the name of its original in place of a table.
TREE = {
    "": {
        name: f":{name}"
        for name in (
            *("compiler", "crf", "data", "distributions", "framework", "keras", "layers", "learn", "legacy_seq2seq"),
            *("losses", "metrics", "rnn", "seq2seq", "signal", "slim", "training", "util"),
        )
    },
    "rnn": RNN,
    "signal": {**SIGNAL, "python": ":signal.python"},
    "signal.python": {"ops": ":signal.python.ops"},
    "signal.python.ops": {"window_ops": ":signal.python.ops.window_ops"},
    "signal.python.ops.window_ops": WINDOWS,
    "compiler": {"jit": ":compiler.jit"},
    "compiler.jit": {"experimental_jit_scope": "tf.xla.experimental.jit_scope"},
    "crf": CRF,
    "distributions": DISTRIBUTIONS,
    "keras": KERAS,
    "legacy_seq2seq": LEGACY_SEQ2SEQ,
    "seq2seq": {"sequence_loss": "contrib._other.seq2seq"},
    "learn": {
        "ModeKeys": "contrib._other.learn",
        **{name: f":learn.{name}" for name in ("datasets", "preprocessing", "python")},
    },
    **{f"{above}.preprocessing": VOCABULARY for above in ("learn", "learn.python.learn")},
    "learn.python": {"learn": ":learn.python.learn"},
    "learn.python.learn": {"datasets": ":learn.datasets", "preprocessing": ":learn.python.learn.preprocessing"},
    **{f"{above}.datasets": {"mnist": ":learn.datasets.mnist"} for above in ("learn", "learn.python.learn")},
    **{f"{above}.datasets.mnist": MNIST for above in ("learn", "learn.python.learn")},
    "data": DATASETS,
    "losses": "tf_slim.losses",
    "metrics": "tf_slim.metrics",
    "training": TRAINING,
    "util": {name: f"tf.{name}" for name in ("make_ndarray", "make_tensor_proto")}
    | {"constant_value": "tf.get_static_value"},
    "layers": {**_ALL_LAYERS, "python": ":layers.python"},
    "layers.python": {"layers": ":layers.python.layers"},
    "layers.python.layers": {
        **_ALL_LAYERS,
        **{name: f":layers.python.layers.{name}" for name in ("layers", "utils", "initializers", "regularizers")},
    },
    "layers.python.layers.layers": {**_LAYERS, **LENT_LAYERS, "utils": ":layers.python.layers.utils"},
    "layers.python.layers.initializers": _INITIALIZERS,
    "layers.python.layers.regularizers": _REGULARIZERS,
    "layers.python.layers.utils": _UTILS,
    "framework": {**_FRAMEWORK, "python": ":framework.python"},
    "framework.nest": NEST,
    "framework.python": {"ops": ":framework.python.ops"},
    "framework.python.ops": {**_ARG_SCOPE, **_VARIABLES, "variables": ":framework.python.ops.variables"},
    "framework.python.ops.arg_scope": _ARG_SCOPE,
    "framework.python.ops.variables": _VARIABLES,
    "slim": {
        **SLIM_MODULES,
        **_ARG_SCOPE,
        **_VARIABLES,
        **_ALL_LAYERS,
        "layers": ":layers.python.layers.layers",
        "utils": ":layers.python.layers.utils",
        "initializers": ":layers.python.layers.initializers",
        "regularizers": ":layers.python.layers.regularizers",
        **{name: f":slim.{name}" for name in LENT_MODULES if "." not in name},
        **{name: f":slim.data.{name}" for name in DATA_MODULES},
        "python": ":slim.python",
    },
    "slim.python": {"slim": ":slim.python.slim"},
    "slim.python.slim": {name: f":slim.{name}" for name in LENT_MODULES if "." not in name},
    **{f"{above}.{name}": f"tf_slim.{name}" for name in LENT_MODULES for above in ("slim", "slim.python.slim")},
}

# What to use instead of names that are not here; without an entry the answer is general.
_INSTEAD = {
    "rnn": "another cell of tf.nn.rnn_cell, or a cell of your own below its RNNCell; both need the package tf_keras",
    "cudnn_rnn": "tf.nn.rnn_cell, which needs the package tf_keras",
    "seq2seq": "a decoding loop of your own with tf.while_loop; the package tensorflow_addons, which had it after "
    "TensorFlow 1.15, does not import beside TensorFlow 2.21",
    "legacy_seq2seq": "tf.nn.rnn_cell with a loop over time",
    "data": "tf.data",
    "lookup": "tf.lookup",
    "losses": "tf.losses, where the labels come before the logits",
    "metrics": "tf.metrics",
    "summary": "tf.summary with a FileWriter, or tf.compat.v2.summary",
    "image": "tf.image",
    **dict.fromkeys(("rotate", "transform", "translate"), "tf.raw_ops.ImageProjectiveTransformV3"),
    "distributions": "the package tensorflow_probability",
    "bayesflow": "the package tensorflow_probability",
    "opt": "tf.train, or write the update with tf.assign",
    "learn": "plain graph code; estimators have left TensorFlow",
    "estimator": "plain graph code; estimators have left TensorFlow",
    "MovingAverageOptimizer": "tf.train.ExponentialMovingAverage after the optimizer's step",
    "ScipyOptimizerInterface": "scipy.optimize.minimize with a function that runs the loss and its gradients",
    "quantize": "the package tensorflow_model_optimization",
    "model_pruning": "the package tensorflow_model_optimization",
    "distribute": "tf.distribute",
    "receptive_field": "the sizes and strides of the layers, from which it is computed",
    "training": "tf.train and tf.data",
    "set_ops": "tf.sets",
    "tensorboard": "the package tensorboard",
    "nccl": "tf.distribute, or tf.add_n of what the devices computed",
    "tensorrt": "an export to ONNX, which TensorRT reads",
    "cluster_resolver": "tf.distribute.cluster_resolver",
    "tfprof": "tf.profiler",
    "eager": "tf.GradientTape in a script of its own",
    "autograph": "tf.autograph",
    "graph_editor": "tf.graph_util and tf.import_graph_def",
    "util": "tf.make_tensor_proto and tf.make_ndarray",
    "tpu": "tf.tpu",
    **dict.fromkeys(
        ("InputPipelineConfig", "RunConfig", "TPUConfig", "TPUEstimator", "TPUEstimatorSpec"),
        "plain graph code; estimators have left TensorFlow",
    ),
    "CrossShardOptimizer": "tf.tpu.cross_replica_sum on the gradients",
    "crf": "crf_log_norm or crf_decode, which are there",
    "nets": "a copy of the network's file from the TF-slim model collection beside your script",
    "smart_cond": "tf.cond",
    "sort": "tf.sort",
    "py_func": "tf.py_func",
}


def missing(path):
    """The sentence about ``path``, such as "layers.layer_norm", which is not in `tf.contrib` here."""
    name = path.rpartition(".")[2]
    instead = next((_INSTEAD[part] for part in reversed(path.split(".")) if part in _INSTEAD), None)
    use = f"use {instead}" if instead else "replace it with its successor in today's TensorFlow"
    return f"tf1bn does not provide `tf.contrib.{path}`, and TensorFlow 2 has no `{name}` of contrib: {use}."
