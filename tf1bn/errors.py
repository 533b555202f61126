"""Every exception that tf1bn raises on purpose and that a caller may want to catch; all are a `Tf1bnError`.

Arguments of the wrong type or value raise TypeError or ValueError, as the functions of TensorFlow and NumPy do.
"""

__all__ = [
    "CheckpointError",
    "ClusterError",
    "CommandError",
    "DeviceUnavailableError",
    "GraphError",
    "MappingError",
    "NotRecordedError",
    "OutputError",
    "PlotUnavailableError",
    "RecalibrationError",
    "Tf1bnError",
    "TraceError",
]


class Tf1bnError(Exception):
    """The base of all exceptions below; the message is one full sentence for the user."""


class TraceError(Tf1bnError, ValueError):
    """A trace cannot be read or written; the message names the file and says what is wrong."""


class CheckpointError(Tf1bnError, ValueError):
    """A checkpoint cannot be read; the message names the file and says why."""


class ClusterError(Tf1bnError, RuntimeError):
    """Work could not be done in other processes; the message says why, and nothing of it is kept."""


class MappingError(Tf1bnError, ValueError):
    """A map from the layers of one run to those of another does not fit; the message says where."""


class DeviceUnavailableError(Tf1bnError, RuntimeError):
    """The device that was asked for is not there; the message says what was found and what to do."""


class GraphError(Tf1bnError):
    """A layer cannot be built where it is called; the message says how to build it."""


class CommandError(Tf1bnError):
    """A command cannot do what was asked; the message says why."""


class OutputError(Tf1bnError):
    """A file cannot be written; the message says which and why."""


class NotRecordedError(Tf1bnError):
    """There is no room for the temporary file of the numbers that a report plots."""


class PlotUnavailableError(Tf1bnError):
    """A plot cannot be drawn; the message says why."""


class RecalibrationError(Tf1bnError, ValueError):
    """Statistics cannot be computed from the data that were given; the message says which, and why."""
