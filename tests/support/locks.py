"""The locks in docker/locks, read."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker/locks"


class Pin(NamedTuple):
    """One requirement of a lock: `name`, normalized; the rest of its line, version and condition; a list of hashes."""

    name: str
    version: str
    hashes: list[str]


def normalized(name):
    """The name of a package as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read(name):
    """What a lock names, a list of `Pin`."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    pins = []
    for entry in re.sub(r"^ *#.*\n?", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        package, _, version = requirement.partition("==")
        pins.append(Pin(normalized(package.partition("[")[0]), version.strip(), [text.strip() for text in hashes]))
    return pins
