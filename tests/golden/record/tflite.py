"""Models of TensorFlow Lite, by TensorFlow's converter, of a Keras model with four batch norms.

    python tests/golden/record/tflite.py                    says what would be written, writes nothing
    python tests/golden/record/tflite.py --write            writes tflite/ if it is missing
    python tests/golden/record/tflite.py --write --force    writes it again

Needs TensorFlow 2.16 or later. The batch norms follow a convolution without a bias, a depthwise convolution with two
kernels per channel, a pooling, which nothing can be folded into, and a dense layer; all have epsilon 2e-3.
``weights.npz`` has the variables, ``float32.tflite``, ``float16.tflite`` and ``int8.tflite`` the model with weights of
these dtypes, ``version.json`` the version. ``other.npz`` and ``other.tflite`` have a model of the other layers with
kernels, a transposed and a three-dimensional convolution, without batch norms.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "tflite"


def network(keras, numpy):
    """The model with four batch norms."""
    layers = keras.layers
    values = inputs = keras.Input((8, 8, 3))
    values = layers.Conv2D(4, 3, use_bias=False, name="conv")(values)
    values = layers.ReLU()(layers.BatchNormalization(name="conv_bn", epsilon=2e-3)(values))
    values = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(values)
    values = layers.MaxPool2D(2)(layers.BatchNormalization(name="depthwise_bn", epsilon=2e-3)(values))
    values = layers.ReLU()(layers.BatchNormalization(name="pool_bn", epsilon=2e-3)(values))
    values = layers.Dense(5, name="dense")(layers.Flatten()(values))
    return drawn(numpy, keras.Model(inputs, layers.BatchNormalization(name="dense_bn", epsilon=2e-3)(values)))


def other_network(keras, numpy):
    """A transposed and a three-dimensional convolution, whose kernels have another size along each axis."""
    layers = keras.layers
    image, volume = keras.Input((4, 4, 3), batch_size=1), keras.Input((4, 4, 4, 2), batch_size=1)
    transposed = layers.Conv2DTranspose(5, (2, 4), name="transposed")(image)
    return drawn(numpy, keras.Model([image, volume], [transposed, layers.Conv3D(4, (1, 2, 3), name="solid")(volume)]))


def drawn(numpy, model):
    """The model with weights drawn at random."""
    draw = numpy.random.RandomState(0)
    for variable in model.weights:
        low, high = (0.2, 3.0) if variable.path.endswith(("gamma", "variance")) else (-1.0, 1.0)
        variable.assign(draw.uniform(low, high, variable.shape))
    return model


def converted(tf, numpy, model, dtype):
    """The bytes of the model with weights of a dtype; of float32, if it is another."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if dtype in ("float16", "int8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if dtype == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if dtype == "int8":
        draw = numpy.random.RandomState(1)
        converter.representative_dataset = lambda: ([draw.normal(size=(1, 8, 8, 3)).astype("f")] for _ in range(8))
    return converter.convert()


def record(folder):
    """Write every file."""
    import keras
    import numpy
    import tensorflow as tf

    for file, model, dtypes in (
        ("weights", network(keras, numpy), ("float32", "float16", "int8")),
        ("other", other_network(keras, numpy), ("other",)),
    ):
        numpy.savez(folder / f"{file}.npz", **{variable.path: numpy.asarray(variable) for variable in model.weights})
        for dtype in dtypes:
            (folder / f"{dtype}.tflite").write_bytes(converted(tf, numpy, model, dtype))
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    (folder / "version.json").write_text(json.dumps(versions, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args()
    if FOLDER.exists() and not args.force:
        sys.exit(f"{FOLDER} is there; --force writes it again")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        record(folder)
        for path in sorted(folder.iterdir()):
            print(path.name, path.stat().st_size)
        if args.write:
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(folder, FOLDER)


if __name__ == "__main__":
    main()
