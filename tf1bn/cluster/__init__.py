"""Layers judged, and moments merged, in many processes: on Dask, which `pip install tf1bn[dask]` installs.

    with cluster.Workers("processes") as workers:
        diagnoses = diagnosis.diagnose("run.trace", spread=workers)

The result is that of one process, bit by bit, whatever the number of workers. They may be processes of this machine or
those of a `dask.distributed` scheduler on many machines; all have to see the same files and to have the same tf1bn.
"""

from __future__ import annotations

from ..errors import ClusterError
from .workers import Workers

__all__ = ["ClusterError", "Workers"]
