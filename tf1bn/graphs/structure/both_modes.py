"""Layers that are called twice, in training and in inference, for one operation to choose between the outputs."""

from ..._util.text import quoted
from ...graphdef.view import CALLS, MERGES, PASSES, SELECTS, SWITCHES
from .entries import entry


def chosen_too_late(layer, facts):
    """The cause that the updates of a training call run although its output is not chosen; a list."""
    trained, tested = (
        [one for one in layer.applications if one.flag is None and one.trains is mode] for mode in (True, False)
    )
    for one in trained:
        choices = _choices(one.outputs.op, facts)
        for other in tested if choices else ():
            both = choices & _choices(other.outputs.op, facts)
            if not both or _source(one.inputs) is not _source(other.inputs):
                continue
            updates = _needed_by(min(both), layer, facts)
            if updates:
                text = (
                    f"`{min(both)}` chooses between the output of a call in training, `{one.outputs.name}`, and of one "
                    f"in inference, `{other.outputs.name}`. Both are made outside of it, so it needs both, whichever "
                    f"way it goes, and {quoted(updates)} run in evaluation too: each evaluation moves the statistics "
                    "towards its own data."
                )
                return [entry("validation-leak", text, variant="both-modes")]
    return []


def _needed_by(choice, layer, facts):
    """The names of the updates of a layer that run whenever an operation does."""
    needed = facts.training.before([facts.source.graph.get_operation_by_name(choice)])
    # What stands in a cond of its own waits for the way that this goes.
    return [
        update.op.name
        for ops in layer.updates.values()
        for update in ops
        if update.op.name in needed and not facts.scan.depth(update.op)
    ]


def _source(tensor):
    """The operation that made a value, before anything passed it on."""
    while tensor.op.type in PASSES:
        tensor = tensor.op.inputs[0]
    return tensor.op


def _choices(op, facts):
    """The names of the operations that choose whether to pass on the value of ``op``."""
    graph, found, seen, stack = facts.source.graph, set(), {op.name}, [op]
    while stack:
        top = stack.pop()
        for name in graph.followers(top.name):
            follower = graph.get_operation_by_name(name)
            if name in seen or all(tensor.op.name != top.name for tensor in follower.inputs):
                continue
            seen.add(name)
            if follower.type in MERGES + SELECTS + CALLS:
                found.add(name)
            elif follower.type in PASSES + SWITCHES:
                stack.append(follower)
    return found
