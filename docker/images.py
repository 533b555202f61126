"""Builds the images and uses them: ``make images``, or ``python3 docker/images.py --help``.

Works with docker or podman where one of them answers. Else with buildah as root, which needs no daemon: it stores below
/var/tmp/tf1bn-images, and images that docker/bases.sh makes stand for the official ones of Python, which come from a
registry. Says for each image its size above its base, how long it took to build, and what was run in it. Exit code 1 if
anything there is wrong, 2 if nothing could be built. Needs nothing but Python 3.10 or newer.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
STORE = "/var/tmp/tf1bn-images"
# Who runs the images: neither root nor the user that they have themselves.
USER = f"{os.getuid()}:{os.getgid()}" if os.getuid() else "12345:12345"
# The index and the certificates of this machine's pip, for the time of the build.
SETTINGS = ("/etc/pip.conf", "/etc/ssl/certs")
CONTEXT = ("docker", "ext", "tf1bn", "LICENSE", "README.md", "pyproject.toml", "setup.py")
MB = 10**6
LAYER_LIMIT = 20 * MB

# Makes the article's first listing record itself, as record_tf1.py says that a script is to be changed.
RECORD = """
text = open("/opt/tf1/listing1.py", "rb").read()
for old, new in (
    (b"import numpy as np", b"import numpy as np\\nimport record_tf1"),
    (b"as sess:", b'as sess, record_tf1.Recorder(sess, "old.trace") as rec:'),
    (b"sess.run(", b"rec.run("),
):
    assert old in text, old
    text = text.replace(old, new)
open("old.py", "wb").write(text)
"""
# The size of what the last layer has: tf1bn and its command.
LAYER = """
import importlib.metadata as m
print(sum(file.locate().stat().st_size for file in m.files("tf1bn")))
"""


class Check(NamedTuple):
    """A command that is run in an image.

    Attributes:
      arguments: what stands after the image's name.
      text: is somewhere in what it prints.
      code: its exit code.
      image: the name of the image; None is the one that is being checked.
    """

    arguments: tuple[str, ...]
    text: str
    code: int = 0
    image: str | None = None


class Image(NamedTuple):
    """An image, and what is expected of it.

    Attributes:
      name: its tag.
      file: its Dockerfile.
      base: the image that its last stage stands on.
      others: the other images of a registry that it is built from.
      checks: what is run in it, with an empty `Check.arguments` for the image's own command.
      limit: the largest size above its base, in bytes; None where none is promised.
      argument: the --build-arg, or None.
    """

    name: str
    file: str
    base: str
    checks: tuple[Check, ...]
    others: tuple[str, ...] = ("python:3.12.13-bookworm",)
    limit: int | None = None
    argument: str | None = None


JUDGING = (
    Check(("doctor",), "tf1bn"),
    Check(("audit", "original.trace"), "2 ok."),
    Check(("audit", "port.trace", "--json", "port.json"), "bessel", 1),
    Check(("parity", "original.trace", "port.trace"), "bessel", 1),
)
RECORDING = (
    Check((), "moving_mean"),
    Check(("-m", "listing2"), "moving_mean"),
    Check(("-c", RECORD), ""),
    Check(("old.py",), "moving_mean"),
    Check(("audit", "old.trace"), "1 ok.", image="tf1bn-checker"),
)
SLIM = "python:3.12.13-slim-bookworm"
# The checker is the first: it audits what the others record.
IMAGES = (
    Image(
        "tf1bn-checker",
        "docker/Dockerfile.checker",
        SLIM,
        (Check((), "usage: tf1bn"), *JUDGING, Check(("reproduce",), "TensorFlow could not be imported", 2)),
        limit=150 * MB,
    ),
    Image(
        "tf1bn",
        "docker/Dockerfile",
        SLIM,
        (
            Check((), "Reproduced: "),
            *JUDGING,
            Check(("run", "--record", "old.trace", "train_py2.py"), "prediction"),
            Check(("audit", "old.trace"), "1 ok.", image="tf1bn-checker"),
        ),
        limit=1600 * MB,
    ),
    *(
        Image(f"tf1bn-tf1:{release}", "docker/tf1/Dockerfile", base, RECORDING, (), argument=f"RELEASE={release}")
        for release, base in (("1.15", "python:3.7.17-slim-bookworm"), ("1.4", "python:2.7.18-slim-buster"))
    ),
    Image("tf1bn-gpu", "docker/Dockerfile.gpu", SLIM, (Check((), "looked for a GPU that TensorFlow", 2), *JUDGING)),
)


def megabytes(size):
    return f"{size / MB:.1f} MB"


def call(*command, **options):
    """What a command prints; its output goes to stderr where it fails, and RuntimeError is raised."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise RuntimeError(f"{' '.join(command[:4])} ... ended with exit code {done.returncode}")
    return done.stdout


