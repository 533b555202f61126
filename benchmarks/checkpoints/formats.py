"""The formats of checkpoints in one table: how each is known, read with what, proven on what, in which time and memory.

    make bench NAME=formats          prints the table
    python benchmarks/checkpoints/formats.py --write      writes it into docs/checkpoints.md as well

Each row is a whole process of `tf1bn audit` on a small file of a real producer, the best of five, in seconds of the
processor, of which other programs take fewer than of the clock's. The files are the recordings in tests/golden, and
those that Keras writes now. What a format is and how it is known comes from `tf1bn.checkpoints.formats.registry`; a
test compares the page with that.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
PAGE = ROOT / "docs" / "checkpoints.md"
BEGIN, END = "<!-- formats: made by benchmarks/checkpoints/formats.py -->", "<!-- end of formats -->"
ROUNDS = 5
_KERAS = """
import sys, keras
model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
for name in ("a.keras", "a.weights.h5"):
    (model.save_weights if "weights" in name else model.save)(sys.argv[1] + "/" + name)
"""
# By the name of a format: the file that is measured, and who wrote the files that prove the reader.
PROVEN = {
    "a TensorFlow checkpoint": (
        "checkpoints/fused_gamma",
        "TF 1.15.5, V1 and V2; compared with TensorFlow 2's own reader",
    ),
    "a frozen graph of TensorFlow": ("graphs/fused_inference.pb", "TF 1.15.5"),
    "a .meta graph of TensorFlow": ("", "TF 1.15.5"),
    "an ONNX model": ("onnx/trained.onnx", "PyTorch 2.13's exporter, onnx 1.23"),
    "a model of TensorFlow.js": ("tfjs/layers_uint8/model.json", "tensorflowjs 4.22; graphs that are not folded by us"),
    "a model of TensorFlow Lite": ("tflite/float32.tflite", "TensorFlow 2.21 with Keras 3.15"),
    "a .keras file": ("keras/a.keras", "Keras 3.15"),
    "an HDF5 file": ("keras/a.weights.h5", "Keras 3.15; Keras 1 and 2 by us"),
    "a file of torch.save": (
        "checkpoints-torch/plain.pt",
        "PyTorch 2.13, in its new and its old form; big-endian files and those of before 0.4 by us",
    ),
    "a safetensors file": ("checkpoints-torch/plain.safetensors", "safetensors 0.8, from PyTorch"),
    "an .npz file": ("../../docs/samples/original.npz", "NumPy 2"),
}
HEADER = ("format", "known by", "read with", "proven on", "processor seconds", "MB", "remarks")


def measured(path):
    """Processor seconds and megabytes of the best of some audits, each in a process of its own."""
    rounds = []
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tf1bn", "audit", str(path)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        # 2 where a format keeps nothing that could be judged alone.
        if process.returncode not in (0, 1, 2):
            sys.exit(f"{path} was not judged")
        rounds.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    return f"{min(rounds)[0]:.2f}", f"{min(megabytes for _, megabytes in rounds):.0f}"


def rows():
    """The table, a list of lists of texts, one for each format."""
    from tf1bn.checkpoints.formats.registry import FORMATS

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _KERAS, folder], check=True, stderr=subprocess.DEVNULL)
        for format in FORMATS:
            file, producer = PROVEN.get(format.name, ("", "by us"))
            path = pathlib.Path(folder) / file.removeprefix("keras/") if file.startswith("keras/") else GOLDEN / file
            numbers = measured(path) if file else ("", "")
            read_with = format.read_with or "not read"
            yield [format.name, format.known_by, read_with, producer, *numbers, format.remarks]


def table(made):
    """The rows as a table of Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *made]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/checkpoints.md as well")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    text = table(list(rows()))
    print(text)
    if arguments.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
