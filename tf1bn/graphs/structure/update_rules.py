"""Causes in the updates of a layer: whether a train op runs them, how often, and whether tests run them too."""

from ..._util.text import quoted
from ...graphdef.training import A_CALL
from ...verdicts import ADVISORY
from .both_modes import chosen_too_late
from .entries import entry

_TITLES = {"mean": "moving mean", "variance": "moving variance"}
UPDATE_OPS = "update_ops"
MANY = 16  # updates whose order is looked for


def updates(layer, facts):
    """The causes of a layer, and sentences on what cannot be seen.

    Args:
      layer: a `result.LayerFacts`.
      facts: a `result.GraphFacts`.

    Returns:
      (causes, doubts): a list of `verdicts.cause_entry`, and a list of sentences that make an ok undecidable.
    """
    if not facts.training.trains or not layer.trained_by(facts.training):
        return [], []
    if layer.never_trains:
        return _flag_off(layer, facts), []
    causes = [_default_off(layer)] if layer.tests_by_default is not None else []
    missing, doubts = _not_updated(layer, facts)
    causes += missing
    if not missing:
        causes += _double(layer, facts) + _one_of_several(layer, facts) + _leak(layer, facts)
    return causes, doubts


def _flag_off(layer, facts):
    """The cause of a layer that is in inference mode wherever it is applied."""
    trained = [name for name in layer.parameters if name in facts.training.trained]
    if not trained:
        return []
    count = len(layer.applications)
    counted_here = "is 1 application" if count == 1 else f"are {count} applications"
    return [
        entry(
            "training-flag-off",
            f"`is_training` is the constant False wherever the layer is applied (there {counted_here}), and an "
            f"optimizer trains its {quoted(trained)}: the statistics stay what they were restored or initialized to. "
            "If they are frozen on purpose, accept it with `--accept training-flag-off`.",
        )
    ]


def _default_off(layer):
    return entry(
        "training-flag-off",
        f"`is_training` is the placeholder `{layer.tests_by_default}` with the default False: each training step has "
        "to feed True, and where one does not, nothing updates the statistics. The graph cannot show what is fed.",
        ADVISORY,
    )


def _not_updated(layer, facts):
    """The cause that no train op runs the updates of a layer, if it holds, and sentences on what cannot be seen."""
    training = facts.training
    absent = [role for role in ("mean", "variance") if not layer.updates[role]]
    written = [role for role in absent if layer.writers[role]]
    if written:
        return [], [
            f"The {_TITLES[written[0]]} is written by `{layer.writers[written[0]][0].name}`, which has no form of an "
            "update that is known, so it was not judged."
        ]
    if absent and (callers := facts.callers_of(layer)):
        return [], [
            f"Nothing that can be seen updates the {_TITLES[absent[0]]}; `{callers[0].name}` takes it into a function "
            "that cannot be opened, as one that calls itself, which may."
        ]
    if absent:
        if layer.trainable is False:
            text = "The layer is not trainable, and nothing in the graph updates its statistics."
            return [entry("trainable-false", text, ADVISORY)], []
        what = " and the ".join(_TITLES[role] for role in absent)
        text = f"No operation of the graph updates the {what}, though the layer normalises by its batches in training."
        return [entry("not-updated", text)], []
    reached = {role: [one for one in ops if training.reaching(one.op)] for role, ops in layer.updates.items()}
    lost = [role for role, ops in reached.items() if not ops]
    if not lost:
        return [], []
    names = [one.op.name for role in lost for one in layer.updates[role]]
    if len(lost) == 2 and layer.trainable is False:
        text = (
            f"The layer is not trainable, and no train op runs {quoted(names)}: its statistics stay as they are, and "
            "it normalises by its batches in training."
        )
        return [entry("trainable-false", text, ADVISORY)], []
    text = (
        f"No path leads from {_ends(training)} to {quoted(names)}, which "
        f"{'update' if len(names) > 1 else 'updates'} the {' and the '.join(_TITLES[role] for role in lost)}."
    )
    text += _where_kept(layer, facts, names)
    if len(lost) == 1:
        return [entry("not-updated", text + " The other of the two is updated.")], []
    if training.given or list(training.targets) == [A_CALL]:
        return [entry("not-updated", text)], []
    if facts.source.graph.inside.issuperset(names):
        text += " They are in a function, as those of tf.cond and tf.while_loop are, so no step can ask for them."
        return [entry("not-updated", text)], []
    others = facts.updated_layers(training)
    if others:
        return [entry("not-updated", text + _collected_too_early(layer, facts, others))], []
    doubt = (
        "Either each step asks for them beside the train op, as in `session.run([train_op, update_ops])`, and all is "
        "well, or they never run. What tells the two apart is the call: name what a step runs with `--train-op`, or "
        "record a trace."
    )
    return [entry("not-updated", f"{text} {doubt}", doubt=True)], []


def _ends(training):
    names = list(training.targets)
    return names[0] if names == [A_CALL] else f"the train op {quoted(names)}"


