"""TensorFlow's own checkpoints in both forms, V1 and V2, named by their prefix, one of their files or a folder."""

from ..base import Format
from .files import matches
from .reader import open_prefix

TF1 = Format("a TensorFlow checkpoint", matches, open_prefix)