class Docker:
    """Docker, or podman, which has the same commands."""

    def __init__(self, command):
        self.command = command

    def prepare(self, image):
        """Get the images that it is built from."""
        for name in (image.base, *image.others):
            call(self.command, "pull", "--quiet", name)

    def build(self, image, context):
        argument = ["--build-arg", image.argument] if image.argument else []
        call(self.command, "build", "-q", "-f", f"{context}/{image.file}", "-t", image.name, *argument, str(context))

    def run(self, name, arguments, folder, entry=None):
        """Run the image as `USER`, with a read-only root; /work is the folder."""
        options = ["--rm", "--read-only", "--tmpfs", "/tmp", "--user", USER, "--volume", f"{folder}:/work"]
        options += ["--entrypoint", entry] if entry else []
        return subprocess.run([self.command, "run", *options, name, *arguments], capture_output=True, text=True)

    def size(self, name):
        return int(call(self.command, "image", "inspect", "--format", "{{.Size}}", name))

    def layers(self, name):
        return call(self.command, "image", "inspect", "--format", '{{join .RootFS.Layers " "}}', name).split()

    def remove(self, name):
        call(self.command, "rmi", name)

    def clean(self):
        """Remove what is kept for the next build, where that is ours."""


class Buildah:
    """Buildah, in a store of its own."""

    command = "buildah"
    store = ("buildah", "--root", STORE)

    def prepare(self, image):
        environment = {**os.environ, "BUILDAH": " ".join(self.store)}
        done = subprocess.run([ROOT / "docker/bases.sh", image.base, *image.others], env=environment)
        if done.returncode:
            raise RuntimeError(f"{image.name} was not built, as it has no base")

    def build(self, image, context):
        options = [f"--volume={path}:{path}:ro" for path in SETTINGS if os.path.exists(path)]
        options += [f"--build-arg={image.argument}"] if image.argument else []
        options += [f"--ignorefile={context}/{image.file}.dockerignore"]
        kind = ("bud", "--isolation", "chroot", "--pull-never", "--layers", "--quiet")
        call(*self.store, *kind, "-f", f"{context}/{image.file}", "-t", image.name, *options, str(context))

    def run(self, name, arguments, folder, entry=None):
        """Run the image as `USER`, with a read-only root; /work is the folder."""
        config = self._config(name)
        # Buildah has no option for a read-only root: what it is given here makes it so, and then becomes the user.
        uid, gid = USER.split(":")
        become = f"setpriv --reuid {uid} --regid {gid} --clear-groups --inh-caps=-all"
        script = f'mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && exec {become} "$@"'
        options = ("--isolation", "chroot", "--cap-add", "CAP_SYS_ADMIN", "--user", "0", "-v", f"{folder}:/work")
        command = ("sh", "-c", script, "sh", *([entry] if entry else config["Entrypoint"]))
        container = self._container(name)
        try:
            return subprocess.run(
                [*self.store, "run", *options, container, "--", *command, *(arguments or config["Cmd"])],
                capture_output=True,
                text=True,
            )
        finally:
            call(*self.store, "rm", container)

    def size(self, name):
        container = self._container(name)
        try:
            return int(call("du", "-sxb", call(*self.store, "mount", container).strip()).split()[0])
        finally:
            call(*self.store, "rm", container)

    def layers(self, name):
        return self._inspected(name)["rootfs"]["diff_ids"]

    def remove(self, name):
        call(*self.store, "rmi", "--force", name)

    def clean(self):
        call(*self.store, "rmi", "--prune", "--force")

    def _container(self, name):
        return call(*self.store, "from", "--pull-never", name).strip()

    def _config(self, name):
        return self._inspected(name)["config"]

    def _inspected(self, name):
        return json.loads(call(*self.store, "inspect", "--type", "image", name))["OCIv1"]


def find_engine():
    """Docker or podman, if it answers; else buildah. LookupError where there is none."""
    for command in ("docker", "podman"):
        if shutil.which(command) and not subprocess.run([command, "info"], capture_output=True).returncode:
            return Docker(command)
    if shutil.which("buildah") and not os.getuid():
        return Buildah()
    raise LookupError(
        "no docker or podman answers here, and buildah, which needs none of them, is missing or this is not root; "
        "on Debian: apt install buildah debootstrap, and then as root."
    )


