"""The manual: every command and code block runs and prints what is shown, links lead somewhere, nothing is left out."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tf1bn
from tf1bn import diagnosis, trace
from tf1bn.cli import main as cli
from tf1bn.verdicts import CAUSES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import run_blocks  # noqa: E402

PAGES = {path.relative_to(ROOT).as_posix(): path for path in run_blocks.pages()}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
BLOCKS = {name: run_blocks.blocks(text) for name, text in TEXTS.items()}
# README.md has a test of its own. These import TensorFlow, some of them several times, or make a trace for each cause.
LONG = {
    "audit",
    "causes",
    "gpu",
    "graphs",
    "old-scripts",
    "other-frameworks",
    "parity",
    "porting",
    "recalibration",
    "releases",
    "reproduction",
    "traces",
    "troubleshooting",
}
RUN = [
    pytest.param(name, marks=pytest.mark.slow if PAGES[name].stem in LONG else ())
    for name, blocks in BLOCKS.items()
    if name != "README.md" and any(block.language in run_blocks.RUN for block in blocks)
]
WITH = {
    need: [name for name, blocks in BLOCKS.items() if any(block.needs == need for block in blocks)]
    for need in ("torch", "flax", "dask")
}
# How many blocks of a page are not run, each for a reason that stands before it.
NOT_RUN = {
    "README.md": 1,
    "docs/cluster.md": 1,
    "docs/gpu.md": 2,
    "docs/install.md": 5,
    "docs/old-scripts.md": 1,
    "docs/porting.md": 1,
}


@pytest.mark.parametrize("name", RUN)
def test_the_blocks_run_and_print_what_is_shown(name):
    said = run_blocks.run(PAGES[name])
    assert not said, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "name"),
    [pytest.param("torch", name, marks=pytest.mark.torch) for name in WITH["torch"]]
    + [(need, name) for need in ("flax", "dask") for name in WITH[need]],
)
def test_the_blocks_for_a_package_run(package, name):
    pytest.importorskip(package, reason=f"{package} is not installed")
    said = run_blocks.run(PAGES[name], [package])
    assert not said, said


def test_few_blocks_are_not_run_and_each_says_why():
    counted = {name: [block for block in blocks if block.not_run] for name, blocks in BLOCKS.items()}
    assert {name: len(blocks) for name, blocks in counted.items() if blocks} == NOT_RUN
    for name, blocks in BLOCKS.items():
        for block in blocks:
            where = f"{name}:{block.line}"
            assert block.language in (*run_blocks.RUN, *run_blocks.NOT_RUN), where
            assert block.needs in (None, "torch", "flax", "dask"), where
            assert block.language != "sh" or block.not_run, f"{where} does not say why it is not run"
            assert block.not_run is None or len(block.not_run) > 8, where


# Links


def slug(heading):
    """The anchor that code hosts and MyST give a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def prose(text):
    """A page without its code blocks, indented ones included."""
    return re.sub(r"^    .*$", "", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), flags=re.M)


def anchors(path):
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", prose(path.read_text(encoding="utf-8")), re.M)}


LINKS = sorted(
    {
        (name, target)
        for name, text in {**TEXTS, "CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")}.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(text))
    }
)


def test_links_lead_somewhere():
    wrong = []
    for name, target in LINKS:
        file, _, anchor = target.partition("#")
        path = ((ROOT / name).parent / file).resolve() if file else ROOT / name
        # The manual does without the network.
        if "://" in target or not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append((name, target))
    assert len(LINKS) > 150
    assert not wrong


def test_files_that_are_named_exist():
    named = {
        (name, path)
        for name, text in TEXTS.items()
        for path in re.findall(r"`((?:docs|tests|docker|benchmarks|ext)/[\w./-]+)`", text)
    }
    assert not [
        (name, path) for name, path in named if not path.startswith("docs/_build") and not (ROOT / path).exists()
    ]


def test_pages_are_plain_markdown():
    for name, text in TEXTS.items():
        assert not re.search(r"^```\{|^:::|\{[a-z:]+\}`", text, re.MULTILINE), name
        assert text.startswith("# "), name


def test_every_page_is_in_the_index_and_in_the_side_bar():
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES.values() if DOCS in path.parents}
    listed = [page for group in conf.CONTENTS.values() for page in group]
    assert sorted(listed) == sorted(pages - {"index"})
    for page in listed:
        assert f"]({page}.md" in TEXTS["docs/index.md"]


# Commands


