"""What a trace is of and what it declares of its layers, in words: the head line of a report, details of a layer.

Results may come from a file, so that nothing is taken to be what it should be.
"""

from __future__ import annotations

import collections

from ..._util.text import counted

SHOWN = ("decay", "epsilon", "data_format", "axis", "dtype", "fused")


def head_line(result, usual):
    """The framework, the steps and what every layer declares, a sentence; None where the result says none of it.

    Args:
      result: the dict of the audit's JSON; usual: the `usual_settings` of its layers.
    """
    layers = result["layers"]
    framework = _framework(result.get("about"))
    settings = ", ".join(usual.values())
    if settings and len(layers) > 1:
        alike = not any(own_settings(layer, usual) for layer in layers)
        settings = f"declared of {'every layer' if alike else 'most layers'}: {settings}"
    elif settings:
        settings = f"declared: {settings}"
    parts = [part for part in (framework, _steps(layers), settings) if part]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else None


def head_of_comparison(result):
    """The framework and the steps of both runs, a sentence; None where no framework is known."""
    about, steps = _dict(result.get("about")), result.get("steps")
    frameworks = [_framework(about.get(run)) for run in ("old", "new")]
    if not any(frameworks):
        return None
    counts = steps if isinstance(steps, list) and len(steps) == 2 else [None, None]
    runs = [
        ", ".join([framework or "an unknown framework", *([counted(count, "step")] if isinstance(count, int) else ())])
        for framework, count in zip(frameworks, counts, strict=True)
    ]
    return f"OLD: {runs[0]}; NEW: {runs[1]}."


def _framework(about):
    known = _dict(about)
    if not known.get("framework"):
        return ""
    return " ".join(str(known[key]) for key in ("framework", "framework_version") if key in known)


def usual_settings(layers):
    """What more than half of the layers declare alike: dict from names of settings to words."""
    usual = {}
    for name in SHOWN:
        texts = [_in_words(name, _dict(layer.get("settings")).get(name)) for layer in layers]
        for text, count in collections.Counter(texts).most_common(1):
            if text and 2 * count > len(layers):
                usual[name] = text
    return usual


def own_settings(layer, usual):
    """What a layer declares other than the usual settings, in words; "" if that is nothing."""
    settings = _dict(layer.get("settings"))
    texts = {name: _in_words(name, settings.get(name)) for name in SHOWN}
    return ", ".join(text for name, text in texts.items() if text and text != usual.get(name))


def in_words(settings):
    """Settings as text: "decay 0.9, epsilon 0.001, NHWC, float32, population variance"."""
    texts = (_in_words(name, settings.get(name)) for name in SHOWN)
    return ", ".join(text for text in texts if text)


def _in_words(name, value):
    """A setting as text; "" where it is not declared."""
    if name == "fused" and isinstance(value, bool):
        return "variance with N/(N-1)" if value else "population variance"
    if name in ("data_format", "dtype") and isinstance(value, str):
        return value
    return f"{name} {value:.9g}" if isinstance(value, (int, float)) else ""


def _steps(layers):
    """How many steps hold the layers, and how many of them train: "4 steps (3 training, 1 inference)"."""
    pairs = [(layer.get("steps"), layer.get("training_steps")) for layer in layers]
    if not pairs or not all(type(count) is int for pair in pairs for count in pair):
        return ""
    steps, training = ([pair[i] for pair in pairs] for i in (0, 1))
    withheld = [count if type(count := layer.get("withheld_steps")) is int else 0 for layer in layers]
    inference = [pair[0] - pair[1] - count for pair, count in zip(pairs, withheld, strict=True)]
    without = f"{_count(withheld)} training without updates, " if any(withheld) else ""
    of_each = f"{_count(training)} training, {without}{_count(inference)} inference"
    if len(set(steps)) == 1:
        return f"{counted(steps[0], 'step')} ({of_each})"
    return f"{_count(steps)} steps of each layer ({of_each})"


def _count(counts):
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _dict(value):
    return value if isinstance(value, dict) else {}
