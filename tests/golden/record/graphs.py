"""Graphs of the real TF 1.x: frozen ones, and those that lie beside checkpoints as ``.meta``.

    python tests/golden/record/graphs.py                    says what would be written, writes nothing
    python tests/golden/record/graphs.py --write            writes graphs/ if it is missing
    python tests/golden/record/graphs.py --write --force    writes it again

Needs TF 1.13 to 1.15. A convolution and a batch norm are trained for three steps, at decay .97 and epsilon 2e-3. The
names say how: ``fused`` and ``composed`` as they should be, ``unscaled`` without gamma, ``switched`` with a placeholder
for is_training, ``forgotten`` without the update operations, ``inference`` with is_training=False. NAME.pb is frozen
as it was trained, NAME_inference.pb was built anew for inference, NAME_folded.pb went through fold_batch_norms.
``expected.json`` has the values of the variables, and the version.
"""

import argparse
import gzip
import json
import os
import shutil
import sys
import tempfile

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "graphs")
CASES = {
    "fused": {},
    "composed": {"fused": False},
    "unscaled": {"fused": False, "scale": False},
    "switched": {"switch": True},
    "switched_composed": {"switch": True, "fused": False},
    "forgotten": {"updates": False},
    "inference": {"training": False},
}
FOLDED = ("fused", "composed", "unscaled")


def layer(tf, training, case):
    """The input and the output of the network."""
    inputs = tf.placeholder(tf.float32, [None, 3, 3, 2], "x")
    values = tf.layers.conv2d(inputs, 4, 1, name="conv")
    values = tf.contrib.layers.batch_norm(
        values,
        decay=0.97,
        epsilon=2e-3,
        is_training=training,
        fused=case.get("fused", True),
        scale=case.get("scale", True),
        scope="bn",
    )
    return inputs, tf.identity(values, "out")


def train(tf, numpy, folder, name, case):
    """Train, save and freeze; returns the values of the variables by name."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        switch = case.get("switch", False)
        training = tf.placeholder_with_default(False, [], "flag") if switch else case.get("training", True)
        inputs, outputs = layer(tf, training, case)
        loss = tf.reduce_mean(tf.square(outputs - 1.0))
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if case.get("updates", True) else []
        step = tf.Variable(0, trainable=False, name="global_step", dtype=tf.int64)
        with tf.control_dependencies(updates):
            operation = tf.train.GradientDescentOptimizer(0.001).minimize(loss, global_step=step)
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            data = numpy.random.RandomState(0)
            for _ in range(3):
                feed = {inputs: data.normal(2, 3, (8, 3, 3, 2)).astype("f")}
                if switch:
                    feed[training] = True
                session.run(operation, feed)
            saver.save(session, os.path.join(folder, name), write_state=False)
            freeze(tf, session, os.path.join(folder, name + ".pb"))
            return {one.op.name: session.run(one).tolist() for one in tf.global_variables()}


def freeze(tf, session, path):
    """Write the graph of a session with constants in the place of variables; returns it."""
    graph = tf.graph_util.convert_variables_to_constants(session, tf.get_default_graph().as_graph_def(), ["out"])
    with open(path, "wb") as file:
        file.write(graph.SerializeToString())
    return graph


def rebuild(tf, folder, name, case):
    """Freeze the network as it is built for inference, and once more with its batch norm folded."""
    from tensorflow.tools.graph_transforms import TransformGraph

    with tf.Graph().as_default():
        layer(tf, False, case)
        saver = tf.train.Saver()
        with tf.Session() as session:
            saver.restore(session, os.path.join(folder, name))
            graph = freeze(tf, session, os.path.join(folder, name + "_inference.pb"))
    transforms = ["fold_constants(ignore_errors=true)", "fold_batch_norms"]
    with open(os.path.join(folder, name + "_folded.pb"), "wb") as file:
        file.write(TransformGraph(graph, ["x"], ["out"], transforms).SerializeToString())


def record(folder):
    """Write every file."""
    import numpy
    import tensorflow as tf

    expected = {"tensorflow": tf.__version__, "values": {}}
    for name, case in sorted(CASES.items()):
        expected["values"][name] = train(tf, numpy, folder, name, case)
        if name in FOLDED:
            rebuild(tf, folder, name, case)
        meta = os.path.join(folder, name + ".meta")
        with open(meta, "rb") as file, open(meta + ".gz", "wb") as raw:
            # Without the time, so that the same graph gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                packed.write(file.read())
        os.remove(meta)
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(expected, file, indent=1, sort_keys=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args()
    if os.path.exists(FOLDER) and not args.force:
        sys.exit(FOLDER + " is there; --force writes it again")
    folder = tempfile.mkdtemp()
    try:
        record(folder)
        for name in sorted(os.listdir(folder)):
            print(name, os.path.getsize(os.path.join(folder, name)))
        if args.write:
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(folder, FOLDER)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
