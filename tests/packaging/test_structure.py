"""The shape of the package: how long modules and functions are, and how many files lie in a room."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tf1bn"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FUNCTION_LINES = 350, 60
# Rooms that hold what they must and no more.
SMALL = {"tf1bn/_native"}


@pytest.fixture(scope="module")
def trees():
    """By path the number of lines of a module and its syntax tree."""
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    return {path: (text.count("\n"), ast.parse(text)) for path, text in texts.items()}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def body_lines(function):
    """Lines of a function without its signature and its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_modules_and_functions_are_short(trees):
    long = []
    for path, (lines, tree) in trees.items():
        if lines > MODULE_LINES:
            long.append(f"{name_of(path)}: {lines} lines")
        long += [
            f"{name_of(path)}, {node.name}: {body_lines(node)} lines"
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and body_lines(node) > FUNCTION_LINES
        ]
    assert not long


def test_a_room_has_four_to_thirteen_files():
    counts = Counter(name_of(path.parent) for path in FILES)
    wrong = {room: count for room, count in counts.items() if not 4 <= count <= 13 and room not in SMALL}
    assert not wrong


def test_modules_say_what_they_are(trees):
    silent = [path for path, (_, tree) in trees.items() if not ast.get_docstring(tree)]
    assert not [path for path in silent if path.name != "__main__.py"]
