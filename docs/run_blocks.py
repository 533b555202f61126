"""Runs the code blocks of README.md and docs/*.md, and compares what they print with what the pages show.

    python docs/run_blocks.py                    every page
    python docs/run_blocks.py docs/audit.md      one page, or several
    python docs/run_blocks.py --write [PAGE...]  put what is printed now in the place of what is shown
    python docs/run_blocks.py --with torch ...   also the blocks that need a package which is not always there

What is a block, and what happens to it:

- ``python``: the blocks of a page run in order, in one process. A ``text`` block right behind one is what it prints.
- ``console``: each line that starts with "$ " runs in bash; the lines below it are its output (stdout and stderr).
- ``sh``: commands for the reader that are not run, and that must say why.

An HTML comment on the line before a block changes this: ``<!-- not run: REASON -->``, ``<!-- needs: PACKAGE -->`` (run
only with ``--with PACKAGE``), ``<!-- exits 1 -->`` (the last command of the block ends with that status).
In an output a line "..." stands for any number of lines, and "..." in a line for any text in that line. Of numbers with
a decimal point or an exponent three digits count, and of those below 1e-4, such as 3.4e-07, that they are: they are
rounding errors, which differ between processors, as does the share in "largest error 41 %". The number of spaces
between words, and blank lines at both ends, do not count.

Each page runs in a temporary folder that looks like the top of the repository: it has a copy of docs, a link to tests,
and ``.venv/bin`` with ``tf1bn`` and ``python``, which are also on the PATH.
"""

import argparse
import contextlib
import dataclasses
import difflib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
RUN = ("python", "console")
NOT_RUN = ("sh", "diff", "json", "text")
_FENCE = re.compile(r"^```(\S*)[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--\s*(not run|needs|exits):?\s+(.*?)\s*-->\s*\Z", re.DOTALL)
# With a decimal point or an exponent, and no part of a word, a version or something longer that "..." cuts off.
_SHARE = re.compile(r"(?<=largest error )\d+(?= %)")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)(?!\w|\.[\d.])")
_WIDTH = "100"


@dataclasses.dataclass
class Block:
    """A fenced block of a page.

    Attributes:
      language: the word behind the opening fence; code: the lines between the fences.
      line: the number of its first line of code, from 1; span: where the code lies in the page's text.
      not_run: why it is not run, or None; needs: the package that it needs, or None.
      status: the exit status that its last command must have.
      output: for ``python``, the `Block` of ``text`` behind it, which shows what it prints; or None.
    """

    language: str
    code: str
    line: int
    span: tuple
    not_run: str | None = None
    needs: str | None = None
    status: int = 0
    output: "Block | None" = None


def pages():
    """The pages whose blocks are run: README.md, SECURITY.md and everything in docs that is Markdown."""
    found = sorted(path for path in (ROOT / "docs").rglob("*.md") if "/_" not in path.relative_to(ROOT).as_posix())
    return [ROOT / "README.md", ROOT / "SECURITY.md", *found]


def blocks(text):
    """The `Block`s of a page, in order; outputs of ``python`` blocks are not listed by themselves."""
    found, end = [], 0
    for match in _FENCE.finditer(text):
        between, line = text[end : match.start()], text.count("\n", 0, match.start(2)) + 1
        block = Block(match[1], match[2], line, match.span(2))
        if comment := _COMMENT.search(between):
            if comment[1] == "not run":
                block.not_run = comment[2]
            elif comment[1] == "needs":
                block.needs = comment[2]
            else:
                block.status = int(comment[2])
        previous = found[-1] if found else None
        if block.language == "text" and not between.strip() and previous and previous.language == "python":
            previous.output = block
        else:
            found.append(block)
        end = match.end()
    return found


def commands(code):
    """The commands of a ``console`` block, in order: the lines of each ("$ ...", "> ..."), and those shown below it."""
    found = []
    for line in code.splitlines():
        if line.startswith("$ "):
            found.append(([line], []))
        elif found and line.startswith("> ") and found[-1][0][-1].endswith("\\"):
            found[-1][0].append(line)
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"a console block starts with {line!r}; its first line must start with '$ '.")
    return found


