"""The command ``tf1bn``: subcommands, one-sentence errors, exit codes."""

import argparse
import os
import signal
import sys

from . import __version__, reproduce

DESCRIPTION = """The batch_norm of TensorFlow 1.x on today's TensorFlow, and a referee for moving statistics.

exit codes: 0 all well; 1 a finding; 2 the command could not do its work; 130 interrupted"""

REPRODUCE = """Repeat a 2017 article's experiment on batch_norm's decay, on the article's own numbers, and check
every number against an independent recomputation.

examples:
  tf1bn reproduce
  tf1bn reproduce --plot sweep.png --json reproduce.json
  tf1bn reproduce --input random --shape 8,4,4,3 --decay 0.9 --release 1.15
  tf1bn reproduce --print-variables --device cpu"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message.rstrip('.')}.\n")


def _parser():
    style = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog="tf1bn", description=DESCRIPTION, **style)
    parser.add_argument("--version", action="version", version=f"tf1bn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "reproduce", help="repeat the article's experiment and check it", description=REPRODUCE, **style
    )
    reproduce.add_arguments(command)
    command.set_defaults(run=reproduce.run, prog=command.prog)
    return parser


def main(argv=None):
    """Run ``tf1bn`` with ``argv`` (default: the command line); returns the exit code."""
    interrupted = False

    def interrupt(number, frame):
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread: no signals to take
        previous = None
    prog = "tf1bn"
    try:
        args = _parser().parse_args(argv)
        prog = args.prog
        return args.run(args)
    except reproduce.CannotWork as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except SystemExit as error:
        return error.code
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        print(f"{prog}: there is not enough memory for this input; give a smaller one.", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of the pipe has gone. Python must not complain about that once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Exception:
        # TensorFlow turns a KeyboardInterrupt inside its own code into errors of its own.
        if interrupted:
            return 130
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)
