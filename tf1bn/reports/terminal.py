"""The terminal: a rich console, tables whose numbers are never cut, and a progress bar."""

import contextlib
import os
import re
import threading

from .._util.printable import printable, printable_lines
from .packages import import_for

PATIENCE = 0.5  # seconds that a command may work in silence


def console(**options):
    """A rich console on stdout: plain text when piped, colour only on a terminal without NO_COLOR.

    Args:
      options: those of `rich.console.Console`.

    Raises:
      ImportError: rich is missing; the message says how to install it.
    """

    class Console(import_for("The terminal report", "rich.console").Console):
        def on_broken_pipe(self):
            # rich would exit with 1, which means a finding here.
            raise BrokenPipeError

        whole = True

        def render(self, renderable, options=None):
            # What a table, for one, renders in its cells is seen here again as a part of the whole.
            segments = super().render(renderable, options)
            return self.clean(segments) if self.whole else segments

        def clean(self, segments):
            self.whole = False
            try:
                # Whatever is printed, a name in it steers no terminal.
                yield from _without_trailing_blanks(map(_printable_segment, segments))
            finally:
                self.whole = True

    out = Console(highlight=False, **options)
    if not out.is_terminal and "width" not in options:
        # A pipe has no width of its own.
        out.width = max(out.width, 80)
    return out


def _printable_segment(segment):
    if segment.control or segment.text.isprintable():
        return segment
    return segment._replace(text=printable_lines(segment.text))


def _without_trailing_blanks(segments):
    """The rich segments without the blanks at the end of each line."""
    blanks = []
    for segment in segments:
        if segment.control:
            yield segment
            continue
        for part in re.findall(r"\n|[^\n]+", segment.text):
            if part == "\n":
                blanks = []
                yield segment._replace(text=part)
                continue
            text = part.rstrip(" ")
            if text:
                yield from blanks
                blanks = []
                yield segment._replace(text=text)
            if len(text) < len(part):
                blanks.append(segment._replace(text=part[len(text) :]))


def print_table(table, out):
    """Print a table in its full width: on a narrow terminal lines wrap, where rich would cut numbers and columns."""
    from rich.measure import Measurement

    if any(not column.no_wrap for column in table.columns):
        out.print(table)
        return
    width = out.width
    out.width = max(width, Measurement.get(out, out.options.update(max_width=10_000), table).maximum)
    try:
        out.print(table)
    finally:
        out.width = width


def column_table(*columns):
    """An empty rich table.

    Args:
      columns: names of columns of numbers, or pairs of a name and "left" (text) or "sentences", which alone is wrapped.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "right")
        sentences = justify == "sentences"
        table.add_column(name, justify="left" if sentences else justify, no_wrap=not sentences)
    return table


def print_indented(text, out):
    """Print a paragraph that is indented by three columns."""
    from rich.padding import Padding

    out.print(Padding(text, (0, 0, 0, 3)))


def yes_or_no(good):
    """A verdict in a table: a green "yes" or a red "NO"."""
    return "[green]yes[/]" if good else "[bold red]NO[/]"


@contextlib.contextmanager
def progress(what, steps, stream):
    """Context with a progress bar on ``stream``, which gives the callback for each finished step.

    Args:
      what: the text beside the bar.
      steps: how many there will be.
      stream: a text file; if it is not a terminal there is no bar, and None instead of the callback.
    """
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda step: bar.advance(task)


class _Silent:
    """What `working` gives where nothing is shown."""

    def update(self, what):
        """Do nothing."""


class _Line:
    """A line with a spinner that appears when what is done takes longer than `PATIENCE` seconds."""

    def __init__(self, what, stream):
        self._what, self._stream = what, stream
        self._lock, self._shown, self._ended = threading.Lock(), None, False

    def show(self):
        """Let the line appear, unless the work has ended."""
        from rich.console import Console

        with self._lock:
            if not self._ended:
                self._shown = Console(file=self._stream).status(printable(self._what))
                self._shown.start()

    def update(self, what):
        """Say that something else is done now."""
        with self._lock:
            self._what = what
            if self._shown is not None:
                self._shown.update(printable(what))

    def end(self):
        """Let the line disappear."""
        with self._lock:
            self._ended = True
            if self._shown is not None:
                self._shown.stop()


@contextlib.contextmanager
def working(what, stream):
    """Context in which a line on ``stream`` says what is done, if it takes longer than `PATIENCE` seconds.

    It gives an object whose ``update(what)`` changes the line. There must be no progress bar inside.

    Args:
      what: what is done, as "reading the checkpoint".
      stream: a text file; if it is not a terminal nothing is shown.
    """
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield _Silent()
        return
    line = _Line(what, stream)
    timer = threading.Timer(PATIENCE, line.show)
    timer.daemon = True
    timer.start()
    try:
        yield line
    finally:
        timer.cancel()
        line.end()
