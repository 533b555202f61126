"""The command ``tf1bn`` and its subcommands."""

import sys

from .. import __version__
from .._util import command, supervise
from ..reproduce import command as reproduce
from ..reproduce import options
from . import audit, doctor, run
from . import parity as paritycommand

# These read other people's files, with libraries of others too.
_SUPERVISED = ("audit", "parity")

DESCRIPTION = """The batch_norm of TensorFlow 1.x on today's TensorFlow, and a referee for moving statistics.

examples:
  tf1bn reproduce
  tf1bn run --record run.trace train.py
  tf1bn audit run.trace
  tf1bn parity old.trace run.trace
  tf1bn COMMAND --help

exit codes: 0 all well; 1 a finding; 2 the command could not do its work; 130 interrupted"""


def parser():
    """The argument parser of ``tf1bn``."""
    made = command.Parser(prog="tf1bn", description=DESCRIPTION)
    made.add_argument("--version", action="version", version=f"tf1bn {__version__}")
    commands = made.add_subparsers(metavar="COMMAND")
    sub = commands.add_parser(
        "reproduce", help="repeat the article's experiment and check it", description=options.DESCRIPTION
    )
    options.add_arguments(sub)
    sub.set_defaults(run=reproduce.run, prog=sub.prog)
    sub = commands.add_parser(
        "audit", help="judge the layers of a recorded run or a checkpoint", description=audit.DESCRIPTION
    )
    audit.add_arguments(sub)
    sub.set_defaults(run=audit.run, prog=sub.prog)
    sub = commands.add_parser("run", help="run an old script unedited", description=run.DESCRIPTION, usage=run.USAGE)
    run.add_arguments(sub)
    sub.set_defaults(run=run.run, prog=sub.prog)
    sub = commands.add_parser("parity", help="compare a port with its original", description=paritycommand.DESCRIPTION)
    paritycommand.add_arguments(sub)
    sub.set_defaults(run=paritycommand.run, prog=sub.prog)
    sub = commands.add_parser("doctor", help="print what a bug report needs", description=doctor.DESCRIPTION)
    doctor.add_arguments(sub)
    sub.set_defaults(run=doctor.run, prog=sub.prog)
    made.set_defaults(run=_help, prog=made.prog)
    return made


def _help(args):
    """Without a command: what there is."""
    parser().print_help(sys.stderr)
    return 2


def main(argv=None):
    """Run ``tf1bn`` with ``argv`` (default: the command line); returns the exit code.

    The command line's ``audit`` and ``parity`` do their work in a process of its own, see `supervise`.
    """
    if argv is None and sys.argv[1:2] and sys.argv[1] in _SUPERVISED:
        code = supervise.fork(f"tf1bn {sys.argv[1]}")
        if code is not None:
            return code
    return command.execute(parser(), argv)
