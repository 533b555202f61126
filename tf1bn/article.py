"""Another name of `tf1bn.reproduce.article`, kept for one release."""

from .reproduce.article import *  # noqa: F403
