"""The result of a comparison of two runs or checkpoints as terminal text, HTML page and exit code. Decides nothing."""

import math

from .._util.printable import printable_values
from .._util.text import in_words
from ..parity.verdict import share
from ..verdicts import VERDICTS
from .audit import counted, print_table


def ranked(layers):
    """The layers, the most severe first, and what diverges first before the others."""
    return sorted(layers, key=lambda layer: (VERDICTS.index(layer["verdict"]), not layer.get("first"), _advised(layer)))


def _advised(layer):
    return not layer["causes"]


def parity(found, out, *, quiet=False):
    """Print the dict of a comparison to the rich console ``out``."""
    from rich.text import Text

    found = printable_values(found)
    layers = ranked(found["layers"])
    if (found.get("data") or {}).get("sentence"):
        out.print(Text(found["data"]["sentence"]))
    rows = [
        (layer, called(layer), "diverges first" if layer.get("first") else "", said(layer))
        for layer in layers
        if not quiet or layer["verdict"] != "ok"
    ]
    print_table(rows, out, causes_width=16)
    for sentence in (*found.get("problems", ()), *found.get("notes", ())):
        if sentence != (found.get("data") or {}).get("sentence"):
            out.print(Text(sentence))
    out.print(Text(summary(found)), soft_wrap=True)


def called(layer):
    """The layer's name on both sides, and how the two were matched."""
    old, new = layer.get("old"), layer.get("new")
    if old is None or new is None:
        return f"{old or new} (only in {'NEW' if old is None else 'OLD'})"
    how = {"guess": " (guess)", "map": " (map)"}.get(layer.get("matched"), "")
    return (old if old == new else f"{old} -> {new}") + how


def said(layer):
    """The explanation, and what the outputs are off."""
    text = layer.get("explanation") or " ".join(cause["explanation"] for cause in layer["causes"])
    added, inherited = layer.get("added_error"), layer.get("inherited_error")
    if layer["verdict"] != "ok" and added is not None:
        text += f" Its outputs: {added:.2g} off by its own doing"
        text += "." if inherited is None else f", {inherited:.2g} by other inputs."
    return text


def summary(found):
    """The last line."""
    layers = found["layers"]
    names = f"{found.get('old')} -> {found.get('new')}"
    if not layers:
        return f"{names}: no layers, so nothing was compared."
    return f"{names}: {counted(layers)}"


def page(found, curves=None):
    """The HTML page; ``curves``: by NEW's name, what `curves.Curves.of` gives for NEW by the rules of OLD.

    Raises:
      ImportError: jinja2 or matplotlib is missing; the message says how to install it.
    """
    from . import html as htmlreport

    layers = [{**_of_page(layer), "curves": (curves or {}).get(layer.get("new"), {})} for layer in found["layers"]]
    sentence = (found.get("data") or {}).get("sentence")
    problems = found.get("problems") or []
    return htmlreport.render(
        {
            "tf1bn": found.get("tf1bn"),
            "path": f"{found.get('old')} -> {found.get('new')}",
            "ok": found["ok"],
            "layers": layers,
            "problems": problems,
            "notes": [one for one in (sentence, *found.get("notes", ())) if one and one not in problems],
            "headline": headline(found),
            "legend": "Observed is NEW; expected is what OLD's rules make of NEW's inputs.",
        },
        f"Parity of {found.get('new')} with {found.get('old')}",
    )


def headline(found):
    """The whole comparison in a sentence."""
    layers = found["layers"]
    if not layers:
        return "Nothing was compared: there are no layers."
    wrong = sum(layer["verdict"] == "finding" for layer in layers)
    of_all = f"of {len(layers)} layer{'s' if len(layers) > 1 else ''}"
    if wrong:
        first = next((f": {called(layer)} diverges first" for layer in layers if layer.get("first")), "")
        return f"NEW does not do what OLD does in {wrong} {of_all}{first}."
    unsure = sum(layer["verdict"] == "undecidable" for layer in layers)
    if unsure:
        return f"No difference was found, but {unsure} {of_all} could not be decided."
    if not found["ok"]:
        return "No difference was found, but not everything could be compared."
    return f"NEW does what OLD does in {'the layer' if len(layers) == 1 else f'all {len(layers)} layers'}."


def _of_page(layer):
    errors = {}
    for name in ("mean", "variance"):
        checks = [
            one
            for one in layer.get("checks") or []
            if one["what"].endswith(f"moving {name}") and "start" not in one["what"]
        ]
        worst = max(checks, key=share, default=None)
        errors[f"{name}_error"] = None if worst is None else worst["error"]
        errors[f"{name}_bound"] = None if worst is None else worst["bound"]
        for one in _differences(layer):
            if one.get("what") == f"moving {name}" and one.get("differing") is not None:
                # Nothing but the same numbers is allowed in a checkpoint.
                away = one.get("largest")
                errors |= {f"{name}_error": math.nan if away is None else away, f"{name}_bound": 0.0}
    shown = {
        "name": called(layer),
        "verdict": layer["verdict"],
        "first": layer.get("first"),
        "causes": [{k: v for k, v in cause.items() if k != "misfit" or v is not None} for cause in layer["causes"]],
        "explanation": layer.get("explanation"),
        "steps": layer.get("steps") or 0,
        "facts": _facts(layer),
        "estimates": _estimates(layer),
        **errors,
    }
    for name in ("inherited_error", "added_error"):
        if layer.get(name) is not None:
            shown[name] = layer[name]
    return shown


def _estimates(layer):
    found = {}
    for side in ("old", "new"):
        effective = (layer.get("effective") or {}).get(side) or {}
        for name in ("decay", "factor", "epsilon"):
            value = effective.get(name)
            if value not in (None, [None, None]):
                found[f"{'variance factor' if name == 'factor' else name} in {side.upper()}"] = value
    return found


def _differences(layer):
    """What a comparison of checkpoints says of each variable; that of runs has a dict of its own in its place."""
    found = layer.get("differences")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _facts(layer):
    """Pairs of a name and a text: what was compared beside the moving statistics."""
    facts = []
    data = layer.get("data") or {}
    if data.get("state") is not None:
        words = {"bitwise": "the same bit for bit", "moments": "of the same moments"}
        text = words.get(data["state"]) or data.get("reason") or f"{in_words(data['error'])} deviations apart"
        facts.append(("inputs in the first step", text))
    for check in layer.get("checks") or []:
        if "moving" in check["what"] and "start" not in check["what"]:
            continue
        text = f"{in_words(check['error'])} off, {in_words(check['bound'])} allowed"
        if not share(check) <= 1:
            text += f", {in_words(share(check))} times the bound"
        if check["error"] and check.get("channel") is not None:
            text += f" (step {check['step']}, channel {check['channel']}: "
            text += f"{in_words(check['old'])} -> {in_words(check['new'])})"
        facts.append((check["what"], text))
    for one in _differences(layer):
        if one.get("equal"):
            text = f"the same numbers in {one.get('channels')} channels"
        elif one.get("differing") is None:
            text = "of another size"
        else:
            text = f"other numbers in {one['differing']} of {one.get('channels')} channels"
            if one.get("values"):
                old, new = ("not finite" if value is None else in_words(value) for value in one["values"])
                text += f", most in channel {one.get('channel')}: {old} -> {new}"
        facts.append((f"{one.get('what')}: {one.get('old')} -> {one.get('new')}", text))
    return facts
