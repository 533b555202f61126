# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: RUF005, UP009, UP010, UP031
"""``batch_norm`` in two replicas of a MirroredStrategy, run by the TensorFlow that runs this file: 1.15, or tf1bn.

    python tests/golden/record/replicas.py                    prints the statistics of each case as JSON
    python tests/golden/record/replicas.py --write            in 1.15: writes replicas.json if missing
    python tests/golden/record/replicas.py --write --force    writes it again

Replica 1 gets the inputs of replica 0 times 2, plus 10. In test_replicas.py tf1bn is run by this file in a process of
its own, because logical devices must be made before TensorFlow starts.
"""

from __future__ import absolute_import, division, print_function

import collections
import json
import os
import sys

import numpy as np

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "replicas.json")
CASES = collections.OrderedDict(
    [
        ("core fused", {}),
        ("core composed", {"fused": False}),
        ("own fused", {"updates_collections": None}),
        ("own fused, collected", {"updates_collections": "mine"}),
        ("own composed", {"fused": False, "updates_collections": None}),
        ("own composed, collected", {"fused": False, "updates_collections": "mine"}),
        ("own fused, zero debias", {"zero_debias_moving_mean": True}),
        ("own composed, zero debias", {"fused": False, "zero_debias_moving_mean": True}),
        ("own composed, weights", {"fused": False, "batch_weights": [1.0, 2.0, 3.0, 4.0]}),
        ("core fused, fed", {"is_training": "fed"}),
        ("core composed, fed", {"fused": False, "is_training": "fed"}),
        ("own fused, fed", {"updates_collections": None, "is_training": "fed"}),
        ("own composed, fed", {"fused": False, "updates_collections": None, "is_training": "fed"}),
        ("renorm", {"renorm": True}),
    ]
)


def observed(tf, compat, batch_norm, run, arguments):
    """The variables after three steps of a layer in two replicas, the second with ``is_training`` False if it is fed.

    Args:
      tf, compat: the module for strategies, and that for graphs.
      run: the name of the strategy's method that runs a function in each replica.

    Returns:
      A dict from the names of the variables to their values as nested lists; or the name of the exception.
    """
    with compat.Graph().as_default():
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        x, flag = compat.placeholder(tf.float32, [None, 4, 4, 3]), compat.placeholder(tf.bool, [])
        arguments = dict(arguments)
        if arguments.get("is_training") == "fed":
            arguments["is_training"] = flag

        def build():
            number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
            return batch_norm(x * (1.0 + number) + 10.0 * number, decay=0.9, scope="bn", **arguments)

        with strategy.scope():
            try:
                outputs = strategy.experimental_local_results(getattr(strategy, run)(build))
                todo = [outputs, compat.get_collection(compat.GraphKeys.UPDATE_OPS), compat.get_collection("mine")]
                with compat.Session(config=compat.ConfigProto(device_count={"CPU": 2})) as session:
                    session.run(compat.global_variables_initializer())
                    for step in range(3):
                        batch = np.random.RandomState(step).normal(3, 2, (4, 4, 4, 3)).astype(np.float32)
                        session.run(todo, {x: batch, flag: step != 1})
                    variables = compat.global_variables()
                    values = session.run([variable.read_value() for variable in variables])
            except Exception as error:
                return type(error).__name__
            return {variable.name: value.tolist() for variable, value in zip(variables, values)}  # noqa: B905


def main(arguments):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    original = tf.__version__.startswith("1.")
    if original:
        from tensorflow.contrib.layers import batch_norm
    else:
        from tf1bn import batch_norm

        cpus = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    run = "experimental_run_v2" if original else "run"
    seen = collections.OrderedDict(
        (name, observed(tf, tf.compat.v1, batch_norm, run, case)) for name, case in CASES.items()
    )
    seen["made by"] = "TensorFlow %s, Python %d.%d" % ((tf.__version__,) + sys.version_info[:2])
    if "--write" not in arguments:
        print(json.dumps(seen, sort_keys=True))
        return 0
    if not original or (os.path.exists(PATH) and "--force" not in arguments):
        print("%s is written by TensorFlow 1.15, and again with --force only" % PATH, file=sys.stderr)
        return 1
    with open(PATH, "w") as file:
        file.write(json.dumps(seen, sort_keys=True, indent=1, separators=(",", ": ")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
