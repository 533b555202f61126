"""Causes in the mode that layers are in where a graph tests: batch statistics in what was exported or frozen."""

from ..._util.text import quoted
from ...verdicts import ADVISORY
from .entries import entry


def modes(layer, facts):
    """The causes of a layer that normalises by its batches where the graph tests."""
    always = [one for one in layer.applications if one.flag is None and one.trains and not one.problem]
    for name, (inputs, _), needed in facts.signatures:
        for one in always:
            if one.outputs.op.name in needed:
                return [_exported(one, f"which the signature `{name}` runs")]
        for one in layer.applications:
            kind, flag, default = facts.scan.flag_words(one) if one.flag is not None else (None, None, None)
            unfed = kind == "placeholder with a default" and default is True and one.outputs.op.name in needed
            if unfed and flag.partition(":")[0] not in {text.partition(":")[0] for text in inputs}:
                return [
                    entry(
                        "batch-stats-at-inference",
                        f"`{one.outputs.op.name}` depends on `{flag}`, whose default is True and which the "
                        f"signature `{name}` does not take: it normalises by the batches that it is given.",
                    )
                ]
    if facts.training.trains or facts.signatures:
        return []
    if always and len(always) == len(layer.applications):
        if facts.source.outputs is not None:
            text = (
                f"`is_training` is the constant True in `{always[0].outputs.op.name}`, in a function without "
                "gradients. Either it recomputes the statistics, and all is well, or it is inference in training "
                "mode; what tells them apart is where it is called."
            )
            return [entry("batch-stats-at-inference", text, doubt=True)]
        if facts.training.has_gradients:
            text = (
                f"`is_training` is the constant True in `{always[0].outputs.op.name}`, in a graph with gradients and "
                "nothing that applies them. Either they are applied outside of it, in training, or it is inference in "
                "training mode; what tells them apart is what runs it."
            )
            return [entry("batch-stats-at-inference", text, doubt=True)]
        return [_exported(always[0], "in a graph with no optimizer")]
    return [*_default_on(layer, facts)]


def _default_on(layer, facts):
    for one in layer.applications:
        kind, flag, default = facts.scan.flag_words(one)
        if kind == "placeholder with a default" and default is True:
            text = f"`is_training` is `{flag}` with the default True, in a graph without an optimizer: a test has to "
            yield entry("batch-stats-at-inference", f"{text}feed False.", ADVISORY)
            return


def _exported(application, where):
    return entry(
        "batch-stats-at-inference",
        f"`is_training` is the constant True in `{application.outputs.op.name}`, {where}: it normalises by the "
        "batches that it is given and leaves the moving statistics aside.",
    )


def bare(pattern, facts):
    """The cause of a layer in training mode without moving statistics."""
    if facts.training.trains:
        text = (
            f"{quoted([pattern.op.name])} normalises by the batches that it is given, and nothing in the graph "
            "averages their moments. Either tests run another graph, or batches are meant there too, as in "
            "some generators, or tests depend on their batches by mistake; what tells these apart is what runs a test."
        )
        return entry("batch-stats-at-inference", text, doubt=True)
    return entry(
        "batch-stats-at-inference",
        f"{quoted([pattern.op.name])} normalises by the batches that it is given, and the graph has no moving "
        "statistics of it: it was exported or frozen in training mode.",
    )
