"""Records which names TensorFlow has, for `tf1bn run --explain`: those of `tf.compat.v1`, and which 1.15 had besides.

Run it twice, with TensorFlow 1.15.5 and with today's, which has to have tf_keras beside it:

    python tests/golden/record/tensorflow_names.py old.json
    TF_USE_LEGACY_KERAS=1 python tests/golden/record/tensorflow_names.py tf1bn/legacy/explain/names.json old.json
"""

import json
import sys
import types

# What is listed elsewhere, or is no part of the public names.
LEFT_OUT = {"compat", "compiler", "contrib", "core", "python", "raw_ops", "tools"}
NOT_NAMES = {"absolute_import", "division", "print_function", "tf_decorator", "tf_stack"}
ROOTS = ("tensorflow", "tf_keras", "keras")


def names_of(module):
    """The public names of a module and of those below it, by path; of modules with "." before the name."""
    found, waiting, seen = {}, [("", module)], set()
    while waiting:
        path, module = waiting.pop()
        names = set()
        for name in dir(module):
            if name.startswith("_") or name in NOT_NAMES or (not path and name in LEFT_OUT):
                continue
            value = getattr(module, name, None)
            below = isinstance(value, types.ModuleType) or "LazyLoader" in type(value).__name__
            if below and getattr(value, "__name__", "").startswith(ROOTS) and path.count(".") < 4:
                names.add("." + name)
                waiting.append((path + "." + name if path else name, value))
            elif not isinstance(value, types.ModuleType):
                names.add(name)
        if path not in seen:
            seen.add(path)
            found[path] = names
    return found


def main(path, old=None):
    import tensorflow

    here = names_of(tensorflow.compat.v1 if old else tensorflow)
    document = {"tensorflow": tensorflow.__version__}
    if old is None:
        document["modules"] = {name: sorted(names) for name, names in here.items()}
    else:
        with open(old) as stream:
            before = json.load(stream)
        document["before"] = before["tensorflow"]
        document["modules"] = {name: " ".join(sorted(names)) for name, names in sorted(here.items())}
        gone = {}
        for name, names in sorted(before["modules"].items()):
            missing = {n.lstrip(".") for n in names} - {n.lstrip(".") for n in here.get(name, ())}
            if name in here and missing:
                gone[name] = " ".join(sorted(missing))
        document["gone"] = gone
    with open(path, "w") as stream:
        json.dump(document, stream, indent=0, sort_keys=True)
        stream.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
