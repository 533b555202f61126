# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: RUF005, UP009, UP010, UP031
"""Records what the real ``tf.contrib.layers.batch_norm`` does with every case of ``cases.py``, ``arguments.py`` and
``releases.py``; under a release other than 1.15.5 with those that ``releases.selected`` names.

Run it with a real TensorFlow 1.x:

    python tests/golden/record/record.py                     plays everything, compares, writes nothing
    python tests/golden/record/record.py --write             writes the groups that have no file yet
    python tests/golden/record/record.py --write --force     writes all of them again
    python tests/golden/record/record.py --group decay       one group only (repeatable)

The fused operation of 1.x leaves two outputs unwritten in inference mode on the CPU, and the core layer
multiplies them by 0: with a dynamic is_training that is NaN when the memory happens to hold one. So this
script starts itself again with a malloc that hands out zeroed memory, and every case runs on one thread.
"""

from __future__ import division, print_function

import argparse
import collections
import json
import os
import platform
import sys

TUNABLES = "glibc.malloc.tcache_count=0:glibc.malloc.perturb=255"
GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMBERS = (
    "shortest decimals that give back every bit; NaN, Infinity, -Infinity as strings; a variable"
    " that a step does not list kept its bits"
)


def restart_with_zeroed_memory():
    if os.environ.get("GLIBC_TUNABLES") != TUNABLES:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, [sys.executable] + sys.argv)


def code_paths(g):
    """Which code of the release normalised: read from the types and the tracebacks of the operations.

    A: contrib's own fused branch; B: core layer, fused; C: core layer, composed; D: contrib's own, composed.
    """
    found = collections.OrderedDict()
    for op in g.graph.get_operations():
        frames = [(frame[0].replace("\\", "/"), frame[2]) for frame in op.traceback]
        in_contrib = [name for path, name in frames if path.endswith("contrib/layers/python/layers/layers.py")]
        in_core = [
            name for path, name in frames if path.endswith(("keras/layers/normalization.py", "layers/normalization.py"))
        ]
        if op.type.startswith("FusedBatchNorm") and "Grad" not in op.type:
            found["B" if in_core else "A"] = op.name
        elif op.type == "Rsqrt" and "_fused_batch_norm" not in in_contrib + in_core:
            found["C" if in_core else "D"] = op.name
    return {"path": "".join(sorted(found))}


def groups_of(version):
    """The cases of each file: everything under 1.15.5, a selection under another release."""
    from golden.record import releases

    cases = releases.cases
    if version == "1.15.5":
        return cases.GROUPS
    return releases.selected(version)


def what_of(group):
    """What the recordings of a group are of."""
    from golden.record import arguments, releases

    table = "arguments" if group in arguments.GROUPS else "releases" if group == releases.GROUP else "cases"
    what = "'%s/...' of tests/golden/%s.py" % (group, table)
    if group in ("selection", "more"):
        what = "those that tests/golden/releases.py selects"
    return "tf.contrib.layers.batch_norm, cases %s" % what


def api(tf):
    from golden.record import cases

    return cases.Api(tf, tf.contrib.layers.batch_norm, tf.contrib.framework.arg_scope)


def play_group(tf, api_of, chosen):
    from golden.record import cases

    played = collections.OrderedDict()
    for case in chosen:
        played[case.id] = cases.play(api_of(tf), case, run=case.twin is None, inspect=code_paths)
    return played


def header(tf, script, what, numbers):
    import numpy

    return collections.OrderedDict(
        [
            ("what", what),
            ("tensorflow", tf.__version__),
            ("python", platform.python_version()),
            ("numpy", numpy.__version__),
            ("command", "python tests/golden/%s --write" % script),
            ("environment", {"GLIBC_TUNABLES": TUNABLES}),
            ("numbers", numbers),
        ]
    )


def dump(item):
    return json.dumps(item, sort_keys=True, separators=(",", ":"))


def text_of(header, played):
    lines = ["%s:%s" % (dump(key), dump(value)) for key, value in header.items()]
    rows = ["%s:%s" % (dump(id), dump(result)) for id, result in played.items()]
    return '{%s,\n"cases":{\n%s\n}}\n' % (",\n".join(lines), ",\n".join(rows))


def main(
    description=__doc__,
    script="record.py",
    release="1",
    suffix="",
    groups_of=groups_of,
    api_of=api,
    what_of=what_of,
    numbers=NUMBERS,
):
    """Record one door of TF 1.x. The arguments are those of the command line.

    Args:
      description: of the script; script: its name; release: how the versions begin that it records.
      suffix: of the folder tf-VERSION; groups_of(version): the cases of each file.
      api_of(tf): what the cases are played on; what_of(group), numbers: for the head of a file.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write files; without it nothing is written")
    parser.add_argument("--force", action="store_true", help="with --write: replace files that exist")
    parser.add_argument("--group", action="append", help="only this group of cases (repeatable)")
    options = parser.parse_args()

    restart_with_zeroed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    import tensorflow as tf

    if not tf.__version__.startswith(release + "."):
        sys.exit("This records the real TensorFlow %s; the TensorFlow here is %s." % (release, tf.__version__))
    tf.logging.set_verbosity(tf.logging.ERROR)
    sys.path.insert(0, os.path.dirname(GOLDEN))
    groups = groups_of(tf.__version__)

    folder = os.path.join(GOLDEN, "tf-%s%s" % (tf.__version__, suffix))
    different = 0
    for group in options.group or groups:
        played = play_group(tf, api_of, groups[group])
        path = os.path.join(folder, group + ".json")
        text = text_of(header(tf, script, what_of(group), numbers), played)
        failed = sum("error" in result for result in played.values())
        line = "%-14s %4d cases, %3d with an error, %7d bytes" % (group, len(played), failed, len(text))
        old = None
        if os.path.exists(path):
            with open(path, "rb") as stream:
                old = stream.read().decode("ascii")
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
            line += " (--write%s writes it)" % ("" if old is None else " --force")
        print(line)
        sys.stdout.flush()
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