def changed_copy(folder):
    """A copy of what the images are made of, with a line more in one module."""
    for name in CONTEXT:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy2(source, target)
    with open(folder / "tf1bn/errors.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    return folder


def rebuilt_layer(engine, image, folder):
    """What a change of code makes anew: the number of layers, and the size in bytes of tf1bn's."""
    changed = image._replace(name=f"{image.name}-changed")
    engine.build(changed, changed_copy(folder))
    before, after = engine.layers(image.name), engine.layers(changed.name)
    engine.remove(changed.name)
    same = [old == new for old, new in zip(before, after, strict=True)]
    size = int(engine.run(image.name, ("-c", LAYER), folder, entry="python").stdout)
    return len(same) - [*same, False].index(False), size


def use(engine, image, folder):
    """Run the checks of an image on copies of the samples.

    Returns a list of dicts with what was run and its "problem", None where all is well.
    """
    for sample in ("original.trace", "port.trace"):
        shutil.copytree(ROOT / "docs/samples" / sample, folder / sample)
    shutil.copy2(ROOT / "docs/samples/train_py2.py", folder)
    if not os.getuid():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *map(int, USER.split(":")))
    rows = []
    for check in image.checks:
        name, start = check.image or image.name, time.monotonic()
        done = engine.run(name, check.arguments, folder)
        seconds = time.monotonic() - start
        problem = None
        if done.returncode != check.code:
            problem = f"exit code {done.returncode}, not {check.code}"
        elif check.text not in done.stdout + done.stderr:
            problem = f"{check.text!r} is not in what it printed"
        if problem:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        shown = " ".join("..." if "\n" in word else word for word in check.arguments)
        rows.append(
            {"image": name, "arguments": shown, "code": done.returncode, "seconds": seconds, "problem": problem}
        )
    return rows


def measure(engine, image, remove):
    """Build an image and use it: a dict with its name, sizes in bytes, seconds, and what was run in it."""
    print(f"images: {image.name}: getting {', '.join((image.base, *image.others))}", file=sys.stderr)
    engine.prepare(image)
    print(f"images: {image.name}: building", file=sys.stderr)
    start = time.monotonic()
    engine.build(image, ROOT)
    seconds = time.monotonic() - start
    size = engine.size(image.name) - engine.size(image.base)
    row = {"name": image.name, "base": image.base, "bytes_above_base": size, "build_seconds": seconds, "problems": []}
    if image.limit and size > image.limit:
        row["problems"].append(f"{megabytes(size)} above its base; at most {megabytes(image.limit)} are promised")
    print(f"images: {image.name}: using it", file=sys.stderr)
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as copy:
        row["runs"] = use(engine, image, Path(work))
        if image.limit:
            count, row["code_layer_bytes"] = rebuilt_layer(engine, image, Path(copy))
            if count != 1 or row["code_layer_bytes"] > LAYER_LIMIT:
                layer = f"{count} layers with {megabytes(row['code_layer_bytes'])} of tf1bn"
                row["problems"].append(
                    f"a change of code makes {layer} anew; promised is 1 of {megabytes(LAYER_LIMIT)}"
                )
    row["problems"] += [
        f"{run['arguments'] or 'its own command'}: {run['problem']}" for run in row["runs"] if run["problem"]
    ]
    if remove and image is not IMAGES[0]:
        engine.remove(image.name)
        engine.clean()
    return row


def show(row):
    """Print what `measure` found."""
    size = f"{megabytes(row['bytes_above_base'])} above {row['base']}"
    print(f"{row['name']}: built in {row['build_seconds']:.0f} s; {size}")
    if "code_layer_bytes" in row:
        print(f"    {megabytes(row['code_layer_bytes'])} in the layer that a change of code replaces")
    for run in row["runs"]:
        image = "" if run["image"] == row["name"] else f"   (in {run['image']})"
        print(f"    {run['seconds']:5.1f} s   exit code {run['code']}   {run['arguments'] or 'its own command'}{image}")
    for problem in row["problems"]:
        print(f"    WRONG: {problem}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Builds the images and uses them.")
    names = [image.name for image in IMAGES]
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"default: all, {', '.join(names)}")
    parser.add_argument("--json", metavar="FILE", help="write the sizes and times to this file as well")
    parser.add_argument("--remove", action="store_true", help="remove each image when it has been used")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.name) - set(names))
    if unknown:
        parser.error(f"there is no image {unknown[0]!r}; there are {', '.join(names)}")
    try:
        engine = find_engine()
    except LookupError as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    rows = []
    try:
        for image in IMAGES:
            # The checker is always built, as the others' recordings are audited by it.
            if not options.name or image.name in options.name or image is IMAGES[0]:
                rows.append(measure(engine, image, options.remove))
                show(rows[-1])
        if options.remove:
            engine.remove(IMAGES[0].name)
            engine.clean()
    except (RuntimeError, OSError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    if options.json:
        Path(options.json).write_text(json.dumps({"engine": engine.command, "images": rows}, indent=2) + "\n")
    return int(any(row["problems"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
