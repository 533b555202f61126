"""The page of an audit: whole, safe to open, the same each time, and looked at by a real browser."""

import copy
import math
import re
import sys
from html.parser import HTMLParser

import browser
import numpy as np
import pytest

from tf1bn import errors
from tf1bn._util import text as text_module
from tf1bn.reports import curve_data, curve_plot
from tf1bn.reports import html as htmlreport

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}
ATTACK = "</h3><script>alert(1)</script>&<b>'\"x"


class Page(HTMLParser):
    """Tags that close, ids that are unique, links that lead somewhere, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(self.ids) == len(set(self.ids))
        for tag, attributes in self.tags:
            if tag in ("a", "use"):
                assert attributes["href"][1:] in self.ids
            if "aria-labelledby" in attributes:
                assert attributes["aria-labelledby"] in self.ids
            assert not {"src", "srcset", "action", "onclick", "onload"} & set(attributes)
        for used in re.findall(r"url\(#([^)]*)\)", text):
            assert used in self.ids
        assert {tag for tag, _ in self.tags} & {"script", "link", "iframe", "object", "img", "form"} == set()
        assert "//" not in re.sub(r"<title>.*?</title>", "", text)
        assert "@import" not in text
        self.text = " ".join(self.text.split())
        self.rows = [" ".join(row.split()) for row in self.rows]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.handle_data(" ")
        if tag == "tr":
            self.rows.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "tr" in self.open:
            self.rows[-1] += data

    def find(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(key) == value for key, value in wanted.items())]


def curve(steps=20, error=0.5, bound=0.1, channel=3):
    expected = [2 - 2 * 0.9**i for i in range(steps)]
    return {
        "channel": channel,
        "step": list(range(steps)),
        "observed": [value + error * i / max(steps - 1, 1) for i, value in enumerate(expected)],
        "expected": expected,
        "bound": [bound] * steps,
    }


def layer(name, verdict="ok", causes=(), **more):
    numbers = {"mean_error": 1e-7, "mean_bound": 4e-6, "variance_error": 2e-7, "variance_bound": 3e-6, "steps": 20}
    return {"name": name, "verdict": verdict, "causes": list(causes), **numbers, **more}


def cause(name, severity="finding", explanation="It is said in words.", misfit=0.25):
    return {"id": name, "severity": severity, "explanation": explanation, "misfit": misfit}


def audit(*layers, **more):
    ok = bool(layers) and all(one["verdict"] == "ok" for one in layers)
    return {"format": "tf1bn-audit", "ok": ok, "layers": list(layers), **more}


def mixed():
    """Every severity, with and without curves."""
    return audit(
        layer("good", curves={"moving_mean": curve(error=1e-7, bound=4e-6)}),
        layer("young", causes=[cause("cold-start", "advisory")]),
        layer("open", "undecidable", explanation="400 steps would decide."),
        layer("worse", "finding", [cause("bessel"), cause("double-update", misfit=0.9)], mean_error=4e-4),
        layer(
            "head",
            "finding",
            [cause("unexplained", misfit=None)],
            first=True,
            inherited_error=0.125,
            added_error=0.375,
            estimates={"alpha": [0.1, 0.2], "k": 1.016},
            curves={"moving_mean": curve(), "moving_variance": curve(bound=1e-6)},
        ),
        path="run.trace",
        tf1bn="9.8.7",
        problems=["The last step is unfinished."],
    )


def test_the_page_says_what_the_audit_found():
    page = Page(htmlreport.render(mixed()))
    assert "Audit of run.trace" in page.text
    assert "Something is wrong in 2 of 5 layers." in page.text
    for count in ("2 finding", "1 undecidable", "1 advisory", "1 ok"):
        assert count in page.text
    assert "The last step is unfinished." in page.text
    assert "tf1bn 9.8.7" in page.text
    assert "400 steps would decide." in page.text
    assert "explains the numbers; largest remaining error 25 % of the allowed" in page.text
    assert "largest remaining error: not given" in page.text
    assert "output error inherited through its inputs 0.125 output error of its own 0.375" in page.text
    assert "estimate of alpha between 0.1 and 0.2 estimate of k 1.016" in page.text
    assert page.text.index("bessel: It is said in words.") < page.text.index("double-update: It is said in words.")


def test_the_table_is_sorted_by_severity_and_marks_the_first():
    page = Page(htmlreport.render(mixed()))
    assert page.rows == [
        "layer verdict causes moving mean moving variance",
        "head diverges first finding unexplained 1e-07, allowed 4e-06 2e-07, allowed 3e-06",
        "worse finding bessel, double-update 0.0004, 100 times the allowed 4e-06 2e-07, allowed 3e-06",
        "open undecidable none 1e-07, allowed 4e-06 2e-07, allowed 3e-06",
        "young ok, advisory cold-start 1e-07, allowed 4e-06 2e-07, allowed 3e-06",
        "good ok none 1e-07, allowed 4e-06 2e-07, allowed 3e-06",
    ]
    assert page.text.count("diverges first") == 2
    assert len(page.find("th", scope="col")) == 5
    assert len(page.find("th", scope="row")) == 5
    assert page.find("html", lang="en")
    # Of equally severe layers the one that is further off comes first, and what has no number before all others.
    rows = Page(
        htmlreport.render(
            audit(*(layer(f"by {e}", "finding", mean_error=e) for e in (1e-5, 1e-3, math.nan, 1e-4))),
        )
    ).rows
    assert [row.split(" finding")[0] for row in rows[1:]] == ["by nan", "by 0.001", "by 0.0001", "by 1e-05"]


def test_an_explanation_is_not_said_twice():
    text = "Within the bound. It is said in words. Epsilon is unknown."
    page = Page(htmlreport.render(audit(layer("x", causes=[cause("cold-start", "advisory")], explanation=text))))
    assert page.text.count("It is said in words.") == 1
    assert "Within the bound. Epsilon is unknown. cold-start" in page.text


def test_good_layers_are_folded_and_others_are_not():
    text = htmlreport.render(mixed())
    folded = text[text.index("<details>") : text.index("</details>")]
    assert 'id="layer-5"' in folded
    assert "1 layer that is ok" in folded
    for number in range(1, 5):
        assert f'id="layer-{number}"' in text[: text.index("<details>")]
    assert "<details>" not in htmlreport.render(audit(layer("alone")))


@pytest.mark.parametrize(
    ("layers", "more", "sentence", "tone"),
    [
        ([], {}, "Nothing was judged: there are no layers.", "undecidable"),
        (["ok"], {}, "The layer is as it should be.", "ok"),
        (["ok", "ok"], {}, "All 2 layers are as they should be.", "ok"),
        (["ok", "advisory"], {}, "All 2 layers are as they should be, with advice for 1.", "advisory"),
        (["advisory"], {}, "The layer is as it should be, with advice.", "advisory"),
        (
            ["ok", "undecidable"],
            {},
            "Nothing wrong was found, but 1 of 2 layers could not be decided.",
            "undecidable",
        ),
        (["finding", "undecidable"], {}, "Something is wrong in 1 of 2 layers.", "finding"),
        (["finding"], {"ok": True}, "Something is wrong in 1 of 1 layer.", "finding"),
        (["ok"], {"problems": ["Cut."]}, "Nothing wrong was found, but the audit is not complete.", "undecidable"),
        (["ok"], {"ok": False}, "Nothing wrong was found, but the audit is not complete.", "undecidable"),
        (["a new verdict"], {}, "Nothing wrong was found, but 1 of 1 layer could not be decided.", "undecidable"),
    ],
)
def test_the_verdict_in_words(layers, more, sentence, tone):
    made = [
        layer("x", causes=[cause("cold-start", "advisory")]) if verdict == "advisory" else layer("x", verdict)
        for verdict in layers
    ]
    text = htmlreport.render({**audit(*made), **more})
    assert sentence in Page(text).text
    assert f'<div class="overall {tone}">' in text


def test_what_is_missing_is_said():
    page = Page(htmlreport.render({"format": "tf1bn-audit", "ok": False, "layers": [{}]}, "Mine"))
    assert "Mine" in page.text
    assert "(a layer without a name)" in page.text
    assert "no verdict" in page.text
    assert "No cause is given." in page.text
    assert "steps not given" in page.text
    assert page.rows[1].endswith("none not measured not measured")
    checkpoint = dict.fromkeys(("mean_error", "mean_bound", "variance_error", "variance_bound"))
    page = Page(htmlreport.render(audit(layer("x", **checkpoint | {"steps": 0}))))
    assert page.rows[1] == "x ok none not measured not measured"
    assert "steps 0" in page.text


BAD = [math.nan, math.inf, -math.inf, None, "NaN", 10**400, 1e308, -1e308, 5e-324, [1], True]


@pytest.mark.parametrize(
    "bad",
    [pytest.param(bad, marks=() if i == 5 else pytest.mark.slow) for i, bad in enumerate(BAD)],
    ids=lambda bad: repr(bad)[:6],
)
def test_no_number_breaks_the_page(bad):
    numbers = dict.fromkeys(
        ("mean_error", "mean_bound", "variance_error", "variance_bound", "steps", "inherited_error", "added_error"), bad
    )
    curves = {}
    for name in ("observed", "expected", "bound", "step"):
        for where in ("one", "all"):
            made = curve(5)
            made[name] = [bad] * 5 if where == "all" else [*made[name][:4], bad]
            curves[f"{name}_{where}"] = made
    curves["everything"] = {**dict.fromkeys(("observed", "expected", "bound"), [bad] * 5), "channel": bad}
    given = layer("x", "finding", [cause("a", misfit=bad)], estimates={"k": bad, "l": [bad, bad]}, curves=curves)
    page = Page(htmlreport.render(audit({**given, **numbers})))
    assert len(page.find("figure")) == 9
    assert len(page.find("svg")) >= 5
    drawn = " ".join(
        value for _, attributes in page.tags for key, value in attributes.items() if key in ("d", "x", "y")
    )
    assert not re.search(r"nan|inf", drawn)
    # As words, and never as Python or matplotlib spell them.
    assert not re.search(r"\b(nan|inf|-inf|None)\b", page.text)


def test_numbers_in_words():
    said = [text_module.in_words(value) for value in (math.nan, math.inf, -math.inf, None, 10**400, 0.1 + 0.2)]
    assert said == ["not a number", "infinite", "minus infinite", "not given", "too large", "0.3"]
    page = Page(
        htmlreport.render(audit(layer("x", "finding", mean_error=math.nan, variance_error=1.0, variance_bound=0)))
    )
    assert page.rows[1] == "x finding none not a number, allowed 4e-06 1, allowed 0"
    assert [a.get("class") for a in page.find("td", role="cell")][2:] == ["over", "over"]


def test_names_are_text_and_never_html():
    result = audit(
        layer(
            ATTACK,
            "finding",
            [cause(ATTACK, explanation=ATTACK)],
            explanation=ATTACK,
            estimates={ATTACK: ATTACK},
            curves={f"moving_{ATTACK}": curve(channel=ATTACK)},
        ),
        layer(ATTACK, ATTACK),
        path=ATTACK,
        tf1bn=ATTACK,
        problems=[ATTACK],
    )
    text = htmlreport.render(result)
    assert "<script" not in text
    assert "<b>'" not in text
    page = Page(text.replace("//", ""))
    assert page.text.count("<script>alert(1)</script>") >= 10


def test_characters_that_hide_are_shown(tmp_path):
    htmlreport.write(audit(layer("a\u202eb\x00c\ud800d\ne\x1b")), str(tmp_path / "a.html"))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert r"a\u202eb\x00c\ud800d\ne\x1b" in Page(text).text


def test_a_bound_that_is_seen_is_a_band_and_one_that_is_not_has_a_second_panel():
    wide, narrow = (curve_plot.draw(curve_data.Curve(curve(bound=bound)), "x") for bound in (0.1, 1e-6))
    assert ">allowed<" in wide
    assert "error / allowed" not in wide
    assert ">allowed<" not in narrow
    assert "error / allowed" in narrow
    for svg in (wide, narrow):
        assert ">observed<" in svg
        assert ">expected<" in svg
        assert "var(--observed)" in svg
        assert not re.search(r"#0[1-5]0[1-5]0[1-5]", svg)


def test_the_summary_of_a_plot():
    assert curve_data.Curve(curve(20, error=0.5, bound=0.1)).summary() == (
        "20 steps; at the end 2.23 is observed and 1.73 expected; the largest error is 5 times the allowed."
    )
    given = curve(3, error=0.5, bound=0)
    assert "an error where none is allowed" in curve_data.Curve(given).summary()
    given = curve(3, error=0, bound=0)
    assert "the largest error is 0 % of the allowed" in curve_data.Curve(given).summary()
    given["observed"][1] = math.nan
    assert "1 step without a finite observed value" in curve_data.Curve(given).summary()
    page = Page(htmlreport.render(audit(layer("x", "finding", curves={"moving_mean": curve()}))))
    (image,) = page.find("div", role="img")
    assert image["aria-label"].startswith(
        "moving mean, channel 3, observed against expected: 20 steps; at the end 2.23"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"observed": []}, "No steps were kept."),
        ({"expected": None}, "it has no series &#39;expected&#39;."),
        ({"expected": [1.0]}, "its series have different lengths."),
        ({"step": [None] * 20}, "a step has no number."),
        (
            {"observed": [math.nan] * 20, "expected": [math.inf] * 20},
            "no value of the 20 steps is a finite number.",
        ),
    ],
)
def test_a_curve_that_cannot_be_drawn_says_why(change, reason):
    text = htmlreport.render(audit(layer("x", "finding", curves={"moving_mean": curve() | change})))
    assert reason in text
    assert "<svg" not in text
    Page(text)


def test_long_runs_are_thinned_out_and_keep_what_matters():
    given = curve(100_000, error=0, bound=0.1)
    given["observed"][77_777] = 50.0
    given["observed"][33_333] = math.nan
    made = curve_data.Curve(given)
    assert {0, 33_333, 77_777, 99_999} <= set(made.points().tolist())
    assert len(made.points()) <= curve_data.POINTS
    assert len(curve_plot.draw(made, "x")) < 100_000


@pytest.mark.slow
def test_a_thousand_layers_stay_a_page():
    curves = {"moving_mean": curve(300), "moving_variance": curve(300, bound=1e-6)}
    layers = [layer(f"net/unit_{i}/BatchNorm", "finding" if i % 7 == 0 else "ok", curves=curves) for i in range(1000)]
    text = htmlreport.render(audit(*layers))
    page = Page(text)
    assert len(text) < 6e6
    assert len(page.rows) == 1001
    assert len(page.find("figure")) == 2 * htmlreport.PLOTTED
    assert "Only the worst 40 layers have plots; those of 960 more are left out." in page.text


def test_the_same_result_gives_the_same_bytes(tmp_path):
    import matplotlib

    result, paths = mixed(), [str(tmp_path / name) for name in ("a.html", "b.html")]
    before = copy.deepcopy(result)
    htmlreport.write(result, paths[0])
    with matplotlib.rc_context({"xtick.major.size": 30, "svg.hashsalt": None, "axes.titlesize": 50}):
        settings = dict(matplotlib.rcParams)
        htmlreport.write(result, paths[1])
        assert dict(matplotlib.rcParams) == settings
    one, other = ((tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert one == other
    assert result == before
    assert b"20" + b"26-" not in one


def test_arrays_are_curves_too():
    made = {key: np.array(value) for key, value in curve().items() if key != "channel"}
    assert htmlreport.render(audit(layer("x", curves={"moving_mean": made | {"channel": 3}}))) == htmlreport.render(
        audit(layer("x", curves={"moving_mean": curve()}))
    )


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(errors.OutputError, match="`--html` is "):
        htmlreport.write(audit(), str(tmp_path / "no" / "folder.html"))


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs? the package `{package}`.*tf1bn\\[report\\]"):
        htmlreport.render(mixed())


@browser.needed
@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_real_browser(tmp_path, width):
    """Nothing is wider than the window, the plots are seen, and it opens without a message on the console."""
    result = mixed()
    result["layers"][3]["name"] = "a_name_without_any_place_to_break" * 8
    htmlreport.write(result, str(tmp_path / "page.html"))
    # Headless Chromium has no window below 500; a frame has the width that it is given. Scripts run in the outer page.
    (tmp_path / "frame.html").write_text(
        f'<body style="margin:0"><iframe src="page.html" style="width:{width}px;height:4000px;border:0" onload="'
        "const page = this.contentDocument, root = page.documentElement;"
        "const right = Math.max(...[...page.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right));"
        "const caption = page.querySelector('caption').getBoundingClientRect();"
        "const svg = [...page.querySelectorAll('svg')].slice(0, 2).map(e => e.getBoundingClientRect().width);"
        "document.title = JSON.stringify([root.scrollWidth, right, caption.width, caption.height, ...svg]);"
        '"></iframe>'
    )
    done = browser.dumped(
        tmp_path / "frame.html",
        tmp_path / "profile",
        f"--window-size={max(width, 500)},4000",
        "--allow-file-access-from-files",
        f"--screenshot={tmp_path / 'page.png'}",
    )
    assert "Content Security Policy" not in done.stderr
    found = re.search(r"<title>\[(.*?)\]</title>", done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-1000:]
    scroll, right, caption, height, *plots = map(float, found[1].split(","))
    assert scroll <= width
    assert right <= width + 1
    assert caption > 300
    assert height < 120
    assert len(plots) == 2
    assert min(plots) > 300
    assert (tmp_path / "page.png").stat().st_size > 20_000
