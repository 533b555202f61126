"""The file ``checkpoint`` of a folder, which names the latest checkpoint in it. Paths out of the folder are ignored."""

import os
import re

from ....errors import CheckpointError
from ..base import damaged
from .files import LARGEST_INDEX, all_files, exists

STATE_FILE = "checkpoint"
# An absolute path of Windows, or one of its network.
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_LINE = re.compile(rb'^\s*model_checkpoint_path\s*:\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)


def latest(folder):
    """The prefix that the state file of a folder names, inside that folder, and notes about it.

    Raises:
      CheckpointError: there is no state file, it names no checkpoint, or one that is not in the folder.
    """
    named = _named(folder)
    prefix = os.path.join(folder, named)
    elsewhere = not _inside(prefix, folder) or _WINDOWS.match(named)
    if not elsewhere:
        if exists(prefix):
            return prefix, [f"The state file of {folder!r} names {named!r}, which was judged.", *_links(prefix, folder)]
        raise damaged(folder, f"its state file names {named!r}, and there is no such checkpoint in the folder")
    # Folders are moved with absolute paths in their state files.
    name = re.split(r"[/\\]" if _WINDOWS.match(named) else "/", named)[-1]
    if exists(beside := os.path.join(folder, name)):
        note = f"The state file of {folder!r} names {named!r} outside of the folder, which was not followed; "
        return beside, [f"{note}{name or '.index'!r} in the folder was judged.", *_links(beside, folder)]
    raise CheckpointError(
        f"The state file of {folder!r} names {named!r}, which is outside of the folder and not followed; give "
        "that prefix itself."
    )


def _named(folder):
    """The path in a folder's state file, as it is written there."""
    state = os.path.join(folder, STATE_FILE)
    if not os.path.isfile(state):
        prefixes = sorted(name[: -len(".index")] for name in os.listdir(folder) if name.endswith(".index"))
        hint = f"give one of its prefixes: {', '.join(prefixes[:5])}" if prefixes else "give a checkpoint's prefix"
        raise CheckpointError(f"`path` is {folder!r}, a folder without a `{STATE_FILE}` state file; {hint}.")
    if os.path.getsize(state) > LARGEST_INDEX:
        raise CheckpointError(f"The state file {state!r} has more than {LARGEST_INDEX} bytes; it is not read.")
    with open(state, "rb") as file:
        line = _LINE.search(file.read())
    if not line or not line[1]:
        raise damaged(folder, f"its state file `{STATE_FILE}` names no `model_checkpoint_path`")
    return os.fsdecode(_unescaped(line[1]))


def _unescaped(text):
    """The bytes of a quoted string as text protocol buffers write them."""
    simple = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}

    def character(match):
        return bytes([int(match[1], 8) & 255]) if match[1] else simple.get(match[2], match[2])

    return re.sub(rb"\\(?:([0-7]{1,3})|(.))", character, text)


def _inside(path, folder):
    # By name only; `_links` looks at links, once the files are known.
    whole, root = os.path.abspath(path), os.path.abspath(folder)
    return whole.startswith(os.path.join(root, ""))


def _links(prefix, folder):
    """A note on the checkpoint's files that are links to somewhere else, in a list; an empty list if there is none."""
    root = os.path.join(os.path.realpath(folder), "")
    away = [os.path.basename(file) for file in all_files(prefix) if not os.path.realpath(file).startswith(root)]
    return [f"The folder {folder!r} has links to files elsewhere, which were read: {', '.join(away)}."] if away else []
