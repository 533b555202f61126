"""The page in a real browser: filters, order, keys, screen readers, contrast, narrow windows, paper, no script."""

import html as markup
import re

import chromium
import pages
import pytest

from tf1bn.reports import html

pytestmark = [pytest.mark.browser, pytest.mark.skipif(chromium.BROWSER is None, reason=chromium.ABSENT)]
KINDS = ("trace", "checkpoint", "runs", "checkpoints", "graph")
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture(scope="module")
def running():
    with chromium.started() as running:
        yield running


@pytest.fixture
def opened(running, tmp_path):
    """Open the page of a result; a function that gives a context with the page."""

    def open_page(result, *, plots="not-ok", **options):
        html.write(result, str(tmp_path / "page.html"), plots=plots)
        return chromium.shown(running, tmp_path / "page.html", **options)

    return open_page


def names(page):
    """The layers that are seen, in their order, without "net/block_"."""
    found = page.locator("#layers > tbody:not([hidden]) .toggle").all_inner_texts()
    return [name.removeprefix("net/block_").removesuffix("/BatchNorm") for name in found]


def test_layers_are_found_by_name(opened):
    with opened(pages.many(53)) as page:
        assert len(names(page)) == 53
        status = page.locator("#shown")
        assert status.get_attribute("role") == "status"
        assert status.inner_text() == "53 layers, the most severe first"
        page.fill("#by-name", "BLOCK_3/")
        assert sorted(names(page)) == ["3/conv_1", "3/conv_2", "3/conv_3"]
        assert status.inner_text() == "3 of 53 layers, the most severe first"
        page.fill("#by-name", "net/*_2/batchnorm")
        assert len(names(page)) == 18
        # A pattern is the whole name, and all but * is text.
        for text, count in (("conv_2*", 0), ("*conv_2*", 18), ("net.", 0), ("(", 0), ("*[", 0)):
            page.fill("#by-name", text)
            assert len(names(page)) == count
        page.click("#reset")
        assert len(names(page)) == 53
        assert page.input_value("#by-name") == ""


def test_layers_are_found_by_verdict_and_cause(opened):
    result = pages.many(53)
    of = {verdict: sum(one["verdict"] == verdict for one in result["layers"]) for verdict in ("finding", "undecidable")}
    with opened(result) as page:
        for box in ("ok", "advisory", "undecidable"):
            page.uncheck(f"input[value={box}]")
        assert len(names(page)) == of["finding"]
        page.select_option("#by-cause", "bessel")
        bessel = sum(one["causes"] != [] and one["causes"][0]["id"] == "bessel" for one in result["layers"])
        assert len(names(page)) == bessel
        # The part on top leads to the same, whatever the filters were.
        page.fill("#by-name", "nothing like this")
        page.click("button.only[data-cause=bessel]")
        assert len(names(page)) == bessel
        assert page.evaluate("document.activeElement.className") == "name toggle"
        page.click("button.only[data-severity=undecidable]")
        assert len(names(page)) == of["undecidable"]


def test_columns_sort_and_say_so(opened):
    result = pages.many(53)
    with opened(result) as page:
        headings = page.locator("#layers > thead th")

        def sort(name):
            page.click(f"#layers > thead th[data-long='{name}'] button")
            return headings.evaluate_all("all => all.map(one => one.getAttribute('aria-sort'))")

        assert headings.evaluate_all("all => all.map(one => one.getAttribute('aria-sort'))")[2] == "descending"
        assert sort("order in the trace") == ["ascending", *[None] * 5]
        in_order = [one["name"].removeprefix("net/block_").removesuffix("/BatchNorm") for one in result["layers"]]
        assert names(page) == in_order
        assert page.inner_text("#shown") == "53 layers, sorted by order in the trace, ascending"
        assert page.locator("#sorted-by option:checked").inner_text() == "order in the trace"
        sort("order in the trace")
        assert names(page) == in_order[::-1]
        # Numbers in names count as numbers.
        assert sort("name")[1] == "ascending"
        assert names(page) == in_order
        assert sort("first wrong step")[5] == "descending"
        steps = page.locator("#layers .row td:nth-child(6)").all_inner_texts()
        told = [int(step) for step in steps if step != "-"]
        assert told == sorted(told, reverse=True)
        # What has no number stays at the end.
        assert steps[len(told) :] == ["-"] * (53 - len(told))
        sort("first wrong step")
        steps = page.locator("#layers .row td:nth-child(6)").all_inner_texts()
        assert [int(step) for step in steps[: len(told)]] == sorted(told)
        page.select_option("#sorted-by", label="cause")
        assert page.inner_text("#shown") == "53 layers, sorted by cause, ascending"
        page.click("#reverse")
        assert page.inner_text("#shown") == "53 layers, sorted by cause, descending"
        # Filters keep the order.
        page.fill("#by-name", "conv_1")
        assert page.inner_text("#shown") == "18 of 53 layers, sorted by cause, descending"


