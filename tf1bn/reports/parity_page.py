"""The result of a comparison of two runs or checkpoints as an HTML page."""

from .._util.text import counted, in_words
from ..parity.verdict import share
from . import html
from .checkpoint_values import COLUMNS, differences, is_checkpoint
from .page_content import error_in_words
from .parity import data_sentence, headline, matched_names


def render_comparison(result, curves=None):
    """The HTML page of a comparison, a string.

    Args:
      result: the dict of the comparison's JSON.
      curves: dict from a layer's name in NEW to what `curves.Curves.of` gives for it, where what is expected follows
        the rules of OLD; None for no plots.

    Raises:
      ImportError: jinja2 or matplotlib is missing; the message says how to install it.
    """
    layers = [
        {**_layer_of_page(layer), "curves": (curves or {}).get(layer.get("new"), {})} for layer in result["layers"]
    ]
    if is_checkpoint(result):
        layers = [
            {**shown, "cells": list(zip(COLUMNS, differences(layer), strict=True))}
            for shown, layer in zip(layers, result["layers"], strict=True)
        ]
    problems = result.get("problems") or []
    renames = (group.get("sentence") for group in result.get("renames", ()))
    sentences = (data_sentence(result), *renames, *result.get("notes", ()))
    return html.render(
        {
            "kind": result.get("kind"),
            "tf1bn": result.get("tf1bn"),
            "path": f"{result.get('old')} -> {result.get('new')}",
            "ok": result["ok"],
            "layers": layers,
            "problems": problems,
            "notes": [sentence for sentence in sentences if sentence and sentence not in problems],
            "headline": headline(result),
            "legend": "Observed is NEW; expected is what OLD's rules make of NEW's inputs.",
        },
        f"Parity of {result.get('new')} with {result.get('old')}",
    )


def _layer_of_page(layer):
    """A layer of the comparison in the form of a layer of an audit, which `html.render` shows."""
    shown = {
        "name": matched_names(layer),
        "verdict": layer["verdict"],
        "first": layer.get("first"),
        "causes": [{k: v for k, v in cause.items() if k != "misfit" or v is not None} for cause in layer["causes"]],
        "explanation": layer.get("explanation"),
        "steps": layer.get("steps") or 0,
        "facts": _facts(layer),
        "estimates": _estimates(layer),
        **_errors(layer),
    }
    for name in ("inherited_error", "added_error"):
        if layer.get(name) is not None:
            shown[name] = layer[name]
    return shown


def _errors(layer):
    """The worst error of each moving statistic and its bound, by the names that an audit has for them."""
    errors = {}
    for name in ("mean", "variance"):
        checks = [check for check in layer.get("checks") or [] if _is_moving(check, name)]
        worst = max(checks, key=share, default=None)
        errors[f"{name}_error"] = None if worst is None else worst["error"]
        errors[f"{name}_bound"] = None if worst is None else worst["bound"]
    return errors


def _is_moving(check, name=""):
    """Whether a check is about a moving statistic after training, which has its own line on the page."""
    return "start" not in check["what"] and (
        check["what"].endswith(f"moving {name}") if name else "moving" in check["what"]
    )


def _estimates(layer):
    estimates = {}
    for run in ("old", "new"):
        effective = (layer.get("effective") or {}).get(run) or {}
        for name in ("decay", "factor", "epsilon"):
            value = effective.get(name)
            if value not in (None, [None, None]):
                estimates[f"{'variance factor' if name == 'factor' else name} in {run.upper()}"] = value
    return estimates


def _differences(layer):
    """One dict per variable from a comparison of checkpoints; none from one of runs, which has a dict here."""
    differences = layer.get("differences")
    return [item for item in differences if isinstance(item, dict)] if isinstance(differences, list) else []


def _facts(layer):
    """Pairs of a name and a text: what was compared besides the moving statistics."""
    facts = []
    data = layer.get("data") or {}
    if data.get("state") is not None:
        words = {"bitwise": "equal bit for bit", "moments": "equal in their moments"}
        text = words.get(data["state"]) or data.get("reason")
        facts.append(("inputs in the first step", text or f"{in_words(data.get('error'))} standard deviations apart"))
    facts += [(check["what"], _check_in_words(check)) for check in layer.get("checks") or [] if not _is_moving(check)]
    facts += [(f"{item.get('what')}: {_names(item)}", _difference_in_words(item)) for item in _differences(layer)]
    return facts


def _names(item):
    """The name of a variable in OLD and in NEW, once where it is the same."""
    old, new = item.get("old"), item.get("new")
    return old if old == new else f"{old} -> {new}"


def _check_in_words(check):
    text = f"error {error_in_words(check['error'], check['bound'], share(check))}"
    if check["error"] and check.get("channel") is not None:
        values = f"{in_words(check.get('old'))} -> {in_words(check.get('new'))}"
        text += f" (step {check.get('step')}, channel {check['channel']}: {values})"
    return text


def _difference_in_words(difference):
    if difference.get("equal"):
        return f"equal in {counted(difference.get('channels'), 'channel')}"
    if difference.get("differing") is None:
        return "of different sizes"
    text = f"different in {difference['differing']} of {counted(difference.get('channels'), 'channel')}"
    if difference.get("within"):
        text += ", by no more than rounding"
    if difference.get("values"):
        old, new = ("not finite" if value is None else in_words(value) for value in difference["values"])
        if old == new and None not in difference["values"]:
            # The digits in which they differ.
            old, new = (f"{value:.9g}" for value in difference["values"])
        text += f", most in channel {difference.get('channel')}: {old} -> {new}"
    return text
