"""Output files that are whole or not there."""

import contextlib
import os
import stat
import tempfile

from ..errors import OutputError


def check_writable(path, option):
    """Raise OutputError if ``path`` cannot be written, before minutes of work are spent on what goes into it.

    ``option`` is the name under which the user gave the path.
    """
    if not path:
        raise OutputError(f"`{option}` is empty; name a file.")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target) or path.endswith(os.sep):
        raise OutputError(f"`{option}` is {path!r}, which names a folder; name a file in it.")
    if not os.path.isdir(folder):
        raise OutputError(f"`{option}` is {path!r}, but there is no folder {folder!r}; make it, or name another file.")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK):
        raise OutputError(f"`{option}` is {path!r}, and this user may not write there; name another file.")


def write_file(path, data, option):
    """Write bytes whole or not at all: to a file beside the target, which is then renamed.

    Devices and pipes are written to directly. Raises OutputError, whose message names ``option``, the path and why.
    """
    target = os.path.realpath(path)
    try:
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "wb") as file:
                file.write(data)
            return
        handle, beside = tempfile.mkstemp(prefix=os.path.basename(target) + ".", dir=os.path.dirname(target))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode) if os.path.exists(target) else 0o666 & ~umask)
            os.replace(beside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise OutputError(f"`{option}` is {path!r}, which could not be written: {error.strerror or error}.") from error
