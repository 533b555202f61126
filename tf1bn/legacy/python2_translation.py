"""Translates sources of Python 2 in memory, to code with the lines of the source.

A source that Python 3 compiles and that contains nothing that only Python 2 has is compiled as it is. Everything else
is translated by fissix, the maintained copy of the 2to3 that Python came with. A few things 2to3 leaves to its user,
and they are done here: between integers ``/`` rounds down in Python 2, so translated code without ``from __future__
import division`` divides by `python2_semantics.divide`; ``round`` rounds halves away from zero; ``exec`` takes Python
2; a pickle of Python 2 is read as latin-1, which its arrays need; ``sys.setdefaultencoding`` does nothing.

One source that only Python 2 can run makes the whole script Python 2, with all sources that either Python could run.
"""

import ast
import contextlib
import copy
import difflib
import functools
import io
import pathlib
import re
import tempfile
import tokenize
import warnings

from ..errors import CommandError
from . import python2_semantics
from .old_names.methods import OldMethods, has_old_methods
from .own_imports import added_folders, imported_files
from .python2_detection import bindings, parsed, python2_only
from .python2_semantics import DIVIDE, DIVIDE_IN_PLACE, ROUND

_SOURCE = "__tf1bn_source__"
_SHEBANG = re.compile(rb"#!.*\bpython2(\.\d+)?\b")


def compiled(data, path, in_package=False, python2=False, old_methods=False):
    """The code of a source file, to be run with builtins that include `BUILTINS`.

    Args:
      data: the bytes of the file; UTF-8 where no coding line says otherwise.
      path: its name in tracebacks.
      in_package: whether it is a module of a package, where ``import x`` may mean the x beside it.
      python2: whether the script that it belongs to is Python 2; see `is_python2`.
      old_methods: whether calls of old methods are replaced; see `old_names.methods`.

    Raises:
      SyntaxError: the source is neither Python 3 nor Python 2.
      CommandError: it is Python 2, and fissix is not installed.
    """
    old_methods = old_methods and has_old_methods(data)
    try:
        tree = parsed(data, path)
        reason = python2_only(tree)
    except (SyntaxError, ValueError) as error:
        return _translated(data, path, in_package, old_methods, error)
    if reason is None and python2:
        reason = "the script is Python 2"
    if not reason:
        return compile(OldMethods().visit(tree) if old_methods else data, path, "exec", dont_inherit=True)
    return _translated(data, path, in_package, old_methods, reason)


def syntax_tree(data, path):
    """The syntax tree of a source, of its translation if Python 3 cannot compile it, with the lines of the source.

    Raises:
      SyntaxError: the source is neither Python 3 nor Python 2.
      CommandError: it is Python 2, and fissix is not installed.
    """
    try:
        return parsed(data, path)
    except (SyntaxError, ValueError) as error:
        text, translation = _text_and_translation(data, path, False, error)
        if translation is None:
            raise
        tree = parsed(translation, path)
        _number_lines(tree, text.splitlines(), translation.splitlines())
        return tree


def is_python2(data, path, folder):
    """Whether a script is Python 2.

    It is if its first line says so, or if only Python 2 can run its source, or one that it imports, below ``folder`` or
    below a folder that it adds to ``sys.path``.
    """
    if _SHEBANG.match(data):
        return True
    waiting, seen, folders, trees = [(data, path)], {path}, [folder], []
    while waiting:
        data, path = waiting.pop()
        try:
            tree = parsed(data, path)
        except (SyntaxError, ValueError):
            # The source may also be broken.
            try:
                if _translation(_text(data), path, False) is not None:
                    return True
            except (SyntaxError, UnicodeDecodeError, ModuleNotFoundError):
                pass
            continue
        reason = python2_only(tree)
        if reason:
            return True
        if reason is None:
            trees.append((tree, path))
            added = [place for place in added_folders(tree, path, folder) if place not in folders]
            folders += added
            # What was read before may import from a folder that is added now.
            files = [found for place in folders for found in imported_files(tree, path, place)]
            files += [found for place in added for one in trees[:-1] for found in imported_files(*one, place)]
            for found in files:
                if found not in seen:
                    seen.add(found)
                    with contextlib.suppress(OSError):
                        waiting.append((pathlib.Path(found).read_bytes(), found))
    return False


def source(text, path="<string>"):
    """The code that ``exec`` of Python 2 runs, made of code or of a source as Python 2 read it."""
    if isinstance(text, str):
        text = text.encode()
    return compiled(text, path, python2=True) if isinstance(text, bytes) else text


# What compiled code finds by name.
BUILTINS = {**python2_semantics.BUILTINS, _SOURCE: source}


def _translated(data, path, in_package, old_methods, reason):
    """The code of a Python 2 source. ``reason``: why it is one, in words, or the error that Python 3 gave."""
    text, translation = _text_and_translation(data, path, in_package, reason)
    if translation is None:
        if isinstance(reason, Exception):
            raise reason from None
        return compile(data, path, "exec", dont_inherit=True)
    true_division = re.search(r"^from __future__ import .*\bdivision\b", text, re.MULTILINE)
    tree = parsed(translation, path)
    if old_methods:
        tree = OldMethods().visit(tree)
    tree = ast.fix_missing_locations(_Python2(tree, not true_division).visit(tree))
    _number_lines(tree, text.splitlines(), translation.splitlines())
    with warnings.catch_warnings():
        # No warning about escapes such as "\d", which Python 2 took.
        warnings.simplefilter("ignore")
        return compile(tree, path, "exec", dont_inherit=True)


