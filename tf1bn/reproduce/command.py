"""The command ``tf1bn reproduce``, also ``python -m tf1bn.reproduce``.

It checks options and output files before it imports TensorFlow, which takes seconds.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from .._util import command, strict_json
from .._util.tensorflow_import import import_tensorflow
from ..errors import CommandError, OutputError
from ..reports import terminal
from ..verdicts import FINDING, OK, STRICT, UNDECIDABLE
from . import options, plot, report


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      Tf1bnError: something that was asked for is not possible here; the message says what, and so does ``--json``.
    """
    further = options.further_runs(args)
    _check_files(args)
    try:
        return _run(args, further)
    except Exception as error:
        if args.json is not None:
            # What went wrong first is what is told.
            with contextlib.suppress(OutputError, OSError):
                text = strict_json.to_json(command.failed_result(options.FORMAT, error))
                command.write_outputs({"--json": (args.json, text.encode())})
        raise


def _run(args, further):
    out = terminal.console()
    # A broken extension is found before the seconds that TensorFlow takes.
    from .. import checker  # noqa: F401

    import_tensorflow(args.verbose, own_process=args.own_process)
    from . import devices, run_and_check

    devices.require(args.device)
    with terminal.working("running the article's listing", sys.stderr) as line:
        measured = run_and_check.measure_all(args, further, line.update)
    result = _with_status(run_and_check.to_result(measured, args, further), args.strict_undecidable)
    if args.json != command.STDOUT:
        if args.print_variables:
            _print_variables([listing.run for listing in measured.reported], out)
        report.print_result(result, out)
    contents = {}
    if args.plot is not None:
        with terminal.working("drawing the sweep", sys.stderr):
            contents["--plot"] = args.plot, plot.plot_sweep(result, args.plot.lower()[-3:])
    # Last, so that a file that says ok was written by a command that ends with 0.
    if args.json is not None:
        contents["--json"] = args.json, strict_json.to_json(result).encode()
    command.write_outputs(contents)
    return result["exit_code"]


def _with_status(result, strict):
    """The result with "status" and "exit_code"; ``strict``: whether what is undecidable has an exit code of its own."""
    if result["ok"]:
        return {**result, "status": OK, "exit_code": 0}
    if result["problems"] or not all(row["holds"] for row in result["conclusions"]):
        return {**result, "status": FINDING, "exit_code": 1}
    return {**result, "status": UNDECIDABLE, "exit_code": STRICT if strict else 2}


def _check_files(args):
    """Refuse, before any work, files that cannot be written."""
    command.check_outputs({"--json": args.json, "--plot": args.plot})
    if args.plot is not None:
        if not args.plot.lower().endswith((".png", ".svg")):
            raise CommandError(f"`--plot` is {args.plot!r}; it must be a file name that ends in .png or .svg.")
        plot.figure_class()


def _print_variables(runs, out):
    """Print all variables before and after each phase, as the article did; ``runs``: `experiment.Run`."""
    for run in runs:
        for phase, is_training in zip(run.phases, (True, False), strict=True):
            out.print(f"decay={run.spec.decay:g}, is_training={is_training}", style="bold", markup=False)
            for when, variables in (("before", phase.printed_before), ("after", phase.printed_after)):
                for name, value in variables:
                    out.print(f"{when}: {name} {value}", markup=False, soft_wrap=True)
    out.print()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m tf1bn.reproduce``.

    Args:
      argv: the options; None for those of the command line.

    Returns:
      the exit code: 0 if everything agrees, 1 for a finding, 2 if something is undecidable or the command could not do
      its work, 130 on Ctrl-C.
    """
    parser = command.Parser(prog="tf1bn reproduce", description=options.DESCRIPTION)
    options.add_arguments(parser)
    parser.set_defaults(run=run, prog=parser.prog)
    return command.execute(parser, argv)
