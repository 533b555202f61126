"""The layers of an audit or a comparison on a terminal: those that need a look in full, and one line for the rest."""

from ..._util.text import counted, in_percent
from ...verdicts import FINDING, OK, SEVERITIES, UNDECIDABLE
from .grouping import causes_of, group_alike, is_plainly_ok, largest_share, needs_a_look, worst_first
from .name_lists import fold_name, name_lines

TABLE = 80  # columns of a terminal from which on there is a table
WIDE = 96  # from which on causes have a column of their own
LISTED = 18  # lines of names in one list
STYLES = {FINDING: "bold red", UNDECIDABLE: "bold yellow", OK: "green"}


def print_layers(rows, out, *, quiet=False, in_full=False):
    """Print what is to be said about layers: findings, what is undecidable, what has advice, and one line for the ok.

    Args:
      rows: a `grouping.Row` for each layer.
      out: a rich console.
      quiet: whether to leave out the layers that do not need a look.
      in_full: whether every layer gets a row of its own, also those that are ok.

    Returns:
      The rows that were shown.
    """
    rows = sorted(rows, key=lambda row: worst_first(row.layer))
    if quiet:
        rows = [row for row in rows if needs_a_look(row.layer)]
    in_full = in_full or len(rows) == 1
    plain, shown = [], []
    for row in rows:
        (plain if is_plainly_ok(row) and not in_full else shown).append(row)
    groups = [[row] for row in shown] if in_full else group_alike(shown)
    if groups:
        (_print_list if out.width < TABLE else _print_table)(groups, out)
    for group in groups:
        if len(group) > 1:
            _print_names(group, out)
    print_remedies([row.layer for row in shown], out)
    if plain:
        _print_ok(plain, out, more=any(row.verdict == OK for row in shown))
    return [*shown, *plain]


def _print_list(groups, out):
    from rich.padding import Padding
    from rich.text import Text

    for group in groups:
        row = group[0]
        head = Text(f"{row.name}{_and_more(group)}: ", style="bold")
        head.append(row.verdict, style=STYLES[row.verdict])
        head.append("".join(f", {part}" for part in (" ".join(row.remark.split()), *causes_of(row.layer)) if part))
        out.print(head)
        out.print(Padding(_Sentences(row.explanation), (0, 0, 1, 4), expand=False))


def _print_table(groups, out):
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = out.width >= WIDE
    names = [group[0].name + _and_more(group) for group in groups]
    causes = [causes_of(group[0].layer) for group in groups]
    name_width = min(max(map(len, names)), out.width * 2 // 7)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if wide:
        table.add_column("causes", no_wrap=True)
    table.add_column("explanation", overflow="fold", ratio=1)
    for group, name, its_causes in zip(groups, names, causes, strict=True):
        row = group[0]
        verdict = Text(row.verdict, style=STYLES[row.verdict])
        if not wide:
            verdict.append("".join("\n" + cause.replace(" ", "\n") for cause in its_causes), style="not bold default")
        if row.remark:
            verdict.append("\n" + row.remark, style="bold default")
        name = "\n".join(fold_name(name, name_width))
        table.add_row(
            Text(name), verdict, *([Text("\n".join(its_causes))] if wide else []), _Sentences(row.explanation)
        )
        table.add_section()
    out.print(table)
    out.print()


class _Sentences:
    """A text whose words are broken after "/" where they are longer than a line, as names of variables are."""

    def __init__(self, text):
        self._text = text

    def __rich_measure__(self, console, options):
        from rich.measure import Measurement
        from rich.text import Text

        return Measurement.get(console, options, Text(self._text))

    def __rich_console__(self, console, options):
        from rich.text import Text

        words = self._text.split(" ")
        yield Text(" ".join("\n".join(fold_name(word, options.max_width)) for word in words))


def _and_more(group):
    return f" and {len(group) - 1} more" if len(group) > 1 else ""


def _print_names(group, out):
    """Print the names of all layers that one row stands for."""
    from rich.padding import Padding
    from rich.text import Text

    what = ", ".join(causes_of(group[0].layer)) or group[0].verdict
    head = Text(f"{what}: {counted(len(group), 'layer')}", style="bold")
    head.append(" (above the first; `--layer NAME` shows others)", style="not bold")
    out.print(head)
    lines, left = name_lines([row.name for row in group], out.width - 2, LISTED)
    if left:
        lines.append(f"and {left} more, which `--format json` has")
    out.print(Padding(Text("\n".join(lines)), (0, 0, 1, 2)))


def _print_ok(rows, out, *, more):
    """Print one line for layers of which nothing is to be said but that they are ok; ``more`` than those above."""
    from rich.text import Text

    shares = [share for share in (largest_share(row.layer) for row in rows) if share is not None]
    error = f" (largest error {in_percent(max(shares))} of its bound)" if shares else ""
    names = f"ok: {', '.join(row.name for row in rows)}{error}"
    count = f"ok: {counted(len(rows), 'more layer' if more else 'layer')}{error}"
    hint = "; `--layer NAME` shows them"
    if len(names) > out.width:
        names = count + hint if len(count + hint) <= out.width else count
    line = Text(names)
    line.stylize(STYLES[OK], 0, len(OK))
    out.print(line)


def print_remedies(layers, out):
    """Print what to do about the causes of some layers, each once, the findings first."""
    from rich.padding import Padding
    from rich.text import Text

    remedies = {}
    for severity in SEVERITIES:
        for layer in layers:
            for cause in layer["causes"]:
                if cause["severity"] == severity and cause.get("remedy") and not cause.get("accepted"):
                    remedies.setdefault(cause["id"], cause["remedy"])
    if not remedies:
        return
    out.print(Text("What to do", style="bold"))
    for name, text in remedies.items():
        line = Text(f"{name}: ", style="bold")
        line.append(text, style="not bold")
        out.print(Padding(line, (0, 0, 0, 2)))
    out.print()
