"""ONNX models of the real exporter of PyTorch, and of the onnx package; test_onnx.py reads them without either.

    python tests/golden/record/onnx_models.py                    says what would be written, writes nothing
    python tests/golden/record/onnx_models.py --write            writes onnx/ if it is missing
    python tests/golden/record/onnx_models.py --write --force    writes it again

Needs torch, onnx and onnxscript. ``trained.onnx`` and ``training.onnx`` are what PyTorch exports of a network in
evaluation and in training mode, ``folded.onnx`` what it makes of a convolution before a batch norm; ``external.onnx``
and ``typed.onnx`` are the first with its numbers in another file, and with numbers that are not raw. ``expected.json``
has the values and versions.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from golden.record import torch_checkpoints

FOLDER = os.path.join(torch_checkpoints.GOLDEN, "onnx")
MODEL = "trained.onnx"


def export(torch, model, path, training, folding):
    """Write a model by the exporter of TorchScript, which does as it is told about training mode."""
    model.train(training)
    torch.onnx.export(
        model,
        torch.zeros(1, 3, 7, 7),
        path,
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL,
        do_constant_folding=folding,
    )


def unpacked(onnx, model, path):
    """The model with its numbers in the fields of their dtypes, and not raw."""
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, tensor.data_type, values.shape, values.ravel().tolist()))
    onnx.save(model, path)


def record(folder):
    """Write every file."""
    import onnx
    import torch

    model, _ = torch_checkpoints.network(torch)
    model[1].eps, model[1].momentum = 1e-3, 0.02
    path = os.path.join(folder, MODEL)
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    export(torch, model, os.path.join(folder, "folded.onnx"), False, True)
    # Where a network is not a convolution and its batch norm, the exporter has nothing to fold.
    apart = torch.nn.Sequential(model[0], torch.nn.ReLU(), model[1], model[2])
    export(torch, apart, path, False, True)
    export(torch, apart, os.path.join(folder, "training.onnx"), True, False)
    unpacked(onnx, onnx.load(path), os.path.join(folder, "typed.onnx"))
    onnx.save_model(
        onnx.load(path),
        os.path.join(folder, "external.onnx"),
        save_as_external_data=True,
        location="external.bin",
        size_threshold=0,
    )
    expected = {"torch": torch.__version__, "onnx": onnx.__version__, "values": state}
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
        for name in sorted(os.listdir(folder)):
            print(name, os.path.getsize(os.path.join(folder, name)))
        if args.write:
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(folder, FOLDER)


if __name__ == "__main__":
    main()
