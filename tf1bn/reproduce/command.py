"""``python -m tf1bn.reproduce``: the 2017 article's experiment on decay, on its own numbers, checked.

Joins the player (experiment, session), which needs TensorFlow, and the referee (conclusions, checker), which does
not. TensorFlow is imported after the arguments and the output files have been checked.
"""

import math
import os

from .. import __version__
from .._util import command, strict_json
from .._util.tensorflow_import import import_tensorflow
from ..errors import CommandError
from ..reports import terminal
from . import options, plot, report


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      Tf1bnError: something that was asked for is not possible here; the message says what.
    """
    wanted = options.further_runs(args)
    _check_files(args)
    out = terminal.console()
    # A broken extension is found before the seconds that TensorFlow takes.
    from .. import checker  # noqa: F401

    import_tensorflow(args.verbose)
    from . import devices as session

    session.require(args.device)
    result, printed = measure(args, wanted)
    if args.print_variables:
        _print_variables(printed, out)
    report.reproduce(result, out)
    contents = {}
    if args.plot is not None:
        contents["--plot"] = args.plot, plot.plot_sweep(result, args.plot.lower()[-3:])
    # Last, so that a file that says ok was written by a command that ends with 0.
    if args.json is not None:
        contents["--json"] = args.json, strict_json.to_json(result).encode()
    command.write_outputs(contents)
    if result["ok"]:
        return 0
    return 1 if result["problems"] or not all(row["holds"] for row in result["conclusions"]) else 2


def _check_files(args):
    """Refuse, before any work, files that cannot be written."""
    command.check_outputs({"--json": args.json, "--plot": args.plot})
    if args.plot is not None:
        if not args.plot.lower().endswith((".png", ".svg")):
            raise CommandError(f"`--plot` is {args.plot!r}; name a file that ends in .png or .svg.")
        plot.figure_class()


def measure(args, wanted):
    """Run and judge everything; returns the JSON's dict, and the runs for their printed variables."""
    import numpy as np
    import tensorflow as tf

    from . import article, conclusions, decay_sweep, experiment
    from . import devices as session
    from .variants import run as variantgrid

    device = "gpu" if args.device == "both" else args.device

    def play(decay, fused, release, source, batch):
        spec = experiment.Spec(decay, fused, release, source, batch)
        played = experiment.run_listing(spec, device)
        return played, conclusions.check_run(played)

    def article_pair(fused, release):
        played = [play(e.decay, fused, release, "article", e.batch()) for e in article.EXPERIMENTS]
        return list(zip(*played, strict=True))

    runs, checks = article_pair(False, options.ARTICLE_RELEASE)
    compared = [
        conclusions.compare_with_article(*played, printed)
        for *played, printed in zip(runs, checks, article.EXPERIMENTS, strict=True)
    ]
    fused_runs, fused_checks = article_pair(True, "1.15")

    shown_decays = tuple(dict.fromkeys(args.decay or options.DECAYS))
    # Whatever decays were asked for, conclusion 3 is judged on the article's two on one batch.
    swept = (*shown_decays, *(e.decay for e in article.EXPERIMENTS if e.decay not in shown_decays))
    shown = {int(step) for step in np.geomspace(1, args.steps, 24)}
    shown |= {decay_sweep.steps_to_carry(decay) or 0 for decay in swept}
    sweep = experiment.run_sweep(article.EXPERIMENTS[0].batch(), swept, args.steps, shown, device)
    sweep_rows = decay_sweep.sweep_rows(sweep)

    judged = conclusions.conclusions(*runs, checks, sweep)
    releases = [
        conclusions.release_summary("1.3", *runs, checks),
        conclusions.release_summary("1.15", *fused_runs, fused_checks),
    ]

    batches = {e.decay: e.batch() for e in article.EXPERIMENTS}
    further = []
    for asked in wanted:
        if asked.input == "random":
            batch = np.random.default_rng(asked.seed).uniform(0, 255, asked.shape).astype(np.float32)
        else:
            batch = batches.get(asked.decay, batches[0])
        further.append(play(asked.decay, asked.fused, asked.release, asked.input, batch))

    everything = [*zip(runs, checks, strict=True), *further]
    checked = [*everything, *zip(fused_runs, fused_checks, strict=True)]
    variants = variantgrid.run(variantgrid.devices(args.device, args.variants), checked)
    problems = [
        f"decay {played.spec.decay:g}, {_kind(played.spec.fused)}, {played.spec.input} input: {problem}"
        for played, check in checked
        for problem in check.problems
    ]
    problems += [
        f"sweep, decay {row['decay']:g}: the checker does not agree" for row in sweep_rows if not row["agrees"]
    ]
    problems += [
        f"decay {run_.spec.decay:g}: a number that the article printed is farther away than float32 allows"
        for run_, result in zip(runs, compared, strict=True)
        if not result.agrees
    ]
    problems += variants.problems
    devices = sweep.devices.union(*(played.devices for played, _ in checked))
    used = ", ".join(sorted(devices | variants.devices, reverse=True)) or "nowhere"
    unmet = [
        f"decay {played.spec.decay:g}, {played.spec.input} input: {sentence}"
        for played, check in checked
        for sentence in check.undecided
    ]
    elsewhere = sorted(one for one in devices if device == "gpu" and not one.startswith("GPU"))
    if elsewhere:
        some = "some of " if len(elsewhere) < len(devices) else ""
        unmet.append(
            f"device {args.device!r} was asked for, but {some}the batch-norm operations ran on {', '.join(elsewhere)}; "
            "--verbose shows TensorFlow's log"
        )
    unmet += variants.undecided
    result = {
        "format": "tf1bn-reproduce",
        "ok": not problems and not unmet and all(row["holds"] for row in judged),
        "tf1bn": __version__,
        "tensorflow": tf.__version__,
        "device": {"requested": args.device, "used": used, "details": session.details()},
        "runs": [
            _run_json(*pair, comparison)
            for pair, comparison in zip(everything, [*compared, *[None] * len(further)], strict=True)
        ],
        "conclusions": judged,
        "releases": [{**row, "reason": _reason(row)} for row in releases],
        "sweep": sweep_rows[: len(shown_decays)],
        "variants": variants.rows,
        "side_by_side": variants.side_by_side,
        "notes": [article.SLIP, *_notes(args, wanted), *variants.notes],
        "problems": problems,
        "undecided": unmet,
    }
    return result, [played for played, _ in everything]


