"""The result of ``tf1bn reproduce`` as text on a terminal. rich is imported where it is used."""

from ..reports.terminal import column_table, print_indented, print_table, yes_or_no
from .options import decay_text

SHOWN = 12  # sentences of one kind; --json has all


def print_result(result, out):
    """Print the result of ``tf1bn reproduce`` (the JSON's dict) to the rich console ``out``."""
    from .variants.report import print_variants  # loads the checker

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
    _statistics(result["runs"], out)
    _outputs([run for run in result["runs"] if run["article"] is not None], out)
    _conclusions(result, out)
    _releases(result, out)
    _sweep(result, out)
    print_variants(result, out)
    _sentences(result, out)
    if result["ok"]:
        out.print(
            "[bold green]Reproduced:[/] the checker agrees everywhere, the article's numbers are met, its four "
            "conclusions hold."
        )
    else:
        out.print("[bold red]NOT reproduced:[/] see what is marked NO, and the lines above.")


def _sentences(result, out):
    """Notes, what could not be decided, and problems."""
    from rich.markup import escape

    for note in result["notes"]:
        out.print(f"[yellow]Note:[/] {escape(note)}")
    for label, sentences in (
        ("[bold yellow]Undecidable:[/]", [f"{sentence}." for sentence in result["undecided"]]),
        ("[bold red]Problem:[/]", result["problems"]),
    ):
        for sentence in sentences[:SHOWN]:
            out.print(f"{label} {escape(sentence)}")
        if len(sentences) > SHOWN:
            out.print(f"{label} and {len(sentences) - SHOWN} more: --json.")


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
        first = [decay_text(run["decay"]), "?" if check["undecided"] else yes_or_no(check["agrees"])]
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
    out.print("2  Outputs of this run, and how far off the printed ones they are", style="bold")
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
        verdict += ["", yes_or_no(run["article"]["outputs_agree"])]
    for row in (worst, allowed, verdict):
        table.add_row(*row)
    print_table(table, out)
    for run in runs:
        compared = run["article"]
        differences, limits = compared["differences"], compared["allowed"]
        print_indented(
            f"Printed statistics, decay {run['decay']:g}: moving_mean differs by "
            f"{abs(differences['moving_mean'][0]):.1e} (allowed {limits['moving_mean'][0]:.1e}), moving_variance by "
            f"{abs(differences['moving_variance'][0]):.1e} (allowed {limits['moving_variance'][0]:.1e}); all printed "
            f"numbers agree: {yes_or_no(compared['agrees'])}",
            out,
        )
    out.print()


def _conclusions(result, out):
    out.print("3  The article's four conclusions", style="bold")
    table = column_table("", ("conclusion, and what this run measured", "sentences"), "holds")
    for row in result["conclusions"]:
        table.add_row(str(row["id"]), f"[bold]{row['text']}[/]\n{row['evidence']}", yes_or_no(row["holds"]))
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
    table.add_row("checker agrees", *(yes_or_no(row["checker_agrees"]) for row in rows))
    print_table(table, out)
    for row in rows:
        print_indented(f"TF {row['release']}: {row['reason']}", out)
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
            decay_text(row["decay"]),
            _number(row["mean"]),
            _number(row["variance"]),
            f"{share:.6f}",
            f"{row['test_error']:.1e}",
            f"{row['test_error_closed_form']:.1e}",
            f"> {steps}" if row["steps_to_99_measured"] is None else str(row["steps_to_99_measured"]),
            "never" if row["steps_to_99"] is None else str(row["steps_to_99"]),
            yes_or_no(row["agrees"]),
        )
    print_table(table, out)
    print_indented(
        "After t steps the moving mean is m (1 - d^t) and the moving variance d^t + v (1 - d^t): 1 - d^t is the share "
        "of the data. Test error: root mean square of the test output minus the normalised batch.\n",
        out,
    )


def _number(value):
    return f"{value:.8g}"
