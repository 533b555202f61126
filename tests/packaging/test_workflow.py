"""The workflow of the code host: it calls the Makefile and nothing else, and what it takes from others is pinned."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github/workflows"
WORKFLOW = (FOLDER / "ci.yml").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_step_is_a_target_of_make():
    targets = re.findall(r"^ +-? ?run: make ([\w-]+)(?: ARGS=\S+)?$", WORKFLOW, re.MULTILINE)
    assert WORKFLOW.count("run:") == len(targets)
    assert set(targets) == {"lint", "docs", "test-all", "wheels", "images"}
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_actions_are_pinned_by_their_hash_and_may_only_read():
    actions = re.findall(r"uses: (.*)", WORKFLOW)
    assert actions
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in actions)
    assert re.search(r"^permissions:\n  contents: read\n[a-z]", WORKFLOW, re.MULTILINE)
    assert WORKFLOW.count("permissions") == 1
    assert "secrets" not in WORKFLOW


def test_every_supported_python_is_tested():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    low, high = map(int, re.search(r"range\((\d+), (\d+)\)", setup).groups())
    (line,) = re.findall(r"python: (\[.*\])", WORKFLOW)
    assert re.findall(r"[\d.]+", line) == [f"3.{minor}" for minor in range(low, high)]


def test_make_lints_every_workflow():
    assert [path.name for path in FOLDER.iterdir()] == ["ci.yml"]
    assert re.search(r"^\t\$\(BIN\)/actionlint \.github/workflows/ci\.yml$", MAKEFILE, re.MULTILINE)
