"""The options of ``tf1bn audit`` and ``tf1bn parity`` that accept what is known: a result with its findings marked.

A baseline file holds the findings of one result: {"format": "tf1bn-baseline", "version": 1, "accepted": [{"layer",
"cause"}]}. A cause that is accepted stands in the JSON with "accepted": true, and its layer is no finding by it.
"""

import fnmatch

from .._util import strict_json
from .._util.text import did_you_mean
from ..errors import CommandError
from ..verdicts import CAUSES, FINDING, OK, UNDECIDABLE

FORMAT, VERSION = "tf1bn-baseline", 1
BYTES = 2**26


def add_arguments(parser):
    """Declare the options on an argparse parser."""
    parser.add_argument(
        "--accept",
        metavar="CAUSE[:LAYERS]",
        action="append",
        default=[],
        help="take this cause as known, in layers with such names, as in 'no-bessel:block1/*'; may be repeated",
    )
    parser.add_argument("--baseline", metavar="FILE", help="take the findings in this file as known")
    parser.add_argument("--write-baseline", metavar="FILE", help="write the findings as such a file")


class Known:
    """What is accepted.

    Args:
      accept: texts "CAUSE" or "CAUSE:LAYERS".
      baseline: the path of a baseline file, or None.

    Raises:
      CommandError: a cause is not known, or the file cannot be read or is none.
    """

    def __init__(self, accept, baseline):
        self._rules = [_rule(text) for text in accept]
        self._pairs = set() if baseline is None else _read(baseline)
        self._used = set()

    def apply(self, result, rejudge):
        """The result with the accepted causes marked, and with its verdicts as they are without them.

        Args:
          result: the dict of the JSON of an audit or of a comparison.
          rejudge: a function that recomputes the verdicts of a result whose causes are marked.
        """
        if not self._rules and not self._pairs:
            return result
        layers = [
            {**layer, "causes": [self._marked(cause, names) for cause in layer["causes"]]}
            for layer in result["layers"]
            for names in [_names(layer)]
        ]
        unused = [f"{cause}{'' if layers == '*' else ':' + layers}" for cause, layers in self._rules]
        notes = [f"`--accept {text}` matches no finding." for text in unused if text not in self._used]
        stale = [f"{cause} in {layer}" for layer, cause in sorted(self._pairs) if (layer, cause) not in self._used]
        notes += [f"The baseline accepts {text}, which is no longer a finding." for text in stale]
        return rejudge({**result, "layers": layers, "notes": [*result.get("notes", ()), *notes]})

    def _marked(self, cause, names):
        if cause["severity"] != FINDING:
            return cause
        found = False
        for name, pattern in self._rules:
            if name == cause["id"] and any(fnmatch.fnmatchcase(layer, pattern) for layer in names):
                self._used.add(f"{name}{'' if pattern == '*' else ':' + pattern}")
                found = True
        if (names[0], cause["id"]) in self._pairs:
            self._used.add((names[0], cause["id"]))
            found = True
        return {**cause, "accepted": True} if found else cause


def rejudge_audit(result):
    """The result of an audit with the verdicts that are left where causes are accepted."""
    layers = [_rejudged(layer) for layer in result["layers"]]
    starts = [
        (layer["first_step"], i)
        for i, layer in enumerate(layers)
        if layer["verdict"] == FINDING and layer.get("first_step") is not None
    ]
    first = min(starts)[1] if starts else None
    layers = [{**layer, "first": i == first} if "first" in layer else layer for i, layer in enumerate(layers)]
    ok = bool(layers) and not result.get("problems") and all(layer["verdict"] == OK for layer in layers)
    return {**result, "layers": layers, "ok": ok}


def _rejudged(layer):
    findings = [cause for cause in layer["causes"] if cause["severity"] == FINDING]
    if layer["verdict"] != FINDING or not findings or not all(cause.get("accepted") for cause in findings):
        return layer
    verdict = UNDECIDABLE if layer.get("undecided") else OK
    return {**layer, "verdict": verdict, "explanation": f"Accepted: {layer['explanation']}"}


def baseline_of(result):
    """The bytes of a baseline file that accepts all findings of a result."""
    accepted = [
        {"layer": _names(layer)[0], "cause": cause["id"]}
        for layer in result["layers"]
        for cause in layer["causes"]
        if cause["severity"] == FINDING
    ]
    return strict_json.to_json({"format": FORMAT, "version": VERSION, "accepted": accepted}).encode()


def _names(layer):
    """The names of a layer, first the one that a baseline has."""
    return list(dict.fromkeys(name for name in (layer["name"], layer.get("old"), layer.get("new")) if name is not None))


def _rule(text):
    cause, _, layers = text.partition(":")
    if cause not in CAUSES:
        raise CommandError(
            f"`--accept` is {text!r}, and {cause!r} is no cause; give one of the ids in docs/causes.md, as in "
            f"no-bessel or no-bessel:block1/*.{did_you_mean(cause, CAUSES)}"
        )
    return cause, layers or "*"


def _read(path):
    """The set of (layer, cause) in a baseline file."""
    try:
        found = strict_json.read(path, BYTES)
    except OSError as error:
        raise CommandError(f"`--baseline` is {path!r}, which cannot be read: {error.strerror or error}.") from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise CommandError(f"`--baseline` is {path!r}, which is no baseline; give a file that --write-baseline wrote.")
    accepted = found.get("accepted")
    pairs = set()
    for entry in accepted if isinstance(accepted, list) else [None]:
        names = (entry.get("layer"), entry.get("cause")) if isinstance(entry, dict) else (None,)
        if not all(isinstance(name, str) for name in names):
            raise CommandError(f"`--baseline` is {path!r}, whose `accepted` must be a list of layers with causes.")
        pairs.add(names)
    return pairs
