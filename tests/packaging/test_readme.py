"""The README's Python examples run as written, and what it names exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PORTING, CHECKING = range(2)

TRAIN = """
import numpy as np
before = {v.op.name for v in tf.global_variables()}
assert {"bn1/beta", "bn1/moving_mean", "bn1/moving_variance"} <= before
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    batch = np.random.default_rng(0).normal(3, 2, (4, 28, 28, 64))
    sess.run(train, {x: batch, is_training: True})
    print(float(sess.run("bn1/moving_mean:0").mean()))
"""


def run(code, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.slow
def test_the_porting_example_trains_and_moves_the_statistics():
    done = run(EXAMPLES[PORTING] + TRAIN)
    assert done.returncode == 0, done.stderr
    # one step of decay .99 towards a mean of 3
    assert 0.029 < float(done.stdout) < 0.031


def test_the_checking_example_names_the_channel():
    done = run(EXAMPLES[CHECKING])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    for line in done.stdout.splitlines():
        assert f"    {line}\n" in README


@pytest.mark.slow
def test_the_recording_example_prints_every_step(tmp_path):
    (example,) = (example for example in EXAMPLES if "tf1bn.Recorder" in example)
    done = run(example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\d+) bn1 \(True,\)", done.stdout, re.MULTILINE) == ["0", "1", "2"]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)|(?<=`)docker/[\w.]+(?=`)", README)) - {""}))
def test_linked_files_exist(path):
    assert (ROOT / path).exists()


def test_the_commands_of_the_readme_are_make_targets_and_options():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^    make (\w+)", README, re.MULTILINE)) | {"lint", "bench"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    from tf1bn.cli import main as cli

    parser = cli.parser()
    for command in re.findall(r"^    \.venv/bin/tf1bn (.*)$", README, re.MULTILINE):
        if "--help" not in command:
            parser.parse_args(command.split())
