"""Puts the parts of tf1bn that docker/tf1/record_tf1.py holds into it, word for word.

python docker/tf1/build_record_tf1.py             says whether they are the same; exit code 1 if not
python docker/tf1/build_record_tf1.py --write     makes them the same
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(__file__).resolve().with_name("record_tf1.py")
MARK = "# ---- what record_tf1.py holds ----\n"
PARTS = ("graphdef/view", "graphdef/patterns", "graphdef/model", "graphdef/scan", "recorders/run_plan")
END = "# ---- end of the parts of tf1bn ----\n"


def bundled(text):
    """The text of record_tf1.py with the parts as they are now."""
    parts = ""
    for name in PARTS:
        source = (ROOT / "tf1bn" / f"{name}.py").read_text(encoding="utf-8")
        parts += f"# ---- from tf1bn/{name}.py ----\n{source.partition(MARK)[2].rstrip()}\n\n\n"
    start, end = text.index(f"# ---- from tf1bn/{PARTS[0]}.py ----\n"), text.index(END)
    return text[:start] + parts + text[end:]


def main():
    text = TARGET.read_text(encoding="utf-8")
    if bundled(text) == text:
        print(f"{TARGET} holds the parts as they are")
        return 0
    if "--write" not in sys.argv[1:]:
        print(f"{TARGET} holds OTHER PARTS (--write makes them the same)")
        return 1
    TARGET.write_text(bundled(text), encoding="utf-8")
    print(f"{TARGET} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