def test_all_is_done_by_keys(opened):
    with opened(pages.many(53)) as page:
        page.keyboard.press("/")
        page.keyboard.type("block_5/")
        assert page.input_value("#by-name") == "block_5/"
        seen = names(page)
        page.locator("#layers .toggle:visible").first.focus()

        def focused():
            return page.evaluate("document.activeElement.textContent")

        page.keyboard.press("ArrowDown")
        assert seen[1] in focused()
        page.keyboard.press("End")
        assert seen[-1] in focused()
        page.keyboard.press("ArrowUp")
        assert seen[-2] in focused()
        page.keyboard.press("Home")
        assert seen[0] in focused()
        toggle = page.locator("#layers .toggle:visible").first
        assert toggle.get_attribute("aria-expanded") == "false"
        details = page.locator(f"#{toggle.get_attribute('aria-controls')}")
        assert not details.is_visible()
        page.keyboard.press("Enter")
        assert toggle.get_attribute("aria-expanded") == "true"
        assert details.is_visible()
        page.keyboard.press("Space")
        assert not details.is_visible()
        # A "/" in a field is a character.
        page.focus("#by-name")
        page.keyboard.press("End")
        page.keyboard.press("/")
        assert page.input_value("#by-name") == "block_5//"
        # From the tools on come what the plots mean, and the table's headings.
        page.focus("#close-all")
        page.keyboard.press("Tab")
        assert focused() == "How to read the plots"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('th').dataset.long") == "order in the trace"
        page.keyboard.press("Enter")
        assert page.locator("#layers th.order[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_details_are_opened_by_links_and_lead_back(opened):
    with opened(pages.many(53)) as page:
        page.uncheck("input[value=finding]")
        link = page.locator(".cause .where a").first
        name = link.inner_text()
        link.click()
        row = page.locator("#layers tbody", has=page.get_by_role("button", name=name, exact=True))
        assert row.locator(".details").is_visible()
        assert page.evaluate("document.activeElement.textContent") == name
        assert row.locator("svg").first.is_visible()
        page.click(f"#{row.get_attribute('id')} .back a[href='#all']")
        row.locator(".id").first.click()
        assert page.evaluate("document.querySelector(':target').className").startswith("cause")
        # The same link once more, after the details were closed.
        link.click()
        row.locator(".toggle").click()
        assert not row.locator(".details").is_visible()
        link.click()
        assert row.locator(".details").is_visible()
        page.click("#open-all")
        assert page.locator("#layers .details:visible").count() == 53
        page.click("#close-all")
        assert page.locator("#layers .details:visible").count() == 0
        # The row itself opens too, where it is no link.
        row.locator("td[data-label=verdict]").click()
        assert row.locator(".details").is_visible()


@pytest.mark.parametrize(
    ("kind", "viewport", "scheme"),
    [
        *((kind, chromium.WIDE, "light") for kind in KINDS),
        *((kind, chromium.NARROW, "dark") for kind in KINDS),
        ("trace", chromium.WIDE, "dark"),
        ("trace", chromium.NARROW, "light"),
    ],
)
def test_readers_of_any_kind_can_read_it(opened, kind, viewport, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(results()[kind], plots="all", viewport=viewport, color_scheme=scheme) as page:
        page.click("#open-all")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 23, 27)" if scheme == "dark" else "rgb(255, 255, 255)")
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
        # Contrast was looked at, and not left out.
        assert "color-contrast" in {rule["id"] for rule in found.response["passes"]}
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        right = page.evaluate(
            "Math.max(...[...document.querySelectorAll('.row > *')].map(e => e.getBoundingClientRect().right))"
        )
        # Beside the filters, as wide as the page's text.
        assert right <= page.evaluate("document.querySelector('#tools').getBoundingClientRect().right") + 1
        for plot in page.locator("svg").all():
            assert plot.bounding_box()["width"] > 240


@SCHEMES
def test_lines_and_marks_of_plots_stand_out(opened, scheme):
    """Against the page, by the formula of WCAG 2.2: 3 to 1 for what is drawn, 4.5 to 1 for its text.

    axe-core looks at the text of HTML alone.
    """
    with opened(results()["trace"], color_scheme=scheme) as page:
        page.click("#open-all")
        colours = page.evaluate(
            "[...document.querySelectorAll('.plot .observed, .plot .expected-error, .plot .worst-case, .plot .mark')]"
            ".map(e => getComputedStyle(e).stroke)"
        )
        texts = page.evaluate("[...document.querySelectorAll('.plot text')].map(e => getComputedStyle(e).fill)")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(set(colours)) >= 4
    assert min(contrast(colour, background) for colour in texts) >= 4.5
    for colour in set(colours):
        assert contrast(colour, background) >= 3, colour


def contrast(one, other):
    """The contrast of two colours "rgb(1, 2, 3)" as WCAG 2.2 has it."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_thousand_layers_are_quick(opened):
    with opened(pages.many(1000)) as page:
        assert page.locator("#layers > tbody").count() == 1000
        timed = page.evaluate(
            """() => {
                const times = {}, field = document.getElementById("by-name");
                const time = (name, act) => {
                    const start = performance.now();
                    act();
                    document.body.getBoundingClientRect();
                    times[name] = performance.now() - start;
                };
                time("filter", () => { field.value = "conv_2"; field.dispatchEvent(new Event("input")); });
                time("sort", () => document.querySelector("#layers th button").click());
                return times;
            }"""
        )
        assert max(timed.values()) < 2000, timed
        assert page.inner_text("#shown").startswith("333 of 1000 layers, sorted by order")


def test_one_layer_alone_is_open_and_needs_no_filter(opened):
    with opened(pages.audit(pages.mixed()["layers"][4])) as page:
        assert page.locator("svg:visible").count() == 2
        assert not page.locator("#tools").is_visible()
        assert page.inner_text("#shown") == "1 layer"
        page.click(".toggle")
        assert page.locator("svg:visible").count() == 0


def test_without_scripts_all_is_there(opened):
    with opened(pages.mixed(), java_script_enabled=False) as page:
        assert page.locator(".details:visible").count() == 5
        assert not page.locator("#tools").is_visible()
        assert page.locator("button:visible").count() == 0
        assert page.locator("svg:visible").count() == 2


def test_on_paper_what_is_not_ok_is_open_and_nothing_is_dark(opened):
    with opened(pages.mixed(), color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.locator(".details:visible").count() == 3
        assert not page.locator("#tools").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.pdf(prefer_css_page_size=True)[:5] == b"%PDF-"


def test_hostile_names_run_nothing_and_are_found_by_what_they_are(opened):
    name = f"{pages.ATTACK} {markup.escape(pages.ATTACK)}"
    bad = pages.cause(pages.ATTACK, explanation=pages.ATTACK, remedy=pages.ATTACK)
    result = pages.audit(pages.layer(name, "finding", [bad]), pages.layer("b", "finding", [bad, pages.cause("c")]))
    with opened(result) as page:
        assert page.locator(".toggle").first.inner_text() == name
        page.select_option("#by-cause", pages.ATTACK)
        assert len(names(page)) == 2
        page.fill("#by-name", pages.ATTACK)
        assert names(page) == [name]
        page.click("#open-all")
        assert page.locator("b", has_text="alert").count() >= 1
        assert page.locator("script").count() == 1


def test_the_policy_lets_nothing_else_run(running, tmp_path):
    """Were a name markup by some mistake, it would do nothing."""
    text = html.render(pages.mixed())
    bad = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
    bad += "<p style='color:red' id=p>x</p>"
    (tmp_path / "page.html").write_text(text.replace("<main>", f"<main>{bad}"), encoding="utf-8")
    context = running.new_context()
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "Audit of run.trace"
    assert page.evaluate("getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"
    assert len([text for text in said if "Content Security Policy" in text]) >= 3
    # The page's own script is allowed.
    assert page.locator("#tools").is_visible()
    context.close()


def results():
    """A result of each kind, with findings and what is ok."""
    long = "a_name_without_any_place_to_break" * 8
    bessel = pages.cause("bessel", remedy="Divide by N.")
    trace = pages.mixed()
    trace["layers"][3]["name"] = long
    trace["layers"][4] |= {
        "variance_error": 0.5,
        "variance_bound": 0.1,
        "worst": {"mean": None, "variance": pages.worst(0.5, 0.05, 0.1, 3, 19)},
    }
    values = {"variable": "a/moving_mean", "min": -1.503, "max": 2.0, "not_finite": 1}
    values = dict.fromkeys(("mean", "variance", "gamma", "beta"), values)
    checkpoint = {
        **pages.audit(
            {"name": "a", "verdict": "finding", "causes": [bessel], "channels": 4, "values": values},
            {"name": long, "verdict": "ok", "causes": [], "channels": 4, "values": values},
        ),
        "kind": "checkpoint",
        "path": "model.npz",
    }
    check = {"what": "one update of the moving variance", "error": 0.5, "bound": 0.1, "step": 2, "channel": 1}
    check |= {"old": 1.0, "new": 1.5, "first": 0}
    outputs = {**check, "what": "outputs", "error": 1e-7}
    matched = {"old": "a", "new": "b", "matched": "map", "causes": [bessel], "undecided": []}
    runs = {
        "format": "tf1bn-parity",
        "kind": "traces",
        "ok": False,
        "old": "old.trace",
        "new": "new.trace",
        "problems": [],
        "layers": [
            {**matched, "name": "a", "verdict": "finding", "checks": [check, outputs], "first": True,
             "curves": {"moving_variance": pages.curve()}},
            {**matched, "name": long, "old": long, "verdict": "ok", "causes": [], "checks": [outputs]},
        ],
    }  # fmt: skip
    difference = {"what": "moving variance", "old": "a/moving_variance", "new": "b.running_var", "equal": False}
    difference |= {"channels": 4, "differing": 2, "largest": 0.5, "channel": 1, "values": [1.0, 1.5]}
    checkpoints = {
        **runs,
        "kind": "checkpoints",
        "layers": [
            {**matched, "name": "a", "verdict": "finding", "differences": [difference]},
            {**matched, "name": "c", "verdict": "ok", "causes": [], "differences": [{**difference, "equal": True}]},
        ],
    }
    structure = {
        "form": "fused",
        "epsilon": 0.001,
        "decay": {"kind": "constant", "value": 0.9, "name": None},
        "applications": [{"output": "a/y:0", "is_training": {"kind": "placeholder", "name": "train", "value": None}}],
        "updates": {"mean": [{"operation": "a/AssignMovingAvg", "train_ops": []}], "variance": []},
    }
    graph = {
        **pages.audit(
            {"name": "a", "verdict": "finding", "causes": [bessel], "structure": structure},
            {"name": long, "verdict": "ok", "causes": [], "structure": structure},
        ),
        "kind": "graph",
        "path": "model.meta",
    }
    return {"trace": trace, "checkpoint": checkpoint, "runs": runs, "checkpoints": checkpoints, "graph": graph}
