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
# Batch renormalisation of 1.2 to 1.14, whose variables have weights.
RENORM = """
    renorm_clipping/rank2-NHWC renorm_clipping/rank4-NHWC renorm_clipping/rank4-NCHW renorm_clipping/rank4-fusedTrue
    renorm_clipping/rank5-NHWC renorm_clipping/clip_ renorm_clipping/centerTrue-scaleTrue-
    renorm_clipping/centerFalse-scaleFalse- renorm/renorm_decay0.0 renorm/renorm_decay1.0 renorm/renorm_decay_tensor
    renorm/decay0.0 renorm/decay0.9 renorm/decay1.0 renorm/decay_tensor renorm/is_training_ renorm/updates_not_run-
    renorm/float16-bool renorm/float64- renorm/trainable_False- renorm/epsilon_ renorm/constant_channel
    renorm/not_finite renorm/initial_ renorm/collections_dict renorm/in_turn renorm/cond_branches renorm/later
    renorm/regularized_scope renorm/partitioned_scope renorm/watching_getter renorm/two_names renorm/one_element
    renorm/mistake-
""".split()
RENORM_FROM = ("1.3.0", "1.4.1", "1.8.0", "1.12.0")

# The same for ``tf.layers.batch_normalization``, by ``record_layers.py``.
LAYERS = """
    layout/rank2-axis-1-fusedNone layout/rank3-axis1-fusedNone layout/rank4-axis-1-fused layout/rank4-axis1-fusedFalse
    layout/rank4-axis2-fusedNone several_axes/rank4-[1,3]- virtual/rank3-[4,2,3]-axis-1-size2-
    adjustment/channels-bool-fusedNone momentum/default-B momentum/default-C momentum/default-dynamic-B
    momentum/default-dynamic-C training/bool-B training/bool-C training/placeholder-B training/placeholder-C
    training/constant- training/int-B training/learning_phase-B training/default-B trainable/False-bool-B
    trainable/False-bool-C dtype/float16-rank4- dtype/float64-rank4- renorm/rank2-axis-1-
    renorm/rank4-axis[1,3]-bool renorm/defaults regularizers/both-B regularizers/both-C initializers/names-B
    constraints/functions-B reuse/by_scope-B reuse/more_variables-C names/automatic-B use/positional_prefix
    use/all_positional mistakes/axis_high mistakes/axis_one_high mistakes/axis_low mistakes/training_text
    mistakes/training_two-B mistakes/unknown_channels- mistakes/unknown_rank-B mistakes/clipping_unknown
    mistakes/fused_2
""".split()
LAYERS_MORE = """
    layout/rank1-axis-1-fusedNone layout/rank2-axis0-fusedNone layout/rank5-axis-1-fusedTrue layout/rank4-axis1-dynamic
    layout/rank4-axis[3]-fusedNone several_axes/fusedTrue virtual/rank4-[4,3,1,2]-axis[1,3]-size2-bool
    virtual/fusedTrue adjustment/channels-placeholder-fusedNone adjustment/renorm epsilon/1e-08-bool-
    momentum/default-V momentum/1.0- momentum/tensor_placeholder- training/variable- training/default-C
    trainable/False-placeholder- dtype/float16-dynamic- dtype/float64-dynamic- dtype/float16-renorm dtype/float64-renorm
    renorm/rank4-axis1-bool renorm/clip_all renorm/not_trainable renorm/virtual- renorm/plain_first renorm/fusedTrue
    regularizers/string-l2-C initializers/constants-C constraints/non_neg-C reuse/argument-B reuse/more_variables-B
    names/automatic-C names/string-B scopes/partitioned-B scopes/partitioned-C scopes/resource-B use/stacked-
    mistakes/axis_ mistakes/training_ mistakes/momentum_None mistakes/trainable_None mistakes/center_None
""".split()
LAYERS_LARGE = ("1.3.0", "1.4.1", "1.12.0")


def selected_of_layers(version):
    """The cases of ``layers_cases`` to record from a release, by file."""
    from golden.record import layers_cases

    starts = LAYERS + (LAYERS_MORE if version in LAYERS_LARGE else [])
    chosen = [case for case in layers_cases.CASES.values() if any(_matches(case.id, start) for start in starts)]
    return collections.OrderedDict([("selection", chosen)])


def selected(version):
    """The cases to record from a release, by file, in the order of the table."""
    groups = collections.OrderedDict([("selection", _cases(ALWAYS))])
    if version in LARGE:
        groups["more"] = [case for case in _cases(MORE) if case not in groups["selection"]]
    if version in RENORM_FROM:
        groups["renorm"] = _cases(RENORM)
    return groups


def _cases(starts):
    return [case for case in cases.CASES.values() if any(_matches(case.id, start) for start in starts)]


def _matches(id, start):
    if start[-1] in "/-_":
        return id.startswith(start)
    return id == start or id.startswith(start + "-")
