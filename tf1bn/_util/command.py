"""What every subcommand shares: its parser, its output files, errors as one sentence, Ctrl-C and exit codes."""

import argparse
import os
import re
import signal
import sys
import traceback

from ..errors import CommandError, Tf1bnError
from . import files
from .printable import printable, replace_what_cannot_be_encoded
from .text import did_you_mean

_INVALID_CHOICE = re.compile(r"invalid choice: (?P<quote>['\"])(?P<value>.*)(?P=quote) \(choose from (?P<choices>.*)\)")


class _Formatter(argparse.HelpFormatter):
    """Fills the paragraphs of a description to the terminal's width, and leaves the examples as they are."""

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

    def parse_known_args(self, args=None, namespace=None):
        # A command's parser answers what it does not know itself, and not the one of all commands.
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            word = next((word for word in unknown if word.startswith("-")), "")
            hint = did_you_mean(word.partition("=")[0], options) if word else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
        return namespace, unknown

    def error(self, message):
        invalid = _INVALID_CHOICE.search(message)
        if invalid:
            choices = re.findall(r"[^\s,']+", invalid["choices"])
            message = f"{message}.{did_you_mean(invalid['value'], choices)}"
        text = printable(message)
        self.exit(2, f"{self.prog}: {text if text.endswith('?') else text.rstrip('.') + '.'}\n")


STDOUT = "-"  # what `--json` takes for standard output


def check_outputs(paths, inputs=None):
    """Refuse, before any work, output files that cannot be written, or that the command reads.

    Args:
      paths: dict from option to path or None.
      inputs: dict from the name of an argument to the paths of the files that are read for it, and of the folders of
        which any file may be read; they need not exist.

    Raises:
      OutputError: a file cannot be written; the message says which and why.
      CommandError: a file was named twice, or is one of the inputs.
    """
    given = {
        option: path for option, path in paths.items() if path is not None and (option, path) != ("--json", STDOUT)
    }
    for option, path in given.items():
        files.check_writable(path, option)
    if len({os.path.realpath(path) for path in given.values()}) < len(given):
        options = " and ".join(f"`{option}`" for option in given)
        raise CommandError(f"{options} are both {next(iter(given.values()))!r}; give two files.")
    for option, path in given.items():
        for name, sources in (inputs or {}).items():
            if any(_same(path, source) for source in sources):
                raise CommandError(f"`{option}` is {path!r}, a file that is read as {name}; name another file.")
            if any(_inside(path, source) for source in sources):
                raise CommandError(
                    f"`{option}` is {path!r}, in the folder that is read as {name}; name a file outside of it."
                )


def _same(first, second):
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)


def _inside(path, folder):
    return os.path.isdir(folder) and os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def write_outputs(contents):
    """Write the files, in this order; ``contents``: dict from option to a pair of path and bytes.

    ``--json -`` is standard output.

    Raises:
      OutputError: a file could not be written; those before it are there.
    """
    for option, (path, data) in contents.items():
        if (option, path) == ("--json", STDOUT):
            print_bytes(data)
        else:
            files.write_file(path, data, option)


def failed_result(format_name, error):
    """What a command that judges puts out as JSON where an exception left it without a result: a dict."""
    return {
        "format": format_name,
        "ok": False,
        "status": "failed",
        "exit_code": 2,
        "problems": [str(error) or type(error).__name__],
        "notes": [],
    }


def print_bytes(data):
    """Write text in UTF-8 to standard output, whatever the encoding of the terminal is."""
    sys.stdout.flush()
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(data.decode())


def execute(parser, argv):
    """Parse ``argv`` (None: the command line), call the parsed ``run(args)`` and return the exit code.

    0 all well; 1 a finding; 2 the command could not do its work; 130 interrupted. Every exception becomes one
    sentence on stderr; ``--verbose``, where a command has it, adds the traceback of one that is not a `Tf1bnError`.
    ``args.own_process`` says whether the command came from the command line, and so has the process to itself.
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
        args.own_process = argv is None
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
        if verbose and not isinstance(error, Tf1bnError):
            traceback.print_exc()
        print(f"{prog}: {printable(_sentence(error))}", file=sys.stderr)
        if isinstance(error, OSError):
            _discard_output()
        return 2
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


def _sentence(error):
    """What the user reads about an exception."""
    if isinstance(error, Tf1bnError | ImportError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this input; give a smaller one."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)!r}: {error.strerror or error}."
    if isinstance(error, OSError):
        # What is written to stdout has no name.
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
