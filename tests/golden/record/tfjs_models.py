"""Models of the real converter of TensorFlow.js; test_tfjs.py reads them without it.

    python tests/golden/record/tfjs_models.py                    says what would be written, writes nothing
    python tests/golden/record/tfjs_models.py --write            writes tfjs/ if it is missing
    python tests/golden/record/tfjs_models.py --write --force    writes it again

Needs tensorflowjs and tf_keras. The decision forests that the package imports are not needed, and need not be there.
``layers*`` are layers models, as they are and quantized; ``graph*`` graph models. One channel's variance is so small
beside the others' that 8 bits make it 0. ``expected.json`` has the values and versions.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import types

os.environ["TF_USE_LEGACY_KERAS"] = "1"
FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tfjs")
QUANTIZED = {"": None, "_uint8": {"uint8": "*"}, "_uint16": {"uint16": "*"}, "_float16": {"float16": "*"}}


def network(keras, numpy):
    """A model whose batch norm has values as training leaves them."""
    inputs = keras.Input((5, 5, 3))
    values = keras.layers.Conv2D(4, 1, activation="relu", name="conv")(inputs)
    outputs = keras.layers.BatchNormalization(epsilon=2e-3, momentum=0.97, name="bn")(values)
    model = keras.Model(inputs, outputs)
    rows = [[1.1, 0.9, 1.3, 0.7], [0.2, -0.3, 0.1, 0.4], [0.5, 1.7, 0.9, 0.01], [40.5, 3.25, 17.1, 0.0021]]
    model.get_layer("bn").set_weights([numpy.array(row, "float32") for row in rows])
    return model, dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), rows, strict=True))


def record(folder):
    """Write every model in a folder of its own."""
    sys.modules.setdefault("tensorflow_decision_forests", types.ModuleType("tensorflow_decision_forests"))
    import numpy
    import tensorflow as tf
    import tensorflowjs
    import tf_keras as keras
    from tensorflowjs.converters import tf_saved_model_conversion_v2 as conversion

    tf.random.set_seed(1)
    model, values = network(keras, numpy)
    for name, quantization in QUANTIZED.items():
        path = os.path.join(folder, "layers" + name)
        tensorflowjs.converters.save_keras_model(model, path, quantization_dtype_map=quantization)
    with tempfile.TemporaryDirectory() as saved:
        model.export(saved)
        for name in ("", "_uint8"):
            conversion.convert_tf_saved_model(
                saved,
                os.path.join(folder, "graph" + name),
                skip_op_check=True,
                quantization_dtype_map=QUANTIZED[name],
            )
    expected = {"tensorflowjs": tensorflowjs.__version__, "tensorflow": tf.__version__, "values": values}
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(expected, file, indent=1, sort_keys=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args()
    if os.path.exists(FOLDER) and not args.force:
        sys.exit(FOLDER + " is there; --force writes it again")
    with tempfile.TemporaryDirectory() as folder:
        record(folder)
        for base, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                print(os.path.relpath(os.path.join(base, name), folder), os.path.getsize(os.path.join(base, name)))
        if args.write:
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(folder, FOLDER)


if __name__ == "__main__":
    main()
