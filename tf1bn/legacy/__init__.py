"""Old scripts, unedited: `run_script` runs one on today's TensorFlow as TF 1.x would have."""

from .runner import run_script

__all__ = ["run_script"]
