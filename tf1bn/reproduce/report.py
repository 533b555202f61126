"""Findings as terminal text, JSON and pictures. Shows what others found and decides nothing.

rich and matplotlib are imported where they are used, so that importing this module costs nothing.
"""

import io

_SHOWN = 12  # sentences of one kind


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


def reproduce(result, out):
    """Print the result of ``tf1bn reproduce`` (the JSON's dict) to the rich console ``out``."""
    from rich.markup import escape

    from .variants import report as variantreport

    device = result["device"]
    out.print(
        f"[bold]tf1bn {result['tf1bn']}[/] reproduces an article of 2017 on batch_norm's [bold]decay[/]: TensorFlow "
        f"{result['tensorflow']}, device asked for: {device['requested']}, batch norm ran on: {device['used']}."
    )
    out.print(
        "One layer, one 1x4x4x1 input, built twice on shared variables (training and testing), "
        "updates_collections=None.\nThe article printed its outputs but not its inputs; they were recovered from the "
        "outputs and are fed again here.\n"
    )
    article_runs = [run for run in result["runs"] if run["article"] is not None][:2]
    _statistics(result["runs"], out)
    _outputs(article_runs, out)
    _conclusions(result, out)
    _releases(result, out)
    _sweep(result, out)
    variantreport.show(result, out)
    for note in result["notes"]:
        out.print(f"[yellow]Note:[/] {escape(note)}")
    for label, sentences in (
        ("[bold yellow]Undecided:[/]", [f"{sentence}." for sentence in result["undecided"]]),
        ("[bold red]Problem:[/]", result["problems"]),
    ):
        for sentence in sentences[:_SHOWN]:
            out.print(f"{label} {escape(sentence)}")
        if len(sentences) > _SHOWN:
            out.print(f"{label} and {len(sentences) - _SHOWN} more: --json.")
    if result["ok"]:
        out.print(
            "[bold green]Reproduced:[/] the checker agrees everywhere, the article's numbers are met, its four "
            "conclusions hold."
        )
    else:
        out.print("[bold red]NOT reproduced:[/] see what is marked NO, and the lines above.")


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


def _statistics(runs, out):
    article_runs = [run for run in runs if run["article"] is not None]
    title = "1  Moving statistics around training and testing, and what the checker expects"
    _statistics_table(title, article_runs, out)
    for run in runs:
        if run["article"] is None:
            kind = "fused" if run["fused"] else "composed"
            shape = "x".join(str(n) for n in run["shape"])
            title = (
                f"\n   Asked for: the listing with TF {run['release']}'s {kind} layer on {run['input']} input {shape}"
            )
            _statistics_table(title, [run], out)
    out.print()


def _statistics_table(title, runs, out):
    out.print(title, style="bold")
    table = column_table(
        ("decay", "left"),
        ("", "left"),
        "before",
        "after\ntraining",
        "after\ntesting",
        "expected",
        "may\ndiffer",
        "ok",
    )
    for run in runs:
        train, test = run["phases"]
        check = run["checker"]
        first = [_decay(run["decay"]), "?" if check["undecided"] else mark(check["agrees"])]
        channels = len(train["moving_mean_before"])
        for name, expected in (("moving_mean", "mean"), ("moving_variance", "variance")):
            for c in range(min(channels, 3)):
                label, agrees = first
                first = ["", ""]
                table.add_row(
                    label,
                    name if channels == 1 else f"{name}[{c}]",
                    _number(train[f"{name}_before"][c]),
                    _number(train[f"{name}_after"][c]),
                    _number(test[f"{name}_after"][c]),
                    _number(check[expected][c]),
                    f"{check[f'{expected}_bound'][c]:.1e}",
                    agrees,
                )
        if channels > 3:
            table.add_row("", f"({channels - 3} more: --json)")
    print_table(table, out)


def _outputs(runs, out):
    names = [(run, key) for run in runs for key in ("training_output", "test_output")]
    out.print("2  Outputs now, and how far off what the article printed", style="bold")
    table = column_table(
        "",
        *(
            column
            for run, key in names
            for column in (f"decay {run['decay']:g}\n{'train' if key == 'training_output' else 'test'}", "off")
        ),
    )
    columns = [[str(i) for i in range(16)]]
    for run, key in names:
        phase = run["phases"][0 if key == "training_output" else 1]
        columns.append([f"{value:.5f}" for value in phase["output"]])
        columns.append([f"{value:.0e}" for value in run["article"]["differences"][key]])
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    table.add_section()
    worst, allowed, verdict = ["largest"], ["allowed"], ["ok"]
    for run, key in names:
        differences, limits = run["article"]["differences"][key], run["article"]["allowed"][key]
        most = max(range(len(differences)), key=lambda i: abs(differences[i]) / limits[i])
        worst += ["", f"{abs(differences[most]):.0e}"]
        allowed += ["", f"{limits[most]:.0e}"]
        verdict += ["", mark(run["article"]["outputs_agree"])]
    for row in (worst, allowed, verdict):
        table.add_row(*row)
    print_table(table, out)
    for run in runs:
        compared = run["article"]
        differences, limits = compared["differences"], compared["allowed"]
        indented(
            f"Printed statistics, decay {run['decay']:g}: moving_mean differs by "
            f"{abs(differences['moving_mean'][0]):.1e} (may by {limits['moving_mean'][0]:.1e}), moving_variance by "
            f"{abs(differences['moving_variance'][0]):.1e} (may by {limits['moving_variance'][0]:.1e}); all that was "
            f"printed agrees: {mark(compared['agrees'])}",
            out,
        )
    out.print()


