"""The compiled extension, or an ImportError that says how to build it; there is no other implementation."""

import hashlib
from pathlib import Path

from .. import __version__

_BUILD = "`make reproduce` and `make test` build it, and so does `pip install -e .`, in the source checkout."

try:
    from . import _moments as moments
    from . import _moving as moving
    from . import _replay as replay
except ImportError as error:
    raise ImportError(f"The compiled extension of tf1bn cannot be imported ({error}); {_BUILD}") from error


def _source_hash(folder):
    # The same as in setup.py, over the sources that lie beside the package in a source checkout.
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".pyx", ".pxd", ".h")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


_sources = Path(__file__).resolve().parents[2] / "ext"
_expected_hash = _source_hash(_sources) if (_sources / "_moments.pyx").exists() else None

for _module in (moments, moving, replay):
    if _module.version != __version__:
        raise ImportError(
            f"The compiled extension {_module.__name__} is of version {_module.version} and the package of "
            f"{__version__}; build it again: {_BUILD}"
        )
    if _expected_hash not in (None, _module.source_hash):
        raise ImportError(
            f"The compiled extension {_module.__name__} was built from other sources than those in "
            f"{_sources}; build it again: {_BUILD}"
        )
