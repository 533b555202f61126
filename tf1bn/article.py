"""Another name of `tf1bn.reproduce.article`, kept for one release."""

from .reproduce.article import (
    CONCLUSIONS,
    EPSILON,
    EXPERIMENTS,
    INITIAL_MEAN,
    INITIAL_VARIANCE,
    SHAPE,
    SLIP,
    Experiment,
)

__all__ = [
    "CONCLUSIONS",
    "EPSILON",
    "EXPERIMENTS",
    "INITIAL_MEAN",
    "INITIAL_VARIANCE",
    "SHAPE",
    "SLIP",
    "Experiment",
]
