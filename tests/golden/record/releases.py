# -*- coding: utf-8 -*-
# Runs on Python 2.7 too:
# ruff: noqa: C408, SIM905, UP009, UP010, UP031
"""Which cases are recorded from releases other than 1.15.5, and the few rows that only such a comparison needs.

``record.py`` asks ``selected`` when it runs under such a release and writes ``tf-RELEASE/selection.json``,
for three of them ``more.json`` too;
``tests/layers/test_recordings_releases.py`` plays it under ``tf1bn.release(...)``.
"""

from __future__ import division, print_function

import collections

from golden.record import arguments, cases
from golden.record.cases import RANKS, STANDARD, Make, add, add_layer

GROUP = "release"


def _rows():
    for rank in (2, 4):
        for name in ("default", "none"):
            updates = {} if name == "default" else dict(updates_collections=None)
            for fused in (None, True):
                add_layer(
                    "release/fused_%s-rank%d-updates_%s" % (fused, rank, name),
                    dict(updates, fused=fused, decay=0.75, scale=True),
                    shape=RANKS[rank],
                )
    for name in ("default", "none"):
        updates = {} if name == "default" else dict(updates_collections=None)
        for fused in (None, True):
            add_layer(
                "release/regularized-fused_%s-updates_%s" % (fused, name),
                dict(
                    updates,
                    fused=fused,
                    decay=0.75,
                    scale=True,
                    param_regularizers=Make(lambda g: {"gamma": arguments.half_sum_of_squares(g)}),
                ),
                losses=True,
                steps=STANDARD[:1],
            )
    for epsilon in (1e-12, 0.0, -1e-3):
        add_layer("release/fused_True-epsilon%g" % epsilon, dict(fused=True, epsilon=epsilon, decay=0.75), data="small")
    add_layer("release/fused_True-dynamic", dict(fused=True, scale=True), kind="placeholder", start="cold")
    add_layer("release/fused_True-frozen", dict(fused=True, trainable=False, decay=0.75, scale=True))
    add_layer("release/fused_True-no_parameters", dict(fused=True, center=False, decay=0.75), gradients=True)
    add_layer("release/fused_True-dynamic-float16", dict(fused=True), kind="placeholder", dtype="float16")
    add_layer("release/zero_debias-fused_True", dict(fused=True, zero_debias_moving_mean=True, decay=0.75))
    add_layer(
        "release/no_center-NCHW",
        dict(fused=False, center=False, updates_collections=None, data_format="NCHW", decay=0.75),
        data_format="NCHW",
    )

    def positional(g):
        # The eighth argument is updates_collections in 1.0 and param_regularizers after it.
        g.train(g.bn(g.input(), 0.75, True, False, 0.001, None, None, None))

    add("release/eight_positional", positional, steps=STANDARD[:1])


_rows()

# Starts of ids; a "-C" and the like at an end is an end. The first list is recorded from every release.
ALWAYS = """
    release/ call/ trainable/False- is_training/constant- is_training/placeholder-C is_training/placeholder-B
    is_training/int-C layout/rank4-NHWC-fusedNone layout/rank4-NHWC-fusedTrue layout/rank3-NHWC-fusedTrue
    decay/default-C decay/default-B decay/default-dynamic-B decay/default-dynamic-C epsilon/1e-08-B epsilon/1e-08-A2
    dtype/float16-rank4 dtype/float64-rank4 collections/variables_dict-C collections/variables_dict-D
    collections/outputs_string-C scope/automatic-D scope/twice_same_scope-D batch_weights/rank4-fusedTrue-updates_none
    regularizers/both-B regularizers/both-A regularizers/string-C initializers/beta-string-B mistake/is_training_None
    mistake/trainable_None mistake/reuse_without_variables-A renorm/defaults-C adjustment/rank4-channels-C
    zero_debias/decay0.75-D
""".split()
MORE = """
    layout/rank2-NHWC layout/rank3-NHWC layout/rank4-NHWC layout/rank4-NCHW-fusedFalse
    static_shape/unknown_batch-dynamic affine/centerFalse-scaleFalse- affine/centerFalse-scaleTrue-A
    epsilon/1e-08- epsilon/1e-05- epsilon/0-
    decay/default- decay/tensor_schedule-dynamic decay/tensor_variable- decay/0.999- decay/1- updates/list_update_ops-
    updates/custom-fused is_training/placeholder- is_training/variable- is_training/int- reuse/by_scope- reuse/argument-
    scope/automatic- scope/automatic_nested- scope/string- scope/name_scope- scope/twice_same_scope-
    activation/relu-collected- trainable/ collections/variables_dict- collections/outputs_string- dtype/float16-dynamic-
    dtype/float64-dynamic- size/one_element- size/two_elements- arg_scope/defaults- arg_scope/unknown_argument-
    control_flow/branches- mistake/unknown_keyword- mistake/is_training_float- mistake/fused_zero- mistake/center_None-
    mistake/reuse_with_more_variables- batch_weights/rank4-fused batch_weights/rank2-fusedNone
    batch_weights/is_training_placeholder- zero_debias/decay0.75- zero_debias/is_training_placeholder-
    initializers/gamma-constant- regularizers/beta- regularizers/both- regularizers/None-
    regularizers/scope_and_argument- regularizers/in_arg_scope- adjustment/rank2-channels-C
    adjustment/dynamic-channels-C partitioners/two- getters/scaling-placeholder- renorm/defaults-warm-C
""".split()
LARGE = ("1.3.0", "1.4.1", "1.8.0")


def selected(version):
    """The cases to record from a release, by file, in the order of the table."""
    groups = collections.OrderedDict([("selection", _cases(ALWAYS))])
    if version in LARGE:
        groups["more"] = [case for case in _cases(MORE) if case not in groups["selection"]]
    return groups


def _cases(starts):
    return [case for case in cases.CASES.values() if any(_matches(case.id, start) for start in starts)]


def _matches(id, start):
    if start[-1] in "/-":
        return id.startswith(start)
    return id == start or id.startswith(start + "-")