def _kind(fused):
    return "fused" if fused else "composed"


def _reason(row):
    """Why a release gives what was measured: chosen by the measurement, not by the release."""
    count, ratio = row["count"], row["test_over_training"]
    lost = [str(conclusion["id"]) for conclusion in row["conclusions"] if not conclusion["holds"]]
    outcome = f"Conclusions {', '.join(lost)} fail" if lost else "All four conclusions survive"
    layer = f"the default layer is {_kind(row['fused'])}"
    if row["test_equals_training_output"]:
        return (
            f"{layer} and stores the population variance, so with decay 0 testing repeats the training output, as the "
            f"article printed. {outcome}."
        )
    if row["fused"] and row["checker_agrees"]:
        return (
            f"{layer} and stores N/(N-1) = {count}/{count - 1} of the batch variance (Bessel's correction), so with "
            f"decay 0 testing gives sqrt({count - 1}/{count}) = {ratio:.6f} of the training output, {1 - ratio:.1%} "
            f'less. {outcome}; that testing prints "the very same digits" does not.'
        )
    return f"{layer}; with decay 0 testing gave {ratio:.6f} of the training output, which is not explained. {outcome}."


def _notes(args, wanted):
    """What the user should know about the runs that were asked for, and about the device."""
    import tensorflow as tf

    if not wanted and any(value is not None for value in (args.release, args.fused, args.input)):
        yield "What was asked for is exactly the article's own two runs, so nothing was run besides them."
    if any(run.input == "article" and run.decay not in (0, 1) for run in wanted):
        yield "For a decay that the article did not use, the input is that of its first experiment (decay 0)."
    if any(math.prod(run.shape[:-1]) == 1 for run in wanted):
        yield (
            "There is one value per channel in the asked-for input: its variance is 0 and every training output is "
            "beta, whatever the input, so such a run shows nothing about the data."
        )
    if args.device == "auto" and os.path.exists("/dev/nvidia0") and not tf.config.list_physical_devices("GPU"):
        yield "This machine has an NVIDIA device, but TensorFlow sees no GPU, so the CPU was used; --verbose shows why."


def _run_json(played, check, comparison):
    spec = played.spec
    return {
        "decay": spec.decay,
        "fused": played.ran_fused,
        "release": spec.release,
        "input": spec.input,
        "shape": list(spec.batch.shape),
        "operations": [placement._asdict() for placement in played.placements],
        "phases": [
            {
                "name": phase.name,
                "output": phase.output.ravel().tolist(),
                **{
                    f"{name}_{when}": values[name].tolist()
                    for name in ("moving_mean", "moving_variance")
                    for when, values in (("before", phase.before), ("after", phase.after))
                },
            }
            for phase in played.phases
        ],
        "checker": {
            **{name: getattr(check, name).tolist() for name in ("mean", "variance", "mean_bound", "variance_bound")},
            "agrees": check.agrees,
            "problems": list(check.problems),
            "undecided": list(check.undecided),
        },
        "article": None
        if comparison is None
        else {
            "max_output_difference": comparison.max_output_difference,
            "agrees": comparison.agrees,
            "outputs_agree": comparison.outputs_agree,
            "differences": {name: value.ravel().tolist() for name, value in comparison.differences.items()},
            "allowed": {name: value.ravel().tolist() for name, value in comparison.allowed.items()},
        },
    }


def _print_variables(runs, out):
    for played in runs:
        for phase, is_training in zip(played.phases, (True, False), strict=True):
            out.print(f"decay={played.spec.decay:g}, is_training={is_training}", style="bold", markup=False)
            for when, variables in (("before", phase.printed_before), ("after", phase.printed_after)):
                for name, value in variables:
                    out.print(f"{when}: {name} {value}", markup=False, soft_wrap=True)
    out.print()


def main(argv=None):
    """Entry point of ``python -m tf1bn.reproduce``; returns the exit code."""
    parser = command.Parser(prog="tf1bn reproduce", description=options.DESCRIPTION)
    options.add_arguments(parser)
    parser.set_defaults(run=run, prog=parser.prog)
    return command.execute(parser, argv)
