"""The packages that only reports need: rich, jinja2 and matplotlib, which the extra `tf1bn[report]` installs."""

import contextlib
import importlib
import logging


def import_for(purpose, module):
    """Import ``module`` and return it.

    Args:
      purpose: what needs it, as the subject of a sentence: "The HTML report".
      module: the full name of a module, such as "matplotlib.figure".

    Raises:
      ImportError: the package is missing; the message says what needs it and how to install it.
    """
    try:
        with _quiet(module.partition(".")[0]):
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{purpose} needs the package `{package}`; install it with `pip install {package}`, or `tf1bn[report]`."
        ) from error


@contextlib.contextmanager
def _quiet(package):
    """Keep what a package logs at import from the terminal, as matplotlib's advice where HOME cannot be written."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
