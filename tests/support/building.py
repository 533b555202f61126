"""Environment variables for processes that build and install the package and its requirements, to be thrown away."""

import os
import sysconfig


def environment(folder):
    """Variables that make a build and an installation quick, by name; a compiler is put into ``folder``.

    The compiler leaves out what optimizing does: the checkout's own extension, which all other tests run, was built
    with it. Of what is installed, pip compiles no module before one is imported.
    """
    compiler = folder / "cc"
    command = os.environ.get("CC") or sysconfig.get_config_var("CC")
    # The last -O is the one in force.
    compiler.write_text(f'#!/bin/sh\nexec {command} "$@" -O0\n', encoding="utf-8")
    compiler.chmod(0o755)
    return {"CC": str(compiler), "PIP_NO_COMPILE": "1"}