def _conclusions(result, out):
    out.print("3  The article's four conclusions", style="bold")
    table = column_table("", ("conclusion, and what this run measured", "sentences"), "holds")
    for row in result["conclusions"]:
        table.add_row(str(row["id"]), f"[bold]{row['text']}[/]\n{row['evidence']}", mark(row["holds"]))
    print_table(table, out)
    out.print()


def _releases(result, out):
    rows = result["releases"]
    out.print("4  Would it still hold? The same listing with the defaults of two releases", style="bold")
    table = column_table(
        ("", "left"),
        *(f"TF {row['release']}" for row in rows),
    )
    table.add_row("default layer", *("fused" if row["fused"] else "composed" for row in rows))
    for i, conclusion in enumerate(result["conclusions"]):
        verdicts = ("holds" if row["conclusions"][i]["holds"] else "[red]fails[/]" for row in rows)
        table.add_row(f"conclusion {conclusion['id']}", *verdicts)
    table.add_row("decay 0: moving_variance", *(_number(row["moving_variance"][0]) for row in rows))
    table.add_row(
        "decay 0: testing prints training's digits",
        *("yes" if row["test_equals_training_output"] else "no" for row in rows),
    )
    table.add_row("decay 0: test output / training output", *(f"{row['test_over_training']:.6f}" for row in rows))
    table.add_row("checker agrees", *(mark(row["checker_agrees"]) for row in rows))
    print_table(table, out)
    for row in rows:
        indented(f"TF {row['release']}: {row['reason']}", out)
    out.print()


def _sweep(result, out):
    rows = result["sweep"]
    steps = rows[0]["steps"]
    out.print(f"5  What decay really does: one batch repeated for {steps} training steps", style="bold")
    table = column_table(
        "decay",
        "moving\nmean",
        "moving\nvariance",
        "share\nof data",
        "test\nerror",
        "by closed\nform",
        "99 %\nafter",
        "by closed\nform",
        "ok",
    )
    for row in rows:
        share = row["curve"]["carried"][-1]
        table.add_row(
            _decay(row["decay"]),
            _number(row["mean"]),
            _number(row["variance"]),
            f"{share:.6f}",
            f"{row['test_error']:.1e}",
            f"{row['test_error_closed_form']:.1e}",
            f"> {steps}" if row["steps_to_99_measured"] is None else str(row["steps_to_99_measured"]),
            "never" if row["steps_to_99"] is None else str(row["steps_to_99"]),
            mark(row["agrees"]),
        )
    print_table(table, out)
    indented(
        "After t steps the moving mean is m (1 - d^t) and the moving variance d^t + v (1 - d^t): 1 - d^t is the share "
        "of the data. Test error: root mean square of the test output minus the normalised batch.\n",
        out,
    )


def _number(value):
    return f"{value:.8g}"


def _decay(value):
    """As short as says which: .9999999999999999 is not 1."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


# Okabe and Ito's colours, told apart by readers with any colour vision; markers repeat the distinction.
# After seven decays the colours come again, with other markers.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#000000", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "x", "P")


def figure_class():
    """matplotlib's Figure.

    Raises:
      ImportError: matplotlib is missing; the message says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`--plot` needs the package `matplotlib`; install it with `pip install matplotlib`, or `tf1bn[report]`."
        ) from error
    return Figure


def plot_sweep(result, kind):
    """The sweep as a picture: bytes of ``kind`` "png" or "svg"."""
    buffer = io.BytesIO()
    # No date in the file: the same result gives the same picture.
    sweep_figure(result).savefig(buffer, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def sweep_figure(result):
    """The sweep as a matplotlib figure: share of the data and test error against training steps."""
    figure = figure_class()(figsize=(11, 5), layout="constrained")
    carried, error = figure.subplots(1, 2)
    for i, row in enumerate(result["sweep"]):
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)]
        reach = row["steps_to_99"]
        label = f"decay {_decay(row['decay'])}: " + (
            "99 % never" if reach is None else f"99 % after {reach} step{'' if reach == 1 else 's'}"
        )
        for axes, name in ((carried, "carried"), (error, "test_error")):
            points = zip(*(row["curve"][key] for key in ("step", name, f"{name}_closed_form")), strict=True)
            steps, measured, closed = zip(*(point for point in points if point[0] > 0), strict=True)
            axes.plot(steps, measured, color=colour, marker=marker, markersize=5, linestyle="none")
            axes.plot(steps, closed, color=colour, linewidth=1.4)
        carried.plot([], [], color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
    carried.axhline(0.99, color="0.4", linewidth=0.9, linestyle="--")
    carried.annotate("99 %", (1, 0.99), xytext=(0, -12), textcoords="offset points", color="0.3", fontsize=9)
    carried.set(
        xscale="log",
        xlabel="training steps t",
        ylabel="share of the batch in the moving mean, $1 - d^t$",
        title="How fast the moving statistics follow the data",
        ylim=(-0.03, 1.05),
    )
    error.set(
        xscale="log",
        yscale="log",
        xlabel="training steps t",
        ylabel="root mean square error of the test output",
        title="What testing with them costs",
        ylim=(1e-8, 1e3),
    )
    error.annotate("float32 rounding", (0.03, 0.15), xycoords="axes fraction", color="0.3", fontsize=9)
    for axes in (carried, error):
        axes.grid(alpha=0.25)
    figure.legend(
        *carried.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title="marks: measured, lines: closed form",
    )
    return figure
