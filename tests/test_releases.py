"""The table of releases, and the README that shows it."""

from pathlib import Path

import pytest

from tf1bn import releases

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", [f"1.{minor}" for minor in range(16)])
def test_every_release_has_a_row(name):
    minor = int(name.split(".")[1])
    row = releases.get(name)
    # The three eras of a default call: 1.0-1.3, 1.4-1.7, 1.8-1.15.
    assert row.fused_default is (minor >= 4)
    assert row.float32_rate is (minor >= 8)
    assert row.epsilon_floor == (1.001e-5 if minor >= 4 else 0)
    assert int(row.since.split(".")[1]) <= minor
    assert row.name == name


@pytest.mark.parametrize("name", ["2.0", "1.16", "1", "one", "", "1.4.1.2", None])
def test_other_releases_are_refused(name):
    with pytest.raises(ValueError, match=r"`release` is .*; accepted are the TensorFlow releases '1\.0' to '1\.15'"):
        releases.get(name)


def test_the_readme_shows_the_table():
    assert releases.markdown() in (ROOT / "README.md").read_text(encoding="utf-8")