def _text_and_translation(data, path, in_package, reason):
    """The text of a Python 2 source, and what it is in Python 3, None if fissix cannot read it."""
    if isinstance(reason, Exception):
        # Python shows no frame of what compiles.
        reason = reason.with_traceback(None)
    try:
        text = _text(data)
    except (SyntaxError, UnicodeDecodeError):
        raise reason from None
    try:
        import fissix  # noqa: F401
    except ModuleNotFoundError:
        why = f"line {reason.lineno}: {reason.msg}" if isinstance(reason, SyntaxError) else str(reason)
        raise CommandError(
            f"{path} is not Python 3 ({why.rstrip('.')}). If it is Python 2, `pip install fissix`, or `tf1bn[legacy]`, "
            "and it will be translated when it runs."
        ) from None
    return text, _translation(text, path, in_package)


def _text(data):
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return io.TextIOWrapper(io.BytesIO(data), encoding).read()


@functools.lru_cache(32)
def _translation(text, path, in_package):
    """The text of a Python 2 source in Python 3; None if fissix cannot read it."""
    for print_function in (False, True):
        tool = _tool(in_package, print_function)
        from fissix.pgen2 import parse, tokenize

        # 2to3 wants the last line to end, and a source that Python 2 read may mix tabs and spaces.
        for source in (text, re.sub(r"^[ \t]+", lambda found: found[0].expandtabs(8), text, flags=re.MULTILINE)):
            try:
                translation = str(tool.refactor_string(source.rstrip() + "\n", path))
                parsed(translation, path)
                return translation
            except (SyntaxError, parse.ParseError, tokenize.TokenError):  # noqa: PERF203
                continue
    return None


@functools.lru_cache
def _tool(in_package, print_function):
    import fissix

    # It keeps its tables below the user's home, which may be read-only; they take a tenth of a second to make.
    with tempfile.TemporaryDirectory() as folder:
        fissix.CACHE_DIR = pathlib.Path(folder)
        from fissix.refactor import RefactoringTool, get_fixers_from_package

    # Outside a package no import is relative, but 2to3 takes any folder with an __init__.py for one.
    fixers = [
        name for name in get_fixers_from_package("fissix.fixes") if in_package or not name.endswith(".fix_import")
    ]
    return RefactoringTool(fixers, {"print_function": print_function})


class _Python2(ast.NodeTransformer):
    """Does in a tree what 2to3 leaves to its user; see the module."""

    def __init__(self, tree, classic_division):
        self._classic_division = classic_division
        self._bound = {name for node in ast.walk(tree) for name in bindings(node)}
        self._pickles, self._loads = set(), set()
        for node in ast.walk(tree):
            for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
                if isinstance(node, ast.Import) and alias.name == "pickle":
                    self._pickles.add(alias.asname or alias.name)
                elif getattr(node, "module", None) == "pickle" and alias.name in ("load", "loads"):
                    self._loads.add(alias.asname or alias.name)

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if not self._classic_division or not isinstance(node.op, ast.Div):
            return node
        return _call(DIVIDE, node, node.left, node.right)

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        if not self._classic_division or not isinstance(node.op, ast.Div):
            return node
        before, target = [], node.target

        def kept(part, name):
            """A name for the value of ``part``, which is computed once: it may be a call."""
            before.append(ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], part), node))
            return ast.Name(name, ast.Load())

        if any(isinstance(part, ast.Call) for part in ast.walk(target)):
            target.value = kept(target.value, "__tf1bn_target__")
            if isinstance(target, ast.Subscript):
                target.slice = kept(_index(target.slice), "__tf1bn_index__")
        old = copy.deepcopy(target)
        old.ctx = ast.Load()
        after = ast.Assign([target], _call(DIVIDE_IN_PLACE, node, old, node.value))
        return [*before, ast.copy_location(after, node)]

    def visit_Call(self, node):
        self.generic_visit(node)
        name = getattr(node.func, "id", None)
        owner = getattr(getattr(node.func, "value", None), "id", None)
        attribute = getattr(node.func, "attr", None)
        if attribute == "setdefaultencoding" and owner == "sys":
            return ast.copy_location(ast.Constant(None), node)
        if name == "round" and name not in self._bound:
            node.func.id = ROUND
        elif name == "exec" and node.args:
            node.args[0] = self._source(node.args[0])
        loads = name in self._loads or (owner in self._pickles and attribute in ("load", "loads"))
        if loads and not node.keywords:
            node.keywords = [ast.keyword("encoding", ast.Constant("latin1"))]
        return node

    def _source(self, node):
        """What an ``exec`` is given; for `execfile`, 2to3 writes ``compile(open(file).read(), file, "exec")``."""
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "compile" and len(node.args) == 3:
            return _call(_SOURCE, node, *node.args[:2])
        return _call(_SOURCE, node, node)


def _index(node):
    """The expression for what stands between brackets."""
    if isinstance(node, ast.Slice):
        ends = [part or ast.Constant(None) for part in (node.lower, node.upper, node.step)]
        return _call("slice", node, *ends)
    if isinstance(node, ast.Tuple):
        return ast.copy_location(ast.Tuple([_index(part) for part in node.elts], ast.Load()), node)
    return node


def _call(function, node, *arguments):
    return ast.copy_location(ast.Call(ast.Name(function, ast.Load()), list(arguments), []), node)


def _number_lines(tree, old, new):
    """Give the nodes of a translation the lines of the source, and no columns: those are not the source's."""
    lines = {}
    for _, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        for number in range(new_start, new_end):
            lines[number + 1] = min(old_start + number - new_start, max(old_end - 1, old_start)) + 1
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            node.lineno = lines.get(node.lineno, len(old))
            node.end_lineno = max(node.lineno, lines.get(node.end_lineno, len(old)))
            node.col_offset = node.end_col_offset = -1
