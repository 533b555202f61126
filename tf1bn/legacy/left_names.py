"""Names that have left TensorFlow since 1.15: what to use in the place of modules, and new names inside them."""

# What to use in the place of modules of ``tensorflow`` that have left it.
GONE = {
    "examples": "put a copy of the example's file beside your script and import that",
    "estimator": "call the model function yourself, with `tf.data` for its input, and run its `train_op` in a "
    "`tf.train.MonitoredTrainingSession`: tensorflow-estimator, up to its last release 2.15, does not import beside "
    "TensorFlow 2.21",
    "models": "put a copy of the file from the model collection beside your script and import that",
}


def renamed(module, name):
    """The name that an internal module such as "tensorflow.python.util.nest" has today for what was ``name`` in 1.x."""
    if module.rpartition(".")[2].startswith("gen_"):
        # Until TensorFlow 1.7 generated operations had a line before their names.
        return name.removeprefix("_")
    return {("tensorflow.python.util.nest", "is_sequence"): "is_nested"}.get((module, name), name)
