"""The packages that only reports need, and what is said when one of them is missing."""

import sys

import pytest

from tf1bn.reports import packages, terminal
from tf1bn.reproduce import plot


def test_a_package_is_imported():
    assert packages.import_for("A test", "json.decoder") is sys.modules["json.decoder"]


@pytest.mark.parametrize(
    ("module", "needs_it", "sentence"),
    [
        ("rich.console", terminal.console, "The terminal report needs the package `rich`"),
        ("matplotlib.figure", plot.figure_class, "`--plot` needs the package `matplotlib`"),
    ],
)
def test_a_missing_package_is_named_with_what_needs_it(module, needs_it, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    package = module.partition(".")[0]
    with pytest.raises(ImportError) as raised:
        needs_it()
    assert str(raised.value) == f"{sentence}; install it with `pip install {package}`, or `tf1bn[report]`."


def test_advice_of_a_package_at_its_import_is_not_shown(tmp_path, monkeypatch, capfd, caplog):
    (tmp_path / "advising.py").write_text("import logging\nlogging.getLogger(__name__).warning('set ADVISINGDIR')\n")
    monkeypatch.syspath_prepend(tmp_path)
    packages.import_for("A test", "advising")
    assert caplog.messages == []
    assert capfd.readouterr().err == ""
    import logging

    logging.getLogger("advising").warning("later")
    assert caplog.messages == ["later"]
