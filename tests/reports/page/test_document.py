"""The file: whole, the same each time, without network, and safe whatever the names in it are."""

import copy
import re
import sys

import pages
import pytest
from pages import ATTACK, Page, audit, cause, curve, layer, mixed

from tf1bn import errors
from tf1bn.reports import html
from tf1bn.reports.page import document


def attacked():
    """A result whose every text is an attack."""
    hostile = cause(ATTACK, explanation=ATTACK, remedy=ATTACK)
    return audit(
        layer(
            ATTACK,
            "finding",
            [hostile],
            explanation=ATTACK,
            estimates={ATTACK: ATTACK},
            curves={f"moving_{ATTACK}": curve(channel=ATTACK)},
        ),
        layer(ATTACK, ATTACK, explanation=ATTACK),
        path=ATTACK,
        tf1bn=ATTACK,
        problems=[ATTACK],
        notes=[ATTACK + "!"],
    )


def test_names_are_text_and_never_markup():
    text = html.render(attacked())
    assert text.count("<script") == text.count("</script") == 1
    assert "<b>'" not in text
    page = Page(text)
    assert page.text.count("<script>alert(1)</script>") >= 15


@pytest.mark.parametrize("kind", ["checkpoint", "graph", "traces", "checkpoints", "graphs"])
def test_names_are_text_in_every_kind_of_result(kind):
    what = {"what": ATTACK, "old": ATTACK, "new": ATTACK, "channel": ATTACK, "step": ATTACK, "values": [ATTACK, None]}
    what |= {"error": ATTACK, "bound": ATTACK, "equal": False, "differing": 1, "channels": ATTACK, "largest": ATTACK}
    given = {
        "name": ATTACK,
        "old": ATTACK,
        "new": ATTACK,
        "verdict": "finding",
        "causes": [cause(ATTACK)],
        "checks": [what],
        "differences": [what],
        "effective": {"old": {"decay": ATTACK}},
        "data": {"state": "other", "reason": ATTACK},
        "values": {"mean": {"variable": ATTACK, "min": ATTACK, "max": ATTACK}},
        "channels": ATTACK,
        "structure": {
            "form": ATTACK,
            ATTACK: ATTACK,
            "decay": {"kind": ATTACK, "name": ATTACK, "value": None},
            "applications": [{"output": ATTACK, "is_training": {"kind": ATTACK, "name": ATTACK, "value": ATTACK}}],
            "updates": {ATTACK: [{"operation": ATTACK, "train_ops": [ATTACK]}]},
        },
    }
    result = {"format": ATTACK, "kind": kind, "ok": False, "layers": [given], "path": ATTACK}
    if kind in ("traces", "checkpoints", "graphs"):
        result |= {"old": ATTACK, "new": ATTACK}
    text = html.render(result)
    assert text.count("<script") == text.count("</script") == 1
    assert Page(text).text.count("<script>alert(1)</script>") >= 8


def test_the_script_and_the_styles_can_stand_in_a_page():
    assert "</" not in document._asset("page.js")
    for name in ("page.js", "page.css"):
        text = document._asset(name)
        assert "\r" not in text
        # Only ASCII: the hash is of bytes, and a server that names another encoding changes nothing.
        assert text.isascii()
        assert not re.search(r"https?:|@import|url\(|innerHTML|eval\(", text)


def test_no_address_is_on_a_page():
    assert "//" not in re.sub(r"<script>.*</script>", "", html.render(mixed()), flags=re.DOTALL)


def test_characters_that_hide_are_shown(tmp_path):
    html.write(audit(layer("a\u202eb\x00c\ud800d\ne\x1b")), str(tmp_path / "a.html"))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert r"a\u202eb\x00c\ud800d\ne\x1b" in Page(text).text


def test_the_same_result_gives_the_same_bytes(tmp_path):
    result, paths = mixed(), [str(tmp_path / name) for name in ("a.html", "b.html")]
    before = copy.deepcopy(result)
    for path in paths:
        html.write(result, path)
    one, other = ((tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert one == other
    assert result == before
    assert b"20" + b"26-" not in one


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(errors.OutputError, match="`--html` is "):
        html.write(audit(), str(tmp_path / "no" / "folder.html"))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"needs the package `jinja2`.*tf1bn\[report\]"):
        html.render(mixed())


def test_no_matplotlib_draws_a_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert html.render(mixed()).count("<svg") == 2


def test_layers_that_are_not_ok_have_plots_and_others_where_wanted():
    for plots, count in (("not-ok", 2), ("all", 3), ("none", 0)):
        text = html.render(mixed(), plots=plots)
        assert text.count("<svg") == count
        assert ("How to read the plots" in Page(text).text) == (count > 0)


@pytest.mark.slow
def test_a_thousand_layers_stay_a_page():
    result = pages.many(1000)
    for one in result["layers"]:
        if one["verdict"] == "finding":
            one["curves"] = {"moving_mean": curve(300), "moving_variance": curve(300, error=1e-6)}
    text = html.render(result)
    page = Page(text)
    assert len(text) < 7e6
    assert len(page.cells) == 1000
    assert len(page.find("figure")) == 2 * document.PLOTTED
    assert "The first 100 layers that are not ok have plots, and the others have none; --plots all" in page.text


def test_53_layers_of_20_steps_are_less_than_a_megabyte():
    layers = pages.many(53)["layers"]
    wrong = next(one for one in layers if one["verdict"] == "finding")
    assert len(html.render(audit(*({**wrong, "name": one["name"]} for one in layers)))) < 1e6


@pytest.mark.parametrize("junk", [None, 7, "text", [], {}, [None], {"a": None}], ids=repr)
def test_what_has_another_form_is_left_out(junk):
    lists = ("causes", "checks", "differences", "values", "structure", "effective", "data", "estimates", "accumulated")
    for kind in (None, "checkpoint", "graph", "traces", "checkpoints", "graphs"):
        given = {"name": "x", "old": "x", "new": "x", "verdict": "finding", "causes": [], **dict.fromkeys(lists, junk)}
        # A comparison's own sentences need causes and layers, as every result has them.
        given["causes"] = junk if kind in (None, "checkpoint", "graph") else []
        result = {"kind": kind, "ok": False, "layers": [given], "problems": junk, "notes": junk, "renames": junk}
        if kind in ("traces", "checkpoints", "graphs"):
            result |= {"old": "a", "new": "b"}
        page = Page(html.render(result))
        assert len(page.cells) == 1
