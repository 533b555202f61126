"""The Dockerfiles: read, and their installation followed without Docker."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("docker/Dockerfile", "docker/Dockerfile.checker", "docker/Dockerfile.gpu", "docker/tf1/Dockerfile")
PATHS = {name: ROOT / name for name in NAMES}


class Stage(NamedTuple):
    base: str
    name: str | None
    instructions: list[tuple[str, str]]

    def last(self, keyword):
        """The value of the last instruction of this kind."""
        return [value for found, value in self.instructions if found == keyword][-1]


def read(path):
    """The default values of the arguments before the first stage, a dict, and the stages, a list of `Stage`."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    arguments, stages = {}, []
    for line in filter(str.strip, text.splitlines()):
        keyword, value = line.split(None, 1)
        if keyword == "FROM":
            base, _, name = value.partition(" AS ")
            stages.append(Stage(base, name or None, []))
        elif stages:
            stages[-1].instructions.append((keyword, value))
        else:
            arguments.update([value.split("=")])
    return arguments, stages


def bases(path, arguments=None):
    """For each stage the image of a registry that it stands on."""
    given, stages = read(path)
    given |= arguments or {}
    images = {}
    for stage in stages:
        base = re.sub(r"\$\{(\w+)\}", lambda match: given[match[1]], stage.base)
        images[stage.name] = images.get(base, base)
    return images


def sources(value):
    """What a COPY takes, and where it puts it; from another stage, or from the checkout: (stage, names, target)."""
    *names, target = value.split()
    stage = names.pop(0).partition("=")[2] if value.startswith("--from=") else None
    return stage, names, target


def copied(path):
    """The files and folders of the checkout that the image takes."""
    found = set()
    for stage in read(path)[1]:
        for keyword, value in stage.instructions:
            if keyword == "COPY" and sources(value)[0] is None:
                found |= {file for name in sources(value)[1] for file in ROOT.glob(name)}
    return found


class Followed:
    """What a Dockerfile installs, below a folder: /opt is ``root / "opt"``, and Python is that of the environment.

    Users and their folders are not made; everything else is done as it stands there, by /bin/sh.

    Attributes:
      environment: that of the last stage.
      command: its entry point and default arguments, a list.
      folder: its working directory.
    """

    def __init__(self, path, root, environment, arguments=None):
        self.root, self.environment = root, dict(environment)
        given, stages = read(path)
        given |= arguments or {}
        folders = {}
        for stage in stages:
            self._folder, seen = folders.get(stage.base, root), {}
            for keyword, value in stage.instructions:
                if keyword == "ARG":
                    seen[value] = given[value]
                elif keyword == "ENV":
                    for name, text in re.findall(r"(\w+)=(\S+)", value):
                        self.environment[name] = re.sub(
                            r"\$(\w+)", lambda match: self.environment[match[1]], self._placed(text)
                        )
                elif keyword == "WORKDIR":
                    self._folder = Path(self._placed(value))
                    self._folder.mkdir(parents=True, exist_ok=True)
                elif keyword == "COPY":
                    self._copy(*sources(value))
                elif keyword == "RUN":
                    self._run(value, seen)
            folders[stage.name] = self._folder
        self.command = json.loads(stages[-1].last("ENTRYPOINT")) + json.loads(stages[-1].last("CMD"))
        self.folder = self._folder

    def _placed(self, text):
        return re.sub(r"(?<![\w.])/(opt|src|work|tmp)\b", lambda match: f"{self.root}{match[0]}", text)

    def _copy(self, stage, names, target):
        folder = Path(self._placed(target)) if target.startswith("/") else self._folder / target
        files = [Path(self._placed(name)) for name in names] if stage else [p for n in names for p in ROOT.glob(n)]
        for file in files:
            if file.is_dir():
                # A folder's content is copied; what is there already stays.
                ignored = shutil.ignore_patterns("*.so", "__pycache__") if stage is None else None
                if file != folder:
                    shutil.copytree(file, folder, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, folder)

    def _run(self, command, arguments):
        steps = [step for step in command.split(" && ") if not step.startswith(("useradd ", "install "))]
        if not steps:
            return
        done = subprocess.run(
            ["/bin/sh", "-c", self._placed(" && ".join(steps))],
            cwd=self._folder,
            env={**self.environment, **arguments},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
