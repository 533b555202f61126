"""The table of formats in the manual is that of the registry, and says how long each takes on what it is proven."""

import pathlib
import sys

from tf1bn.checkpoints.formats import registry

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.checkpoints import formats  # noqa: E402


def test_the_page_has_the_table_of_the_registry():
    text = formats.PAGE.read_text(encoding="utf-8").partition(formats.BEGIN)[2].partition(formats.END)[0]
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    assert tuple(header) == formats.HEADER
    assert [[row[0], row[1], row[2], row[-1]] for row in lines] == [
        [format.name, format.known_by, format.read_with or "not read", format.remarks] for format in registry.FORMATS
    ]
    for name, _, read_with, proven, seconds, megabytes, _ in lines:
        assert proven
        assert read_with == "not read" or float(seconds) > 0 < float(megabytes), name


def test_each_format_that_is_read_is_proven_on_a_file():
    for format in registry.READ:
        file, producer = formats.PROVEN[format.name]
        assert producer
        assert file.startswith("keras/") or list(
            (formats.GOLDEN / file).parent.glob(f"{(formats.GOLDEN / file).name}*")
        )
