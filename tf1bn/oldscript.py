"""Another name of `tf1bn.legacy`, kept for one release."""

from .legacy import run_script

__all__ = ["run_script"]