def code(text):
    """Every piece of code of a page: blocks, indented blocks and what stands in backquotes."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.S | re.M)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return [*fenced, *re.findall(r"`([^`\n]+)`", outside)]


CODE = [part for text in TEXTS.values() for part in code(text)]
MAKE = sorted({target for part in CODE for target in re.findall(r"^(?:\$ |\w+=\S+ )?make ([a-z][\w-]*)", part, re.M)})
COMMAND = re.compile(r"(?:^|\$ |/|\b)tf1bn ((?:reproduce|run|audit|inspect|parity|doctor)\b(?!:|%)[^\n|>;&#]*)")
TF1BN = sorted({line.strip() for part in CODE for line in COMMAND.findall(part)})


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"reproduce", "test", "docs"} <= set(MAKE)
    assert not [target for target in MAKE if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


def test_commands_and_their_options_exist(capsys):
    wrong = []
    for command in TF1BN:
        name, *rest = command.split()
        with pytest.raises(SystemExit) as end:
            cli.parser().parse_args([name, "--help"])
        known = capsys.readouterr().out
        # What follows the script goes to the script.
        own = re.split(r"SCRIPT|\S+\.py", " ".join(rest))[0]
        options = re.findall(r"(?<![\w-])--?[a-z][\w-]*", own)
        if end.value.code != 0 or any(not re.search(rf"(?<![\w-]){option}\b", known) for option in options):
            wrong.append(command)
    assert len(TF1BN) > 25
    assert not wrong


# What must be complete


def test_every_cause_is_explained():
    page = TEXTS["docs/causes.md"]
    headings = re.findall(r"^### `([^`]+)`$", page, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == set(CAUSES)
    assert run_blocks.causes_table() in page, "`python docs/run_blocks.py --write` writes it anew"
    for entry in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        for part in ("**What happened.**", "**In the numbers.**", "**What to do.**"):
            assert entry.count(part) == 1, entry.splitlines()[0]


def test_every_public_name_is_in_the_api():
    page = TEXTS["docs/api.md"]
    for name in tf1bn.__all__:
        assert name == "__version__" or f"`tf1bn.{name}`" in page, name
    for path in (DOCS / "api").glob("*.rst"):
        assert f"](api/{path.name})" in page
        assert re.search(r"^\.\. auto\w+:: tf1bn", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_architecture_has_the_import_table():
    tests = ast.parse((ROOT / "tests/packaging/test_imports.py").read_text(encoding="utf-8"))
    (table,) = (
        ast.literal_eval(node.value)
        for node in tests.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "MAY_IMPORT"
    )
    shown = {}
    for names, allowed in re.findall(r"^\| (`.*?) \| (.*?) \|$", TEXTS["docs/design/architecture.md"], re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            shown[name] = {item.strip() for item in allowed.rpartition(":")[2].split(",")} - {"nothing"}
    assert shown.pop("cli") == {"everything"}
    assert shown == {name: set(allowed.split()) for name, allowed in table.items()}


def test_the_requirements_are_pinned():
    for line in (DOCS / "requirements.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.match(r"[\w-]+==[\d.]+(; python_version [<>=]+ \"3\.11\")?$", line), line


# Samples


def test_the_samples_are_small():
    files = [path for path in (DOCS / "samples").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 40_000


def test_the_samples_are_what_their_script_makes(tmp_path):
    subprocess.run([sys.executable, DOCS / "samples/make_samples.py", tmp_path], check=True, cwd=ROOT,
                   env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    for name in ("original.trace", "port.trace"):
        here, made = trace.open(DOCS / "samples" / name), trace.open(tmp_path / name)
        assert here.layers == made.layers
        for step, other in zip(here, made, strict=True):
            assert (step.number, step.training, *step.layers) == (other.number, other.training, *other.layers)
            for layer, record in step.layers.items():
                for array, again in zip(
                    (record.inputs[0], record.outputs[0], record.moving_mean_after, record.moving_variance_after),
                    (lambda r: (r.inputs[0], r.outputs[0], r.moving_mean_after, r.moving_variance_after))(
                        other.layers[layer]
                    ),
                    strict=True,
                ):
                    np.testing.assert_allclose(array, again, rtol=1e-4, atol=1e-5)
    for name in ("original", "port", "restored"):
        here, made = np.load(DOCS / f"samples/{name}.npz"), np.load(tmp_path / f"{name}.npz")
        assert here.files == made.files
        for key in here.files:
            np.testing.assert_allclose(here[key], made[key], rtol=1e-4, atol=1e-5)


def test_one_layer_of_the_sample_is_wrong_and_one_is_right():
    found = {layer.name: layer for layer in diagnosis.diagnose(trace.open(DOCS / "samples/port.trace"))}
    assert {name: layer.verdict for name, layer in found.items()} == {"conv1/bn": "ok", "conv2/bn": "finding"}
    assert [cause.id for cause in found["conv2/bn"].causes] == ["bessel"]


# The runner itself


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a", "c"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["...", "c"], ["a", "b", "c"], True),
        (["a", "...", "c"], ["a", "c"], True),
        (["a", "...", "d"], ["a", "b", "c"], False),
        (["version ..., all is well"], ["version 1.2, all is well"], True),
        (["version ..., all is well"], ["version 1.2, all is lost"], False),
        (["114.78817 is allowed"], ["114.78816 is  allowed"], True),
        (["114.78817 is allowed"], ["115.9 is allowed"], False),
        (["off by 3.4e-07"], ["off by 1.2e-06"], True),
        (["off by 3.4e-07"], ["off by 1.2e-03"], False),
        (["(largest error 41 % of the bound)"], ["(largest error 9 % of the bound)"], True),
        (["41 % of the data"], ["9 % of the data"], False),
        (["2 layers"], ["3 layers"], False),
        (["off by 4.4 and ..."], ["off by 4.4 and 3e-7"], True),
    ],
)
def test_what_counts_as_the_same_output(shown, printed, same):
    assert run_blocks.matches(shown, printed) is same


@pytest.mark.parametrize(
    ("shown", "printed", "new"),
    [
        (["a", "b"], ["x"], ["x"]),
        (["a 1.0001"], ["a 1.0002"], ["a 1.0001"]),
        (["one", "...", "last of two"], ["one more", "two", "last of 2"], ["one more", "...", "last of 2"]),
        (["head", "..."], ["other head", "more"], ["other head", "..."]),
        (["version ...", "a"], ["version 3", "b"], ["version ...", "b"]),
        ([], ["a", "b"], ["a", "b"]),
    ],
)
def test_a_refreshed_output_is_as_short_as_before(shown, printed, new):
    result = run_blocks.refreshed(shown, printed)
    assert result == new
    assert run_blocks.matches(result, printed)


PAGE = """# A page

