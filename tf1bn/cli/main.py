"""The command ``tf1bn`` and its subcommands."""

import gc
import sys

from .. import __version__
from .._util import command, completion, supervise
from ..reproduce import command as reproduce
from ..reproduce import options
from . import audit, doctor, inspect, parity, recalibrate, run

# These read other people's files, with libraries of others too.
_SUPERVISED = ("audit", "parity", "inspect")

DESCRIPTION = """The batch_norm of TensorFlow 1.x on today's TensorFlow, and a checker of moving statistics.

examples:
  tf1bn reproduce
  tf1bn run --record run.trace train.py
  tf1bn audit run.trace
  tf1bn parity old.trace run.trace
  tf1bn inspect run.trace
  tf1bn COMMAND --help

exit codes: 0 all well; 1 a finding; 2 something is undecidable or the command could not do its work; 130
interrupted"""


def parser():
    """The argument parser of ``tf1bn``."""
    result = command.Parser(prog="tf1bn", description=DESCRIPTION)
    result.add_argument("--version", action="version", version=f"tf1bn {__version__}")
    result.add_argument(
        "--print-completion",
        choices=completion.SHELLS,
        metavar="SHELL",
        help="print the script with which bash, zsh or tcsh completes commands, options and files",
    )
    commands = result.add_subparsers(metavar="COMMAND")
    # (name, what it does in a few words, module with its options, function that runs it, further arguments)
    subcommands = [
        ("reproduce", "repeat the article's experiment and check it", options, reproduce.run, {}),
        ("audit", "judge the layers of a recorded run or a checkpoint", audit, audit.run, {}),
        ("inspect", "show what a trace, a checkpoint or a graph holds", inspect, inspect.run, {}),
        ("run", "run an old script unedited", run, run.run, {"usage": run.USAGE}),
        ("parity", "compare a port with its original", parity, parity.run, {}),
        ("recalibrate", "compute moving statistics anew from data", recalibrate, recalibrate.run, {}),
        ("doctor", "print what a bug report needs", doctor, doctor.run, {}),
    ]
    for name, summary, module, function, more in subcommands:
        sub = commands.add_parser(name, help=summary, description=module.DESCRIPTION, **more)
        module.add_arguments(sub)
        sub.set_defaults(run=function, prog=sub.prog)
    result.set_defaults(run=_help, prog=result.prog)
    return result


def _help(args):
    """Do what the options without a command ask for, or print the help where there are none."""
    if args.print_completion is not None:
        print(completion.script(parser(), args.print_completion))
        return 0
    parser().print_help(sys.stderr)
    return 2


def main(argv=None):
    """Run ``tf1bn`` with ``argv`` (default: the command line); returns the exit code.

    The command line's ``audit``, ``parity`` and ``inspect`` do their work in a process of its own, see `supervise`.
    """
    if argv is not None or not sys.argv[1:2] or sys.argv[1] not in _SUPERVISED:
        return command.execute(parser(), argv)
    code = supervise.fork(f"tf1bn {sys.argv[1]}")
    if code is None:
        code = command.execute(parser(), argv)
        # The process ends here: to look for garbage once more would take longer than to print the report.
        gc.freeze()
    return code
