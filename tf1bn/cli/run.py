"""``tf1bn run``: runs an old script, unedited, on today's TensorFlow."""

import argparse

from ..errors import CommandError

DESCRIPTION = """Run a script that was written for TensorFlow 1.x, unedited, as `python` would run it: `import
tensorflow` gives it tf.compat.v1 with the contrib, layers and numbers of TF 1.x. Python 2 is translated in memory.

examples:
  tf1bn run train.py --epochs 3
  tf1bn run --release 1.3 train.py
  tf1bn run --record run.trace train.py && tf1bn audit run.trace
  tf1bn run -m project.train
  tf1bn run --explain train.py

exit codes: the script's own, 1 after an uncaught exception and 130 after Ctrl-C; 2 also if the script could not be
started, or ended well but its recording did not"""

USAGE = "tf1bn run [--release R] [--record DIR] [OPTION ...] [-m] SCRIPT ..."


def add_arguments(parser):
    """Declare the options of ``tf1bn run`` on an argparse parser."""
    parser.add_argument(
        "--release",
        metavar="R",
        default="1.15",
        help="the TensorFlow release whose behaviour the script gets: 1.0 to 1.15",
    )
    parser.add_argument(
        "--record",
        metavar="DIR",
        help="record every session.run that runs a batch-norm layer as a trace, for `tf1bn audit`; a second session "
        "goes to DIR.2, and so on",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="run nothing: list what the script and its own modules use of TensorFlow, and for each name whether it is "
        "there, lent, in a package that is not installed, or gone; exit code 1 if anything is in the way",
    )
    parser.add_argument("--json", metavar="FILE", help="with --explain, write it as JSON; - for standard output")
    group = parser.add_argument_group("what --record writes")
    group.add_argument(
        "--keep",
        choices=("auto", "moments", "inputs", "all"),
        default="auto",
        help="auto: inputs and outputs of the first 3 training and 3 inference steps, up to 256 MiB or half of "
        "--max-bytes, which decide what normalised the outputs, and of all other steps the moments of the inputs, "
        "which decide what updated the statistics; moments; inputs or all: inputs and outputs of every step",
    )
    group.add_argument("--every", metavar="N", type=int, default=1, help="record each Nth step")
    group.add_argument("--steps", metavar="N", type=int, help="record the first N steps")
    group.add_argument("--layers", metavar="PATTERN", action="append", help="record the layers with such names")
    group.add_argument(
        "--max-bytes", metavar="N", type=int, default=1 << 30, help="end before the trace is larger; 1 GiB if not given"
    )
    parser.add_argument(
        "--python2",
        action="store_true",
        help="the script is Python 2, even if Python 3 can run it; a first line #!/usr/bin/python2 says the same",
    )
    parser.add_argument(
        "--as-is",
        action="store_true",
        help="lend the script no old names: without it, names of Python, NumPy, SciPy and others that have left since, "
        "such as np.float, are there for the script alone, and listed when it has ended",
    )
    parser.add_argument("--verbose", action="store_true", help="show the log of TensorFlow's libraries")
    parser.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module's name, as in `python -m`")
    parser.add_argument("script", metavar="SCRIPT", help="the script; all that follows goes to it")
    rest = parser.add_argument("args", metavar="ARGUMENT", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False


def run(args):
    """Run the script that the parsed ``args`` name; returns the exit code.

    Raises:
      CommandError: the script could not be started; see `legacy.run_script`.
    """
    if args.explain:
        return _explain(args)
    if args.json is not None:
        raise CommandError("`--json` is what --explain writes: give --explain too, or leave it out.")
    from ..legacy import run_script

    names = ("keep", "every", "steps", "layers", "max_bytes")
    limits = {name: getattr(args, name) for name in names}
    if args.record is not None:
        from ..recorders.limits import Limits

        try:
            Limits(**limits)
        except (TypeError, ValueError) as error:
            raise CommandError(str(error).replace("`max_bytes`", "`--max-bytes`")) from error
    return run_script(
        args.script,
        args.args,
        release=args.release,
        record=args.record,
        module=args.module,
        python2=args.python2,
        as_is=args.as_is,
        limits=limits,
        verbose=args.verbose,
    )


def _explain(args):
    from .._util import strict_json
    from .._util.command import STDOUT, check_outputs, write_outputs
    from ..legacy.explain import report

    if args.module or args.record is not None:
        raise CommandError("`--explain` runs nothing and takes the path of a script: leave -m and --record out.")
    check_outputs({"--json": args.json}, {"SCRIPT": args.script})
    explained = report.explain(args.script)
    if args.json != STDOUT:
        print(report.to_text(explained))
    if args.json is not None:
        write_outputs({"--json": (args.json, strict_json.to_json(explained).encode())})
    return 0 if explained["ok"] else 1
