# -*- coding: utf-8 -*-
# Runs on Python 3.6 too:
# ruff: noqa: UP009, UP031
"""Runs the article's two listings, as they stand, under a real TensorFlow 1.x, and keeps the numbers that they print.

    python tests/golden/record/listings.py            runs them and compares with article/listings.json
    python tests/golden/record/listings.py --write    writes this release's numbers there

Their text is that of tests/legacy/oldscripts. What a real release needs changed: Python 3 wants print(...); before 1.4
there is no tf.AUTO_REUSE, and ``not is_training`` stands in its place. Their input is random, so NumPy's seed is set
before the first line: `numbers_of` does the same to what ``tf1bn run`` prints.
"""

import json
import os
import re
import subprocess
import sys

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(os.path.dirname(GOLDEN), "legacy", "oldscripts")
PATH = os.path.join(GOLDEN, "article", "listings.json")
LISTINGS = ("listing1", "listing2")
SEED = "import numpy; numpy.random.seed(2017)\n"


def text_of(listing, seeded=True):
    with open(os.path.join(SCRIPTS, listing + ".py"), encoding="utf-8") as stream:
        return (SEED if seeded else "") + stream.read()


def numbers_of(printed):
    """The numbers that a listing printed, in their order, without the lines about variables."""
    lines = [line for line in printed.splitlines() if not line.startswith("<tf.Variable")]
    return [float(number) for number in re.findall(r"-?\d+\.\d*(?:e[-+]?\d+)?", "\n".join(lines))]


def record(tf):
    result = {}
    for listing in LISTINGS:
        text = re.sub(r"^(\s*)print (.*?)(\s+#.*)?$", r"\1print(\2)", text_of(listing), flags=re.M)
        if not hasattr(tf, "AUTO_REUSE"):
            text = text.replace("tf.AUTO_REUSE", "not is_training")
        env = dict(os.environ, CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", PYTHONIOENCODING="utf-8")
        printed = subprocess.check_output([sys.executable, "-c", text], env=env, stderr=subprocess.DEVNULL)
        result[listing] = numbers_of(printed.decode("utf-8"))
    return result


def main():
    import tensorflow as tf

    if not tf.__version__.startswith("1."):
        sys.exit("This records the real TensorFlow 1.x; the TensorFlow here is %s." % tf.__version__)
    known = {}
    if os.path.exists(PATH):
        with open(PATH) as stream:
            known = json.load(stream)
    new = record(tf)
    same = known.get(tf.__version__) == new
    print("%s: %s" % (tf.__version__, "the same" if same else "different or not recorded"))
    if not same and "--write" in sys.argv[1:]:
        known[tf.__version__] = new
        rows = ["%s:%s" % (json.dumps(k), json.dumps(known[k], sort_keys=True)) for k in sorted(known)]
        with open(PATH + ".new", "w") as stream:
            stream.write("{%s}\n" % ",\n".join(rows))
        os.rename(PATH + ".new", PATH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
