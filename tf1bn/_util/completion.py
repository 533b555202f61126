"""Completion of a command in a shell, with shtab, which writes a shell's script from an argparse parser."""

from ..errors import CommandError

SHELLS = ("bash", "zsh", "tcsh")
FILES = {"PATH", "FILE", "OLD", "NEW", "SCRIPT", "DIR"}  # metavars of arguments that are files or folders


def script(parser, shell):
    """The script that lets ``shell`` complete the commands and options of an argparse parser, and the files for them.

    Raises:
      CommandError: shtab is missing; the message says how to install it.
    """
    try:
        import shtab
    except ImportError as error:
        raise CommandError(
            f"Completion in {shell} needs the package `shtab`; install it with `pip install shtab`, or "
            "`tf1bn[completion]`."
        ) from error
    for one in _parsers(parser):
        for action in one._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE
    return shtab.complete(parser, shell)


def _parsers(parser):
    """The parser and those of its commands."""
    yield parser
    for action in parser._actions:
        for one in dict.fromkeys(getattr(action, "choices", None) or ()) if hasattr(action, "add_parser") else ():
            yield from _parsers(action.choices[one])
