"""What happens when a module of this package is run by ``python -m``: all but the commands are refused."""

import sys

# The packages that have a __main__ module.
_COMMANDS = ("tf1bn", "tf1bn.reproduce")
_SUBCOMMANDS = ("reproduce", "run", "audit", "inspect", "parity", "doctor")


def refuse_other_modules():
    """Exit with status 2 and a sentence if ``python -m`` is about to run a module of tf1bn that is not a command.

    To be called while the interpreter imports this package for ``-m``, when ``sys.argv`` is ["-m", ARGUMENT, ...] and
    ``sys.orig_argv`` ends in the module's name and those arguments.
    """
    name = sys.orig_argv[-len(sys.argv)]
    if name.startswith("-"):
        # The name may follow the option directly, as in -mtf1bn or -Imtf1bn.
        name = name.partition("m")[2]
    if not name.startswith("tf1bn.") or name.removesuffix(".__main__") in _COMMANDS:
        return
    subcommand = name.rpartition(".")[2]
    if subcommand in _SUBCOMMANDS:
        hint = f"use `python -m tf1bn {subcommand}`, or the command `tf1bn {subcommand}`"
    else:
        hint = "`python -m tf1bn --help` lists the commands"
    print(f"`python -m {name}` is not a command; {hint}.", file=sys.stderr)
    raise SystemExit(2)
