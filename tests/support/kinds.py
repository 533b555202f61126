"""What is said of every kind of fault of the independent simulation, as the table of docs/design/kinds.md.

python tests/support/kinds.py            print it
python tests/support/kinds.py --write    put it into the page
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/design/kinds.md"
HEAD = "| kind | variants | right | said first | verdict |\n|---|---|---|---|---|"


def rows():
    """For each fault: its name, how many variants are tried, how many are named rightly, and what is said of them."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]
    import faults

    from tf1bn.diagnosis.engine import diagnose

    with tempfile.TemporaryDirectory() as folder:
        for i, (name, fault) in enumerate(faults.FAULTS.items()):
            configs = [config for fault_name, config in faults.CASES if fault_name == name]
            right, said = 0, {}
            for config in configs:
                path = Path(folder) / f"{i}-{config}"
                right += faults.problem(path, name, config) is None
                (result,) = [each for each in diagnose(path) if each.name == "bn"]
                causes = ", ".join(f"`{cause.id}`" for cause in result.causes) or "nothing"
                said[causes] = said.get(causes, 0) + 1
            words = "; ".join(text if len(said) == 1 else f"{text} ({count})" for text, count in said.items())
            yield name, len(configs), right, words, fault.verdict


def table():
    """The table as Markdown."""
    lines = [f"| {name} | {count} | {right} | {said} | {verdict} |" for name, count, right, said, verdict in rows()]
    return "\n".join([HEAD, *lines]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/design/kinds.md")
    arguments = parser.parse_args()
    made = table()
    if not arguments.write:
        print(made, end="")
        return
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text[: text.index("| kind |")] + made, encoding="utf-8")


if __name__ == "__main__":
    main()
