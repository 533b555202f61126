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


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def body_lines(function):
    """Lines of a function without its signature and its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_and_its_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MODULE_LINES
    long = [
        f"{node.name}: {body_lines(node)} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and body_lines(node) > FUNCTION_LINES
    ]
    assert not long


def test_a_room_has_four_to_thirteen_files():
    counts = Counter(name_of(path.parent) for path in FILES)
    wrong = {room: count for room, count in counts.items() if not 4 <= count <= 13 and room not in SMALL}
    assert not wrong


def test_modules_say_what_they_are():
    trees = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES if path.name != "__main__.py"}
    assert not [name for name, tree in trees.items() if not ast.get_docstring(tree)]
