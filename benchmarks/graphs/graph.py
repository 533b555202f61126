"""How long `tf1bn.graphs.audit` takes for graphs of 5,000 to 40,000 operations.

    make bench NAME=graph           exit code 1 if 40,000 operations take more than 1 second
    python -m benchmarks graph FILE ...     other graphs

The graph is a residual network of slim with its gradients and optimizer, as TF 1.15 made it
(tests/golden/structure/right-slim-resnet.meta.gz), side by side as often as it takes. In the last graph its gradients
were made under ``tf.control_dependencies(update_ops)``, so that thousands of operations wait for hundreds of updates
each, as in a ResNet-152. Seconds are those of the processor, the best of some rounds, without Python's start and
imports.
"""

import argparse
import gzip
import pathlib
import sys
import tempfile
import time

from tf1bn.binary.protobuf import BYTES, bytes_field, message
from tf1bn.graphdef.files import wire
from tf1bn.graphs import audit

LIMIT = 1.0
OPERATIONS = (5000, 10000, 20000, 40000)
GRAPH = pathlib.Path(__file__).parents[2] / "tests/golden/structure/right-slim-resnet.meta.gz"


def copies(nodes, count, *, waiting=False):
    """The bytes of a GraphDef of at least ``count`` operations; ``waiting`` gradients wait for 300 updates."""
    parts, times = [], range(-(-count // len(nodes)))
    updates = [f"^net{i}/{node.name}" for i in times for node in nodes if "AssignMovingAvg" in node.name][:300]
    for i in times:
        for node in nodes:
            texts = [bytes_field(1, f"net{i}/{node.name}".encode()), bytes_field(2, node.type.encode())]
            texts += [bytes_field(3, f"net{i}/{text}".encode()) for text in node.inputs]
            texts += [bytes_field(3, f"^net{i}/{text}".encode()) for text in node.controls]
            if waiting and node.name.startswith("gradients/") and not node.controls and "tuple" not in node.name:
                texts += [bytes_field(3, text.encode()) for text in updates]
            parts.append(bytes_field(1, b"".join(texts) + node.attributes))
    return b"".join(parts)


def seconds(path, rounds):
    """The processor time of an audit, and its result."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        result = audit(path)
        best = min(best, time.process_time() - start)
    return best, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    nodes, _ = wire.graph(message(gzip.decompress(GRAPH.read_bytes()), {2: BYTES})[2])
    with tempfile.TemporaryDirectory() as folder:
        paths = args.files
        if not paths:
            for count, waiting in [*((count, False) for count in OPERATIONS), (OPERATIONS[-1], True)]:
                path = pathlib.Path(folder) / f"{count}{'-waiting' * waiting}.pb"
                path.write_bytes(copies(nodes, count, waiting=waiting))
                paths = [*paths, str(path)]
        worst = 0.0
        print(f"{'operations':>10} {'batch norms':>11} {'MB':>6} {'seconds':>8}")
        for path in paths:
            took, result = seconds(path, args.rounds)
            size = pathlib.Path(path).stat().st_size / 1e6
            print(f"{result['graph']['operations']:10} {len(result['layers']):11} {size:6.1f} {took:8.2f}")
            worst = max(worst, took)
    return 0 if args.files or worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
