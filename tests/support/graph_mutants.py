"""Mutants of graphs: of the bytes of a file, and of the nodes in it, which go further than most damaged bytes do.

`python tests/support/graph_mutants.py [--count N] [--seed S]` makes N of each and audits them. An audit may say what it
it likes about one, in one sentence if it refuses it; no exception but GraphError may leave it, and it must end.
"""

import argparse
import gzip
import pathlib
import random
import sys
import tempfile
import time

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "golden" / "structure"
WORDS = [
    *(b"Identity", b"Merge", b"Switch", b"Const", b"NextIteration", b"Enter", b"FusedBatchNormV3", b"Assign", b"Mul"),
    *(b"If", b"PartitionedCall", b"Select", b"VariableV2", b"VarHandleOp", b"Rsqrt", b"Add", b"Sub", b"Reshape"),
    *(b"ReadVariableOp", b"AssignSub", b"Mean", b"Placeholder", b"PlaceholderWithDefault", b"Unknown>Op", b"SaveV2"),
    *(b"ApplyAdam", b"Minimum", b"Neg", b"Cast", b"ExpandDims", b"Squeeze", b"Exit", b"While", b"RealDiv", b"NoOp"),
]
LONGEST = 5.0


def graphs():
    """The bytes of each recorded graph."""
    return [gzip.decompress(path.read_bytes()) for path in sorted(FOLDER.iterdir())]


def mutated(rng, data):
    """The bytes of a file with some changed, left out or doubled."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        how, i = rng.randrange(6), rng.randrange(len(data))
        if how == 0:
            data[i] = rng.randrange(256)
        elif how == 1:
            data[i] ^= 1 << rng.randrange(8)
        elif how == 2:
            del data[i : i + rng.choice([1, 2, 10, 200])]
        elif how == 3:
            j = rng.randrange(len(data))
            data[i:i] = data[j : j + rng.choice([1, 4, 30, 300])]
        elif how == 4:
            word = rng.choice(WORDS)
            others = [other for other in WORDS if len(other) == len(word)]
            at = data.find(word, i)
            if at >= 0:
                data[at : at + len(word)] = rng.choice(others)
        elif (at := data.find(b"_1", i)) >= 0:
            data[at + 1] = rng.choice(b"0123456789")
        data = data or bytearray(b"\n")
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def rewired(rng, nodes):
    """Nodes with other types and inputs, in place."""
    names = [node.name for node in nodes]
    for _ in range(rng.choice([1, 2, 5, 20, 80])):
        node, how = rng.choice(nodes), rng.randrange(8)
        if how < 2:
            node.type = rng.choice(WORDS).decode()
        elif how == 2 and node.inputs:
            node.inputs[rng.randrange(len(node.inputs))] = rng.choice(names)
        elif how == 3:
            node.inputs.append(f"{rng.choice(names)}:{rng.randrange(3)}")
        elif how == 4 and node.inputs:
            del node.inputs[rng.randrange(len(node.inputs))]
        elif how == 5:
            node.attributes = rng.choice(nodes).attributes
        elif how == 6:
            node.controls.append(rng.choice(names))
        elif how == 7:
            other = rng.choice(nodes)
            node.inputs = list(other.inputs)
    return nodes


def audit_bytes(data, folder):
    """Audit a file with these bytes; returns what is said against it, or None."""
    from tf1bn.graphs import GraphError, audit

    path = pathlib.Path(folder) / "mutant.meta"
    path.write_bytes(data)
    return _timed(lambda: audit(str(path)), GraphError)


def audit_rewired(rng, data):
    """Audit a graph with other wires."""
    from tf1bn.errors import GraphError
    from tf1bn.graphdef.files import sources, wire
    from tf1bn.graphdef.reading import opened
    from tf1bn.graphs.structure.result import audit_source

    def audited():
        with opened(lambda: sources.of_meta_graph(data, "a .meta graph"), "mutant") as source:
            return audit_source(source)

    original = wire.graph
    wire.graph = lambda data: _changed(rng, original(data))
    try:
        return _timed(audited, GraphError)
    finally:
        wire.graph = original


def _changed(rng, found):
    nodes, library = found
    return rewired(rng, nodes), library


def _timed(run, refused):
    start = time.process_time()
    try:
        result = run()
        said = None if result["format"] == "tf1bn-audit" else "no result"
    except refused as error:
        said = None if str(error).endswith(".") and "\n" not in str(error) else f"no sentence: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    took = time.process_time() - start
    return said or (f"it took {took:.1f} s" if took > LONGEST else None)


def campaign(count, seed, folder):
    """What is said against mutants, by their number and kind."""
    originals, problems = graphs(), []
    metas = [data for data in originals if data[:1] == b"\n"]
    for i in range(count):
        rng = random.Random(f"{seed}-{i}")
        for kind, said in (
            ("bytes", audit_bytes(mutated(rng, rng.choice(originals)), folder)),
            ("wires", audit_rewired(rng, rng.choice(metas))),
        ):
            if said:
                problems.append(f"mutant {i} of seed {seed}, {kind}: {said}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", default="0")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = campaign(args.count, args.seed, folder)
    print("\n".join(problems) or f"{args.count} mutants of each kind: none is a problem.")
    return bool(problems)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    sys.exit(main())
