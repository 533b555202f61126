# -*- coding: utf-8 -*-
# Runs on Python 3.7 too, beside the real TensorFlow 1.15:
# ruff: noqa: UP009, UP031
"""Records what the real ``tf.layers.batch_normalization`` of TF 1.15 does with every case of ``layers_cases.py``, and
that of an earlier release with those that ``releases.py`` selects.

    python tests/golden/record/record_layers.py                     plays everything, compares, writes nothing
    python tests/golden/record/record_layers.py --write             writes the groups that have no file yet
    python tests/golden/record/record_layers.py --write --force     writes all of them again
    python tests/golden/record/record_layers.py --group renorm      one group only (repeatable)

Memory is zeroed and one thread works, for the reasons that ``record.py`` gives.
"""

import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, TESTS)

from golden.record import record  # noqa: E402


def groups_of(version):
    from golden.record import layers_cases, releases

    return layers_cases.GROUPS if version == "1.15.5" else releases.selected_of_layers(version)


def api(tf):
    from golden.record import layers_cases

    return layers_cases.Api(tf, tf.layers.batch_normalization, tf.contrib.framework.arg_scope)


def what_of(group):
    if group == "selection":
        return "tf.layers.batch_normalization, cases that tests/golden/releases.py selects"
    return "tf.layers.batch_normalization, cases '%s/...' of tests/golden/layers_cases.py" % group


if __name__ == "__main__":
    sys.exit(
        record.main(
            description=__doc__,
            script="record_layers.py",
            suffix="-layers",
            groups_of=groups_of,
            api_of=api,
            what_of=what_of,
            numbers="as in the recordings of record.py",
        )
    )
