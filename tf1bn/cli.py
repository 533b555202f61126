"""The command ``tf1bn`` and its subcommands."""

from . import __version__, audit, command, options, paritycommand, reproduce, run

DESCRIPTION = """The batch_norm of TensorFlow 1.x on today's TensorFlow, and a referee for moving statistics.

exit codes: 0 all well; 1 a finding; 2 the command could not do its work; 130 interrupted"""


def parser():
    """The argument parser of ``tf1bn``."""
    made = command.Parser(prog="tf1bn", description=DESCRIPTION)
    made.add_argument("--version", action="version", version=f"tf1bn {__version__}")
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    sub = commands.add_parser(
        "reproduce", help="repeat the article's experiment and check it", description=options.DESCRIPTION
    )
    options.add_arguments(sub)
    sub.set_defaults(run=reproduce.run, prog=sub.prog)
    sub = commands.add_parser("audit", help="judge the layers of a recorded run", description=audit.DESCRIPTION)
    audit.add_arguments(sub)
    sub.set_defaults(run=audit.run, prog=sub.prog)
    sub = commands.add_parser("run", help="run an old script unedited", description=run.DESCRIPTION, usage=run.USAGE)
    run.add_arguments(sub)
    sub.set_defaults(run=run.run, prog=sub.prog)
    sub = commands.add_parser("parity", help="compare a port with its original", description=paritycommand.DESCRIPTION)
    paritycommand.add_arguments(sub)
    sub.set_defaults(run=paritycommand.run, prog=sub.prog)
    return made


def main(argv=None):
    """Run ``tf1bn`` with ``argv`` (default: the command line); returns the exit code."""
    return command.execute(parser(), argv)