def _where_kept(layer, facts, names):
    """A sentence on the collections that hold the updates of a layer."""
    holding = [name for name, ops in facts.collections.items() if set(names) & ops]
    if facts.source.kind == "a GraphDef" or facts.source.graph.inside.issuperset(names):
        return ""
    kept = [facts.source.graph.get_operation_by_name(name) for name in facts.collections.get(UPDATE_OPS, ())]
    # A tf.cond around an update puts its Merge there.
    if UPDATE_OPS in holding or (not holding and kept and facts.training.before(kept).issuperset(names)):
        return " They are in the collection UPDATE_OPS, on which the train op does not depend."
    if holding:
        return f" They are in the collection {quoted(holding)} and not in UPDATE_OPS, which training code looks at."
    if layer.maker == "tf.keras":
        return " They are in no collection: a `tf.keras` layer keeps them in `layer.updates`."
    return " They are in no collection."


def _collected_too_early(layer, facts, others):
    """A sentence on layers whose updates do run."""
    order = [one.name for one in facts.layers]
    earlier = all(order.index(name) < order.index(layer.name) for name in others)
    text = f" Those of {quoted(others)} run with it"
    if earlier:
        return f"{text}, all built before this layer: UPDATE_OPS was most likely collected before the layer was built."
    return f"{text}."


def _double(layer, facts):
    """The cause that one step updates a statistic several times."""
    for name, reached in facts.training.targets.items() if not facts.training.too_many else ():
        counts = {
            role: _at_once([one.op for one in ops if one.op.name in reached], facts.scan)
            for role, ops in layer.updates.items()
        }
        ops = max(counts.values(), key=len)
        if len(ops) > 1:
            applied = len([one for one in layer.applications if one.trains or one.flag is not None])
            run = "A call" if name == A_CALL else f"One run of `{name}`"
            return [
                entry(
                    "double-update",
                    f"{run} does {len(ops)} updates of each statistic ({quoted([op.name for op in ops])}): the layer "
                    f"is applied {applied} times in training, as to several towers or to real and generated data, and "
                    f"each application brings its own. {len(ops)} updates at decay d leave the weight d^{len(ops)} to "
                    f"the old value, and {_order_of(ops, facts)}.",
                )
            ]
    return []


def _order_of(ops, facts):
    """Whether the graph orders updates, a clause; of many it is not asked."""
    waits = [facts.training.before([op]) for op in ops[:MANY]]
    if len(ops) <= MANY and sorted(len(names & {op.name for op in ops}) for names in waits) == [
        *range(1, len(ops) + 1)
    ]:
        return "each waits for the one before it"
    return "their order is not fixed"


def _at_once(ops, scan):
    """The operations among ``ops`` that one run can do together: of both branches of one cond the larger part."""
    guards = [scan.guards(op) for op in ops]
    predicates = sorted({name for one in guards for name, _ in one})
    for name in predicates:
        ways = [[op for op, one in zip(ops, guards, strict=True) if (name, way) not in one] for way in (0, 1)]
        if all(len(way) < len(ops) for way in ways):
            return _at_once(max(ways, key=len), scan)
    return ops


def _one_of_several(layer, facts):
    """The advisory that some of several training applications alone update the statistics."""
    training = [one for one in layer.applications if one.trains or one.flag is not None]
    ways = {frozenset(one.trains for one in training if one.flag is None)}
    updated = max(len([one for one in ops if facts.training.reaching(one.op)]) for ops in layer.updates.values())
    if len(training) < 2 or updated >= len(training) or ways == {frozenset({True, False})}:
        return []
    ran = [one for one in training if facts.training.reaching(one.outputs.op)]
    if len(ran) < 2 or updated >= len(ran):
        return []
    return [
        entry(
            "one-tower-only",
            f"{len(ran)} applications of the layer train, and the updates of {updated} of them run: the statistics "
            "are those of a part of the data. That is usual with towers whose data are alike.",
            ADVISORY,
        )
    ]


def _leak(layer, facts):
    """The cause that what tests ask for updates the statistics too."""
    switched = [one for one in layer.applications if one.flag is not None]
    inside, predicate = facts.training.inside_cond(facts.scan)
    for one in switched:
        unguarded = [
            update for ops in layer.updates.values() for update in ops if not facts.is_guarded(update, one.flag)
        ]
        needed = facts.training.before([one.outputs.op]) if unguarded else ()
        unguarded = [update for update in unguarded if update.op.name in needed]
        if unguarded:
            return [
                entry(
                    "validation-leak",
                    f"The output `{one.outputs.name}` depends on {quoted([u.op.name for u in unguarded])}, and these "
                    f"run whatever `{one.flag.name}` is: each evaluation moves the statistics towards its own data.",
                )
            ]
    if found := chosen_too_late(layer, facts):
        return found
    if inside is not None:
        outside = [
            update.op.name
            for ops in layer.updates.values()
            for update in ops
            if not facts.scan.depth(update.op) and facts.training.reaching(update.op)
        ]
        if outside and not (predicate and facts.is_guarded_by(layer, predicate)):
            return [
                entry(
                    "validation-leak",
                    f"The optimizer's `{inside.name}` is inside a tf.cond, and {quoted(outside)} outside of it: the "
                    f"statistics are updated whichever way the cond goes"
                    + (f" (its predicate is `{predicate}`)." if predicate else ".")
                    + " Either that is meant, as where a step with a bad loss is left out, or a run that should not "
                    "train moves the statistics; what tells them apart is what the predicate stands for.",
                    doubt=True,
                )
            ]
    return []
