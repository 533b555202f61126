"""The lines and bars that say what a command is doing: on terminals, after a moment, and never in pipes."""

import io
import time

import pytest

from tf1bn.reports import terminal


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "PATIENCE", 0.02)


def wait_for(stream, text):
    until = time.monotonic() + 5
    while text not in stream.getvalue():
        assert time.monotonic() < until, stream.getvalue()
        time.sleep(0.01)


def test_what_takes_long_is_told_and_taken_back():
    stream = Terminal()
    with terminal.working("reading the checkpoint", stream) as line:
        wait_for(stream, "reading the checkpoint")
        line.update("sweep: 10 of 5,000\x1b steps")
        wait_for(stream, "sweep: 10 of 5,000\\x1b steps")
    # rich shows the cursor again.
    assert "\x1b[?25h" in stream.getvalue()


def test_what_is_quick_is_not_told(monkeypatch):
    monkeypatch.setattr(terminal, "PATIENCE", 60)
    stream = Terminal()
    with terminal.working("reading", stream) as line:
        line.update("drawing")
    assert stream.getvalue() == ""


def test_the_line_ends_with_the_work():
    stream = Terminal()
    with terminal.working("reading", stream):
        wait_for(stream, "reading")
    length = len(stream.getvalue())
    time.sleep(0.2)
    assert len(stream.getvalue()) == length


@pytest.mark.parametrize("dumb", [False, True])
def test_nothing_goes_into_pipes(monkeypatch, dumb):
    stream = io.StringIO()
    if dumb:
        monkeypatch.setenv("TERM", "dumb")
        stream = Terminal()
    with terminal.working("reading", stream) as line:
        time.sleep(0.1)
        line.update("drawing")
    assert stream.getvalue() == ""
    with terminal.progress("judging", 3, io.StringIO()) as advance:
        assert advance is None


def test_blanks_at_the_ends_of_lines_are_left_out():
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    console = terminal.console(file=out, width=40)
    table = Table("a", "bb", title="T")
    table.add_row("x", "  y  ")
    for one in (table, Padding(Text("  indented   \nnext "), (0, 3, 1, 3)), Text("end  "), "markup [bold]x[/]  "):
        console.print(one)
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert "     indented" in lines
    assert "markup x" in lines