def trimmed(text):
    """The lines of an output without trailing spaces, and without blank lines at both ends."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n").splitlines()


def matches(shown, printed):
    """Whether the lines ``printed`` are those ``shown``, in which "..." stands for anything; see above."""
    parts = [r"(?:[^\n]*\n)*?" if line.strip() == "..." else _pattern(line) + r"\n" for line in shown]
    return re.fullmatch("".join(parts), "".join(f"{_canonical(line)}\n" for line in printed)) is not None


def _pattern(line):
    return r"[^\n]*?".join(map(re.escape, _canonical(line).split("...")))


def _canonical(line):
    """The line with what does not count made the same everywhere."""
    return " ".join(_SHARE.sub("N", _NUMBER.sub(_rounded, line)).split())


def _rounded(match):
    number = float(match[0])
    return "tiny" if "e" in match[0] and abs(number) < 1e-4 else f"{number:.3g}"


def refreshed(shown, printed):
    """The lines to show in place of ``shown``, as short as those were where they leave something out by "..."."""
    if matches(shown, printed):
        return shown
    if all(line.strip() != "..." for line in shown):
        return [_kept_short(line, shown) for line in printed]
    kept, at = [], 0
    for i, line in enumerate(shown):
        if line.strip() == "...":
            kept.append(line)
            rest = shown[i + 1 :]
            if rest:  # go on where the next shown line is met again
                near = difflib.get_close_matches(rest[0], printed[at:], n=1, cutoff=0.3)
                at = printed.index(near[0], at) if near else max(at, len(printed) - len(rest))
        elif at < len(printed):
            kept.append(_kept_short(printed[at], [line]))
            at += 1
    return kept


def _kept_short(line, shown):
    """A shown line with "..." in it that stands for ``line``, if there is one; else ``line``."""
    return next((old for old in shown if "..." in old and re.fullmatch(_pattern(old), _canonical(line))), line)


class Page:
    """Runs the blocks of one page in this process; see the top of this file.

    Args:
      path: the page.
      packages: the packages whose blocks are run as well.
      write: whether an output that differs is no failure, because the page will be rewritten.
    """

    def __init__(self, path, packages=(), write=False):
        self.path, self.packages, self.write = Path(path).resolve(), packages, write
        self.text = self.path.read_text(encoding="utf-8")
        self.failures = []
        self._names = {"__name__": "__main__"}
        self._changes = []

    def run(self):
        """Run it all; returns the text of the page with what was printed now."""
        for block in blocks(self.text):
            if block.language not in RUN or block.not_run or (block.needs and block.needs not in self.packages):
                continue
            if not (self._python if block.language == "python" else self._console)(block):
                break  # what comes after builds on it
        text = self.text
        for (start, end), new in sorted(self._changes, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _python(self, block):
        printed = io.StringIO()
        where = f"{self._where(block)}, python"
        # Blank lines before the code make the line numbers of a traceback those of the page.
        code = "\n" * (block.line - 1) + block.code
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(code, str(self.path), "exec"), self._names)
        except (Exception, SystemExit):
            self.failures.append(f"{where} failed:\n{traceback.format_exc()}")
            return False
        lines = trimmed(printed.getvalue())
        if block.output is not None:
            self._compare(trimmed(block.output.code), lines, where)
            self._changes.append((block.output.span, _joined(refreshed(trimmed(block.output.code), lines))))
        return True

    def _console(self, block):
        shown_now = []
        listed = commands(block.code)
        for i, (typed, shown) in enumerate(listed):
            command = "\n".join(line[2:] for line in typed)
            done = subprocess.run(
                ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            where = f"{self._where(block)}, {typed[0]}"
            lines = trimmed(done.stdout)
            expected = block.status if i == len(listed) - 1 else 0
            if done.returncode != expected:
                self.failures.append(
                    f"{where}: the exit status is {done.returncode} and not {expected}; it printed\n{_joined(lines)}"
                )
                return False
            self._compare(trimmed(_joined(shown)), lines, where)
            shown_now += [*typed, *refreshed(trimmed(_joined(shown)), lines)]
        if block.code.splitlines() != shown_now:
            self._changes.append((block.span, _joined(shown_now)))
        return True

    def _where(self, block):
        return f"{os.path.relpath(self.path, ROOT)}:{block.line}"

    def _compare(self, shown, printed, where):
        if not self.write and not matches(shown, printed):
            difference = "\n".join(difflib.unified_diff(shown, printed, "shown", "printed", lineterm=""))
            self.failures.append(f"{where} does not print what is shown:\n{difference}")


def _joined(lines):
    return "".join(f"{line}\n" for line in lines)


def prepare(folder):
    """Make ``folder`` look like the top of the repository; returns the environment of a page that runs in it."""
    folder = Path(folder)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build", "__pycache__"))
    (folder / "tests").symlink_to(ROOT / "tests")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, arguments in (("tf1bn", " -m tf1bn"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "COLUMNS": _WIDTH,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(path, packages=(), write=False):
    """Run a page in a process and a folder of its own; returns what it says about failures, "" if there are none."""
    options = [part for package in packages for part in ("--with", package)] + (["--write"] if write else [])
    with tempfile.TemporaryDirectory() as folder:
        environment = prepare(folder)
        done = subprocess.run(
            [sys.executable, os.path.abspath(__file__), "--here", *options, os.path.abspath(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def causes_table():
    """The table of docs/causes.md, from `tf1bn.verdicts.CAUSES`."""
    from tf1bn.verdicts import ADVISORY, CAUSES

    lines = ["| id | what happened | named in |", "|---|---|---|"]
    for name, kind in CAUSES.items():
        advisory = " (advisory)" if kind.severity == ADVISORY else ""
        where = ", ".join(place for place in ("trace", "checkpoint", "graph") if place in kind.where)
        parity = [place.partition(" ")[0] for place in ("trace parity", "checkpoint parity") if place in kind.where]
        where += f"{', ' if where and parity else ''}parity of {'s and '.join(parity)}s" if parity else ""
        lines.append(f"| [`{name}`](#{name}) | {kind.title.replace('|', chr(92) + '|')}{advisory} | {where} |")
    return "\n".join(lines)


def write_tables():
    """Put the tables that the code holds into docs/releases.md and docs/causes.md."""
    from tf1bn import releases

    for name, first, table in (("releases", "TensorFlow", releases.markdown()), ("causes", "id", causes_table())):
        page = ROOT / "docs" / f"{name}.md"
        text = page.read_text(encoding="utf-8")
        table = table.rstrip() + "\n"
        new = re.sub(rf"^\| {first} \|.*?(?=^(?!\|))", lambda _, table=table: table, text, flags=re.M | re.S)
        if new != text:
            page.write_text(new, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Run the code blocks of README.md and docs.")
    parser.add_argument("page", nargs="*", help="pages; without any, all of them")
    parser.add_argument("--write", action="store_true", help="show in the pages what is printed now")
    parser.add_argument("--with", action="append", default=[], dest="packages", help="a package that some blocks need")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        (path,) = options.page
        page = Page(path, options.packages, options.write)
        text = page.run()
        if options.write and text != page.text:
            page.path.write_text(text, encoding="utf-8")
        print("\n\n".join(page.failures))
        return 1 if page.failures else 0
    missing = [package for package in options.packages if importlib.util.find_spec(package) is None]
    if missing:
        parser.error(f"{', '.join(missing)} is not installed.")
    if options.write:
        write_tables()
    failed = 0
    for path in [Path(page) for page in options.page] or pages():
        if any(block.language in RUN for block in blocks(path.read_text(encoding="utf-8"))):
            said = run(path, options.packages, options.write)
            failed += bool(said)
            name = os.path.relpath(path, ROOT)
            print(f"{name}: {'failed' if said else 'ok'}\n{said}".rstrip(), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
