"""Traces that end the process that reads them, once or always. Worker processes import this module."""

import os
import signal

from tf1bn.trace import Trace

# The process that reads without harm: the one in which a test makes the trace.


class Mortal:
    """A trace in whose second step the reading process is killed, as the system does for want of memory.

    Args:
      path: the folder of a trace.
      times: how many processes are killed.
      folder: where there is a file for each that was.
    """

    def __init__(self, path, folder, times=1):
        self._path, self._folder, self._times, self._spared = path, str(folder), times, os.getpid()
        self.layers = dict(Trace(path).layers)

    def __iter__(self):
        for i, step in enumerate(Trace(self._path)):
            if i == 1 and os.getpid() != self._spared and self._takes():
                os.kill(os.getpid(), signal.SIGKILL)
            yield step

    def _takes(self):
        for i in range(self._times):
            try:
                os.close(os.open(os.path.join(self._folder, f"killed-{i}"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False
