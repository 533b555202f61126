"""What every subcommand shares: one-sentence errors, Ctrl-C, exit codes."""

import argparse
import os
import signal
import sys


class CannotWork(Exception):
    """The command could not do what was asked; the message is one full sentence for the user."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message.rstrip('.')}.\n")


def execute(parser, argv):
    """Parse ``argv`` (None: the command line), call the parsed ``run(args)`` and return the exit code.

    0 all well; 1 a finding; 2 the command could not do its work; 130 interrupted.
    """
    interrupted = False

    def interrupt(number, frame):
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread: no signals to take
        previous = None
    prog = parser.prog
    try:
        args = parser.parse_args(argv)
        prog = args.prog
        return args.run(args)
    except CannotWork as error:
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
