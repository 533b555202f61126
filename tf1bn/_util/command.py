"""What every subcommand shares: one-sentence errors, Ctrl-C, exit codes."""

import argparse
import contextlib
import functools
import os
import signal
import sys
import traceback

from .. import errors
from ..errors import CommandError
from . import files
from .printable import printable, replace_what_cannot_be_encoded


class _Formatter(argparse.HelpFormatter):
    """Fills the paragraphs of a description, and leaves the examples as they are."""

    def __init__(self, prog, **options):
        super().__init__(prog, max_help_position=22, **options)

    def _fill_text(self, text, width, indent):
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            part if part.startswith("examples:") else super(_Formatter, self)._fill_text(part, width, indent)
            for part in paragraphs
        )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage."""

    def __init__(self, **options):
        super().__init__(formatter_class=_Formatter, **options)

    def error(self, message):
        self.exit(2, f"{self.prog}: {printable(message.rstrip('.'))}.\n")


def check_outputs(paths, read=None):
    """Refuse, before any work, output files that cannot be written, or that the command reads.

    Args:
      paths: dict from option to path or None.
      read: dict from the name of an argument to a path or None: a file, the prefix of a checkpoint, or a folder with
        a trace or a checkpoint.

    Raises:
      CommandError: the message says which and why.
    """
    given = {option: path for option, path in paths.items() if path is not None}
    with _said():
        for option, path in given.items():
            files.check_writable(path, option)
    if len({os.path.realpath(path) for path in given.values()}) < len(given):
        raise CommandError(
            f"{' and '.join(f'`{one}`' for one in given)} are both {next(iter(given.values()))!r}; give two files."
        )
    for option, path in given.items():
        for name, source in (read or {}).items():
            if source is not None and any(map(functools.partial(_same, path), files.read_at(source))):
                raise CommandError(f"`{option}` is {path!r}, a file that is read as {name}; name another file.")


def _same(one, other):
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def write_outputs(contents):
    """Write the files, in this order; ``contents``: dict from option to a pair of path and bytes.

    Raises:
      CommandError: a file could not be written; those before it are there.
    """
    with _said():
        for option, (path, data) in contents.items():
            files.write_file(path, data, option)


@contextlib.contextmanager
def _said():
    try:
        yield
    except errors.OutputError as error:
        raise CommandError(str(error)) from error


def execute(parser, argv):
    """Parse ``argv`` (None: the command line), call the parsed ``run(args)`` and return the exit code.

    0 all well; 1 a finding; 2 the command could not do its work; 130 interrupted. Whatever goes wrong is one
    sentence on stderr; ``--verbose``, where a command has it, adds the traceback of what was not foreseen.
    """
    _open_closed_streams()
    replace_what_cannot_be_encoded(sys.stdout, sys.stderr)
    interrupted = False

    def interrupt(number, frame):
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    previous = None
    # A process started in the background ignores Ctrl-C, and goes on doing so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        try:
            previous = signal.signal(signal.SIGINT, interrupt)
        except ValueError:  # not the main thread: no signals to take
            previous = None
    prog, verbose = parser.prog, False
    try:
        args = parser.parse_args(argv)
        prog, verbose = args.prog, getattr(args, "verbose", False)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except SystemExit as error:
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _discard_output()
        return 2
    except Exception as error:
        # TensorFlow turns a KeyboardInterrupt inside its own code into errors of its own.
        if interrupted:
            return 130
        if verbose and not isinstance(error, CommandError):
            traceback.print_exc()
        print(f"{prog}: {printable(_sentence(error))}", file=sys.stderr)
        if isinstance(error, OSError):
            _discard_output()
        return 2
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


def _sentence(error):
    if isinstance(error, CommandError | ImportError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this input; give a smaller one."
    if isinstance(error, OSError):
        return f"output could not be written: {error.strerror or error}."
    return f"{type(error).__name__}: {error}. This was not foreseen; --verbose shows where it happened."


def _open_closed_streams():
    """Give a process that was started with stdout or stderr closed (``2>&-``) somewhere to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # The lowest free number is the closed stream's own, for what C++ writes.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (stays open like the stream it replaces)


def _discard_output():
    """Keep Python from failing once more when it flushes, at exit, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