```python
x = 2
print(x, "...")
```

```text
{}
```

```console
$ echo one; python -c "print(1 + 1)"
{}
```

<!-- exits 3 -->
```console
$ exit {}
```

<!-- not run: would fail -->
```python
raise ValueError
```

<!-- needs: nosuchpackage -->
```python
raise ValueError
```
"""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("2 ...", "one\n2", 3), ""),
        (("3 ...", "one\n2", 3), "page.md:4, python does not print what is shown"),
        (("2 ...", "one\n3", 3), '$ echo one; python -c "print(1 + 1)" does not print what is shown'),
        (("2 ...", "one\n2", 4), "the exit status is 4 and not 3"),
    ],
)
def test_a_page_that_shows_something_else_fails(tmp_path, values, message):
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(*values), encoding="utf-8")
    said = run_blocks.run(page)
    assert message in said
    assert bool(said) is bool(message)


def test_an_exception_is_shown_with_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n\ny = x / 0\n```\n", encoding="utf-8")
    assert re.search(r'page\.md", line 6.*ZeroDivisionError', run_blocks.run(page), re.DOTALL)


def test_write_puts_what_is_printed_into_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("", "", 3), encoding="utf-8")
    assert run_blocks.run(page, write=True) == ""
    assert page.read_text(encoding="utf-8") == PAGE.format("2 ...", "one\n2", 3)
    assert run_blocks.run(page) == ""


def test_the_json_blocks_are_json():
    for blocks in BLOCKS.values():
        for block in blocks:
            if block.language == "json":
                json.loads(block.code)


def test_every_cause_has_an_example_that_makes_it():
    """The blocks themselves run above; here, what each prints begins with the cause of its entry, or holds it."""
    page = TEXTS["docs/causes.md"]
    for entry in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        name = re.match(r"`([^`]+)`", entry).group(1)
        (printed,) = re.findall(r"```python\n.*?```\n\n```text\n(.*?)\n```", entry, re.DOTALL)
        assert name in printed.split(", "), entry.splitlines()[0]
        assert entry.count("**Its neighbours.**") == 1, name
