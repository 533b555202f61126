"""What `tf1bn run --explain` says of public repositories, as a table; their code is never committed.

    python tests/support/corpus.py FOLDER

FOLDER has for each repository of tests/legacy/corpus.tsv a git directory, OWNER+NAME or OWNER+NAME/repo; one that is
not there is cloned into it from GitHub if that can be reached. The columns: the entry script, how many sources it may
import, and how many names of TensorFlow are there, lent, in packages that are not installed, and gone; what is in the
way follows. The list has, besides, the folders that a script puts on sys.path, the commit that was looked at, and of
the scripts that were run for real (docs/old-scripts.md has the results) their arguments and what data they got. Those
that say "blind" in the last column were chosen when the package was finished, and nobody had looked at them before.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tf1bn.errors import CommandError
from tf1bn.legacy.explain import explain, names

LIST = Path(__file__).parents[1] / "legacy" / "corpus.tsv"


def repositories():
    """The repositories of the list, each with its entry script and the folders on its PYTHONPATH."""
    with LIST.open(newline="", encoding="utf-8") as stream:
        return [tuple([*row, ""][:3]) for row in csv.reader(stream, delimiter="\t")]


def git_directory(folder, repository):
    """The git directory of a repository, which is cloned if it is not there; None if it cannot be reached."""
    base = Path(folder) / repository.replace("/", "+")
    for path in (base / "repo" / ".git", base / "repo", base / ".git", base):
        if (path / "HEAD").is_file():
            return path
    url = f"https://github.com/{repository}"
    done = subprocess.run(["git", "clone", "-q", "--bare", "--depth", "1", url, str(base)], capture_output=True)
    return base if done.returncode == 0 else None


def write_sources(git, folder, entry):
    """Write the Python sources of the newest commit, and the entry script, into a folder; returns the commit."""
    # Nothing is fetched for what a partial copy leaves out.
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}

    def output(*arguments, check=True):
        command = ["git", f"--git-dir={git}", *arguments]
        return subprocess.run(command, capture_output=True, check=check, env=environment).stdout

    top = Path(folder).resolve()
    for found in output("ls-tree", "-r", "-z", "HEAD").decode().split("\0"):
        kind, _, name = found.partition("\t")
        path = Path(folder, name)
        if (name.endswith(".py") or name == entry) and top in path.resolve().parents:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = output("cat-file", "blob", f"HEAD:{name}", check=False)
            target = path.parent / os.fsdecode(content)
            if kind.startswith("120000") and top in target.resolve().parents:
                path.symlink_to(os.path.relpath(target, path.parent))
            else:
                path.write_bytes(content)
    return output("rev-parse", "--short=7", "HEAD").decode().strip()


def row(folder, repository, entry, python_path):
    """The line of one repository, and the names of it that are in the way."""
    git = git_directory(folder, repository)
    if git is None:
        return f"| {repository} | {entry} | not reached |", []
    with tempfile.TemporaryDirectory() as work:
        commit = write_sources(git, work, entry)
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.join(work, path) for path in python_path.split())
        try:
            report = explain(os.path.join(work, entry))
        except CommandError as error:
            return f"| {repository} {commit} | {entry} | {str(error).replace(work, '')} |", []
    counts = Counter(found["status"] for found in report["names"])
    shown = " | ".join(str(counts[status]) for status in (names.THERE, names.LENT, names.NEEDS, names.GONE_AWAY))
    wrong = [
        (found["status"], found["name"])
        for found in report["names"]
        if found["status"] not in (names.THERE, names.LENT) and not found["optional"]
    ]
    wrong += [("unread", found["module"]) for found in report["unread"] if not found["optional"]]
    return f"| {repository} {commit} | {entry} | {len(report['files'])} | {shown} |", wrong


def main(arguments=None):
    """Print the table, and after it the names that are in the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where the git directories are, or are cloned to")
    folder = parser.parse_args(arguments).folder
    print("| repository | entry | sources | there | lent | needs | gone |\n|---|---|---|---|---|---|---|")
    in_the_way = []
    for repository, entry, python_path in repositories():
        line, wrong = row(folder, repository, entry, python_path)
        print(line)
        in_the_way += [(repository, *found) for found in wrong]
    for found in in_the_way:
        print(*found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
