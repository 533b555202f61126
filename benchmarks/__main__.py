"""One benchmark by its name: `make bench NAME=...`, or `python -m benchmarks NAME [ARGUMENT ...]`."""

import argparse
import runpy
import sys

NAMES = {
    "table": ("checker", "mean and variance by tf1bn and by others: how fast, and how far off (the default)"),
    "moments": ("checker", "`batch_moments` beside what plain C reaches"),
    "bounds": ("checker", "the error bounds beside the errors of correctly rounded layers"),
    "replay": ("checker", "the orders of summation that the checker replays"),
    "growth": ("checkpoints", "how the time of audit and parity grows with the layers of a checkpoint"),
    "formats": ("checkpoints", "the formats of checkpoints: seconds and MB of an audit of each"),
    "graph": ("graphs", "the audit of a graph of 5,000 to 40,000 operations by its structure"),
    "layer": ("layers", "what the layer costs beside the bare operation and TF 1.15"),
    "recorder": ("recorders", "what recording a session costs"),
    "frameworks": ("recorders", "what recording PyTorch and Keras models costs"),
    "page": ("reports", "what the HTML page of a result costs"),
    "cluster": ("cluster", "the audit of a trace by Dask workers beside that of one process"),
    "audit": ("diagnosis", "the audit of a trace beside the checker alone"),
    "long_trace": ("diagnosis", "writing and auditing a long trace of moments"),
    "recalibration": ("recalibration", "what recalibrating a model costs beside its forward passes"),
    "wall_time": ("reproduce", "`tf1bn reproduce` beside a bare import of TensorFlow"),
}


def main():
    listed = "\n".join(f"  {name:<10} {what}" for name, (_, what) in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"benchmarks:\n{listed}\n\nNAME --help shows the arguments of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", choices=NAMES, default="table")
    arguments, rest = parser.parse_known_args(sys.argv[1:2])
    room, _ = NAMES[arguments.name]
    sys.argv = [f"python -m benchmarks {arguments.name}", *rest, *sys.argv[2:]]
    runpy.run_module(f"benchmarks.{room}.{arguments.name}", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main()
