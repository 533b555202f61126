"""Output files that are whole or not there; pipes, devices and open descriptors such as /dev/stdout are written to."""

import contextlib
import fcntl
import os
import re
import stat
import sys
import tempfile

from ..errors import OutputError

# Where systems list the descriptors of this process, by number.
_DESCRIPTORS = re.compile(r"(?:/dev|/proc/(?:self|[0-9]+|thread-self))/fd/([0-9]{1,9})")


def check_writable(path, option):
    """Raise OutputError if ``path`` cannot be written, before minutes of work are spent on what goes into it.

    ``option`` is the name under which the user gave the path.
    """
    if not path:
        raise OutputError(f"`{option}` is empty; name a file.")
    descriptor = _descriptor(path)
    if descriptor is not None:
        try:
            writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        except OSError:
            writable = False
        if not writable:
            raise OutputError(f"`{option}` is {path!r}, which is not open for writing; name a file.")
        return
    target = _target(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target) or path.endswith(os.sep):
        raise OutputError(f"`{option}` is {path!r}, which names a folder; name a file in it.")
    if not os.path.isdir(folder):
        raise OutputError(f"`{option}` is {path!r}, but there is no folder {folder!r}; make it, or name another file.")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK):
        raise OutputError(f"`{option}` is {path!r}, and this user may not write there; name another file.")


def write_file(path, data, option):
    """Write bytes whole or not at all: to a file beside the target, which is then renamed.

    Devices, pipes and descriptors of this process are written to directly. Raises OutputError, whose message names
    ``option``, the path and why.
    """
    try:
        descriptor = _descriptor(path)
        if descriptor is not None:
            # What was printed before comes first.
            sys.stdout.flush()
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            return
        target = _target(path)
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "wb") as file:
                file.write(data)
            return
        _replace(target, data)
    except OSError as error:
        raise OutputError(f"`{option}` is {path!r}, which could not be written: {error.strerror or error}.") from error


def _replace(target, data):
    # The name of the file beside is short, because the target's may be as long as names can be.
    handle, beside = tempfile.mkstemp(prefix="tf1bn-", suffix=".part", dir=os.path.dirname(target))
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


def _target(path):
    """The file that symbolic links at ``path`` lead to."""
    target = os.path.realpath(path)
    # A descriptor of another process has no name of its own.
    return path if os.path.exists(path) and not os.path.exists(target) else target


def _descriptor(path):
    """The number of the open descriptor that a path such as /dev/stdout or /dev/fd/63 means; None for other paths.

    Such a path is a link to a file's name, or to "pipe:[12]", which is no name. To replace the file by its name would
    leave the descriptor with the old one, and to open it anew would write over what was written before.
    """
    for _ in range(40):  # as many links as systems follow
        path = os.path.abspath(path)
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        path = os.path.join(folder, name)
        match = _DESCRIPTORS.fullmatch(path)
        if match:
            own = not folder.startswith("/proc/") or folder in (f"/proc/{os.getpid()}/fd", "/proc/self/fd")
            return int(match[1]) if own else None
        try:
            path = os.path.join(folder, os.readlink(path))
        except OSError:
            return None
    return None


def why_unreachable(path):
    """Why nothing can be known of what is at ``path``, in the system's words; None if it can, or there is nothing."""
    try:
        os.stat(path)
    except PermissionError as error:
        return error.strerror
    except (OSError, ValueError):
        pass
    return None
