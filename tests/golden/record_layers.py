# -*- coding: utf-8 -*-
# Runs on Python 3.7 too, beside the real TensorFlow 1.15:
# ruff: noqa: UP009, UP031
"""Records what the real ``tf.layers.batch_normalization`` of TF 1.15 does with every case of ``layers_cases.py``.

    python tests/golden/record_layers.py                     plays everything, compares, writes nothing
    python tests/golden/record_layers.py --write             writes the groups that have no file yet
    python tests/golden/record_layers.py --write --force     writes all of them again
    python tests/golden/record_layers.py --group renorm      one group only (repeatable)

Memory is zeroed and one thread works, for the reasons that ``record.py`` gives.
"""

import argparse
import collections
import os
import platform
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from golden import record  # noqa: E402


def play_group(layers_cases, group):
    import tensorflow as tf

    api = layers_cases.Api(tf, tf.layers.batch_normalization, tf.contrib.framework.arg_scope)
    played = collections.OrderedDict()
    for case in layers_cases.GROUPS[group]:
        played[case.id] = layers_cases.cases.play(api, case, run=case.twin is None, inspect=record.code_paths)
    return played


def header(group):
    import numpy
    import tensorflow as tf

    what = "tf.layers.batch_normalization, cases '%s/...' of tests/golden/layers_cases.py" % group
    return [
        ("what", what),
        ("tensorflow", tf.__version__),
        ("python", platform.python_version()),
        ("numpy", numpy.__version__),
        ("command", "python tests/golden/record_layers.py --write"),
        ("environment", {"GLIBC_TUNABLES": record.TUNABLES}),
        ("numbers", "as in the recordings of record.py"),
    ]


def text_of(group, played):
    lines = ["%s:%s" % (record.dump(key), record.dump(value)) for key, value in header(group)]
    rows = ["%s:%s" % (record.dump(id), record.dump(result)) for id, result in played.items()]
    return '{%s,\n"cases":{\n%s\n}}\n' % (",\n".join(lines), ",\n".join(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write files; without it nothing is written")
    parser.add_argument("--force", action="store_true", help="with --write: replace files that exist")
    parser.add_argument("--group", action="append", help="only this group of cases (repeatable)")
    options = parser.parse_args()

    record.restart_with_zeroed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    import tensorflow as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    if not tf.__version__.startswith("1.15."):
        sys.exit("This records the real TensorFlow 1.15; the TensorFlow here is %s." % tf.__version__)
    from golden import layers_cases

    folder = os.path.join(HERE, "tf-%s-layers" % tf.__version__)
    different = 0
    for group in options.group or layers_cases.GROUPS:
        played = play_group(layers_cases, group)
        text = text_of(group, played)
        path = os.path.join(folder, group + ".json")
        old = None
        if os.path.exists(path):
            with open(path, "rb") as stream:
                old = stream.read().decode("ascii")
        failed = sum("error" in result for result in played.values())
        line = "%-14s %4d cases, %3d with an error, %7d bytes" % (group, len(played), failed, len(text))
        if old == text:
            line += ", the file holds the same"
        elif options.write and (old is None or options.force):
            if not os.path.isdir(folder):
                os.makedirs(folder)
            with open(path + ".new", "wb") as stream:
                stream.write(text.encode("ascii"))
            os.rename(path + ".new", path)
            line += ", written"
        else:
            different += 1
            line += ", the file is missing" if old is None else ", THE FILE HOLDS SOMETHING ELSE"
        print(line)
        sys.stdout.flush()
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
