"""The README: short, its commands and examples run as written, and what it names is there."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
sys.path.insert(0, str(ROOT / "docs"))

import run_blocks  # noqa: E402


def test_the_blocks_run_and_print_what_is_shown():
    said = run_blocks.run(ROOT / "README.md")
    assert not said, said


def test_it_is_one_page():
    assert len(README.splitlines()) <= 200
    assert max(map(len, README.splitlines())) < 200


def test_there_is_one_picture_and_it_is_small():
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert 10_000 < (ROOT / picture).stat().st_size < 100_000


def test_it_names_every_command():
    for command in ("reproduce", "audit", "parity", "run", "doctor"):
        assert re.search(rf"\btf1bn {command}\b|make {command}\b", README)


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "docs").glob("*.md")))
def test_it_leads_to_every_page_of_the_manual(page):
    assert f"](docs/{page}.md" in README


def test_version_and_licence_are_those_of_the_package():
    import tf1bn

    assert f"Version {tf1bn.__version__}" in README
    assert "Licence: Apache-2.0." in README
