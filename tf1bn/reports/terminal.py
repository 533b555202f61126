"""The terminal: a console of rich, tables that are never cut, and a progress bar. rich is imported where it is used."""

import contextlib

from .._util.printable import printable_lines


def console(**options):
    """A rich console on stdout: plain text when piped, colour only on a terminal without NO_COLOR."""
    try:
        from rich.console import Console
    except ImportError as error:
        raise ImportError(
            "The terminal report needs the package `rich`; install it with `pip install rich`, or `tf1bn[report]`."
        ) from error

    class Pipe(Console):
        def on_broken_pipe(self):
            # rich would exit with 1, which means a finding here.
            raise BrokenPipeError

        def render(self, renderable, options=None):
            # Whatever is printed, a name in it steers no terminal.
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable_lines(segment.text))

    made = Pipe(highlight=False, **options)
    if not made.is_terminal:
        # A pipe has no width of its own.
        made.width = max(made.width, 80)
    return made


def print_table(table, out):
    """Print at full width: a terminal that is too narrow wraps lines, rich would cut numbers and drop columns."""
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
        # Numbers are never cut or wrapped; only a column of sentences is.
        sentences = justify == "sentences"
        table.add_column(name, justify="left" if sentences else justify, no_wrap=not sentences)
    return table


def indented(text, out):
    from rich.padding import Padding

    out.print(Padding(text, (0, 0, 0, 3)))


def mark(good):
    return "[green]yes[/]" if good else "[bold red]NO[/]"


@contextlib.contextmanager
def progress(what, steps, stream):
    """A function to call after each of so many steps, which shows a bar on ``stream`` if that is a terminal."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda step: bar.advance(task)
