"""Results to make pages of, and a parser that says what is on a page."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}
ATTACK = "</h3></script></style><script>alert(1)</script>&<b>'\"x"


class Page(HTMLParser):
    """The tags, the text and the rows of a page, which is checked for what every page must be.

    Tags close, ids are unique, links and references lead somewhere, nothing is loaded, and nothing runs or is styled
    but the one script and the one style sheet whose hashes the policy has.
    """

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], "", []
        self.sheets, self.scripts = [], []
        self.feed(text)
        self.close()
        assert not self.open
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(self.ids) == len(set(self.ids))
        for tag, attributes in self.tags:
            if tag == "a":
                assert attributes["href"][1:] in self.ids
            for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
                assert name not in attributes or attributes[name] in self.ids
            assert not {"src", "srcset", "action", "style", "background"} & set(attributes)
            assert not [name for name in attributes if name.startswith("on")]
        used = {tag for tag, _ in self.tags}
        assert used & {"link", "iframe", "object", "embed", "img", "form", "base", "use", "image"} == set()
        self._check_policy()
        self.text = " ".join(self.text.split())
        self.rows = [" ".join(row.split()) for row in self.rows]

    def _check_policy(self):
        (policy,) = self.find("meta", **{"http-equiv": "Content-Security-Policy"})
        allowed = dict(part.strip().split(" ", 1) for part in policy["content"].split(";"))
        assert allowed.pop("default-src") == "'none'"
        assert {"base-uri": allowed.pop("base-uri"), "form-action": allowed.pop("form-action")} == {
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        for name, texts in (("style-src", self.sheets), ("script-src", self.scripts)):
            (text,) = texts
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert allowed.pop(name) == f"'sha256-{digest}'"
        assert not allowed

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "wbr":
            self.handle_data(" ")
        if tag == "tr" and dict(attributes).get("class") == "row":
            self.rows.append("")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "style":
            self.sheets.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr" and self.rows and not self.rows[-1].endswith("\0"):
            self.rows[-1] += "\0"

    def handle_data(self, data):
        if "style" in self.open:
            self.sheets[-1] += data
        elif "script" in self.open:
            self.scripts[-1] += data
        else:
            self.text += data
            if self.rows and not self.rows[-1].endswith("\0"):
                self.rows[-1] += data

    @property
    def cells(self):
        """The texts of the rows of the table of layers."""
        return [row.rstrip("\0").strip() for row in self.rows]

    def find(self, tag, **wanted):
        """The attributes of all such tags that have these."""
        return [a for t, a in self.tags if t == tag and all(a.get(key) == value for key, value in wanted.items())]


def drawn(text):
    """All that the paths and places of the plots on a page say."""
    return " ".join(re.findall(r' (?:d|x|y|cx|cy)="([^"]*)"', "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))))


def curve(steps=20, error=0.5, expected_error=0.05, worst_case=0.1, channel=3):
    """The curve of one statistic whose error grows from 0 to ``error``."""
    expected = [2 - 2 * 0.9**i for i in range(steps)]
    return {
        "channel": channel,
        "step": list(range(steps)),
        "observed": [value + error * i / max(steps - 1, 1) for i, value in enumerate(expected)],
        "expected": expected,
        "expected_error": [expected_error] * steps,
        "worst_case": [worst_case] * steps,
    }


def layer(name, verdict="ok", causes=(), **more):
    """A layer of the audit of a trace."""
    numbers = {"mean_error": 1e-7, "mean_bound": 4e-6, "variance_error": 2e-7, "variance_bound": 3e-6, "steps": 20}
    return {"name": name, "verdict": verdict, "causes": list(causes), **numbers, **more}


def worst(error, expected_error, worst_case, channel=1, step=7):
    """Where one statistic of a layer is farthest off, as the JSON of an audit says it."""
    return {
        "channel": channel,
        "step": step,
        "observed": 1 + error,
        "expected": 1.0,
        "error": error,
        "expected_error": expected_error,
        "worst_case": worst_case,
    }


def cause(name, severity="finding", explanation="It is said in words.", misfit=0.25, **more):
    """A cause."""
    return {"id": name, "severity": severity, "explanation": explanation, "misfit": misfit, **more}


def audit(*layers, **more):
    """The audit of a trace."""
    ok = bool(layers) and all(one["verdict"] == "ok" for one in layers)
    return {"format": "tf1bn-audit", "ok": ok, "layers": list(layers), **more}


def mixed():
    """Every severity, with and without curves."""
    return audit(
        layer("good", curves={"moving_mean": curve(error=1e-7, expected_error=4e-6, worst_case=4e-5)}),
        layer("young", causes=[cause("cold-start", "advisory", remedy="Train longer.")]),
        layer("open", "undecidable", explanation="400 steps would decide."),
        layer(
            "worse",
            "finding",
            [cause("bessel", remedy="Divide by N."), cause("double-update", misfit=0.9)],
            mean_error=4e-4,
        ),
        layer(
            "head",
            "finding",
            [cause("unexplained", misfit=None)],
            first=True,
            first_step=0,
            estimates={"alpha": [0.1, 0.2], "k": 1.016},
            curves={"moving_mean": curve(), "moving_variance": curve(expected_error=1e-6, worst_case=1e-5)},
        ),
        path="run.trace",
        tf1bn="9.8.7",
        problems=["The last step is unfinished."],
    )


def many(count):
    """A large network: each seventh layer wrong, some undecidable, some with advice."""
    layers = []
    for i in range(count):
        name = f"net/block_{i // 3 + 1}/conv_{i % 3 + 1}/BatchNorm"
        if i % 7 == 0:
            causes = [cause("bessel" if i % 14 else "decay", remedy="Change it.")]
            curves = {"moving_mean": curve(error=1e-9), "moving_variance": curve()}
            errors = {"variance_error": 0.5, "variance_bound": 0.1, "first_step": i % 20}
            errors["worst"] = {"mean": None, "variance": worst(0.5, 0.05, 0.1, 3, 19)}
            layers.append(layer(name, "finding", causes, curves=curves, explanation=causes[0]["explanation"], **errors))
        elif i % 11 == 0:
            layers.append(layer(name, "undecidable", explanation=f"N = {i}, so record smaller batches."))
        elif i % 13 == 0:
            layers.append(layer(name, causes=[cause("cold-start", "advisory", remedy="Train longer.")]))
        else:
            layers.append(layer(name, explanation="The statistics are what they should be."))
    return audit(*layers, path="run.trace", tf1bn="9.8.7")
