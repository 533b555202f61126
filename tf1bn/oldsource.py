"""Sources of old scripts: which of them are Python 2, and those translated in memory to code with their own lines.

What Python 3 compiles and what names nothing that only Python 2 has is compiled as it is. All else is translated by
fissix, the kept copy of the 2to3 that Python came with. One thing 2to3 leaves to its user: between integers ``/``
rounds down in Python 2, so translated code without ``from __future__ import division`` divides by `divide`.
"""

import ast
import copy
import difflib
import functools
import io
import operator
import pathlib
import re
import tempfile
import tokenize
import warnings

from .command import CannotWork

# The builtins dict of a script holds `divide` and `divide_in_place` under these names.
DIVIDE, DIVIDE_IN_PLACE = "__tf1bn_divide__", "__tf1bn_divide_in_place__"

_NAMES = {"xrange", "raw_input", "unicode", "basestring", "unichr", "long", "reduce", "execfile", "cmp", "reload"}
_MODULES = {"cPickle", "StringIO", "cStringIO", "urllib2", "urlparse", "Queue", "ConfigParser", "__builtin__"}
_METHODS = {"iteritems": 0, "itervalues": 0, "iterkeys": 0, "has_key": 1}
# Who names one of these has written for both Pythons.
_BOTH = {"version_info", "PY2", "PY3", "six", "future", "past", "builtins", "python_version"}


def compiled(data, path, in_package=False):
    """The code of a source file.

    Args:
      data: the bytes of the file; UTF-8 where no coding line says otherwise.
      path: its name in tracebacks.
      in_package: whether it is a module of a package, where ``import x`` may mean the x beside it.

    Raises:
      SyntaxError: the source is neither Python 3 nor Python 2.
      CannotWork: it is Python 2, and fissix is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reason = _python2_only(ast.parse(data, path))
    except (SyntaxError, ValueError) as error:
        return _translated(data, path, in_package, error)
    if reason is None:
        return compile(data, path, "exec", dont_inherit=True)
    return _translated(data, path, in_package, reason)


def divide(a, b):
    """``a / b`` as in Python 2: rounded down between integers, integer arrays and integer tensors."""
    return operator.floordiv(a, b) if _integral(a) and _integral(b) else operator.truediv(a, b)


def divide_in_place(a, b):
    """What ``a /= b`` leaves in a, as in Python 2."""
    return operator.ifloordiv(a, b) if _integral(a) and _integral(b) else operator.itruediv(a, b)


def _integral(value):
    if isinstance(value, int):
        return True
    dtype = getattr(value, "dtype", None)
    return bool(getattr(dtype, "is_integer", False)) or getattr(dtype, "kind", None) in ("b", "i", "u")


def _python2_only(tree):
    """What in this Python 3 syntax tree only Python 2 has, in words with its line; None if there is nothing."""
    found, names, bound, nodes = [], [], set(), [tree]
    while nodes:
        node = nodes.pop()
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Try) and _expects(node, {"NameError", "ImportError", "ModuleNotFoundError"}):
            # `try: xrange` and `try: import cPickle` are written for both Pythons.
            children = [child for child in children if child not in node.body]
            bound |= {name for kept in node.body for inner in ast.walk(kept) for name in _bindings(inner)}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            tops = {name.partition(".")[0] for name in modules if name}
            if tops & _BOTH:
                return None
            found += [(node.lineno, f"module `{name}`") for name in tops & _MODULES if not getattr(node, "level", 0)]
        elif isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in _BOTH:
                return None
            if name in _NAMES and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                names.append((node.lineno, name))
        elif isinstance(node, ast.Call) and _METHODS.get(getattr(node.func, "attr", "")) == len(node.args):
            found.append((node.lineno, f"method `{node.func.attr}`"))
        bound |= set(_bindings(node))
        nodes += children
    found += [(line, f"name `{name}`") for line, name in names if name not in bound]
    return "line {}: Python 3 has no {}".format(*min(found)) if found else None


def _expects(node, errors):
    """Whether a handler of this `try` catches one of the errors."""
    return any(
        isinstance(name, ast.Name) and name.id in errors
        for handler in node.handlers
        for name in ast.walk(handler.type or ast.Name("NameError"))
    )


def _bindings(node):
    """The names that this node itself binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def _translated(data, path, in_package, reason):
    """The code of a Python 2 source. ``reason``: why it is one, in words, or the error that Python 3 gave."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except (SyntaxError, UnicodeDecodeError):
        raise reason from None
    try:
        import fissix  # noqa: F401
    except ModuleNotFoundError:
        why = f"line {reason.lineno}: {reason.msg}" if isinstance(reason, SyntaxError) else str(reason)
        raise CannotWork(
            f"{path} is no Python 3 ({why.rstrip('.')}). If it is Python 2, `pip install fissix`, or `tf1bn[legacy]`, "
            "and it is translated as it is run."
        ) from None
    translation, tree = _parsed(text, path, in_package)
    if tree is None:
        if isinstance(reason, Exception):
            raise reason from None
        return compile(data, path, "exec", dont_inherit=True)
    if not re.search(r"^from __future__ import .*\bdivision\b", text, re.MULTILINE):
        tree = ast.fix_missing_locations(_ClassicDivision().visit(tree))
    _number_lines(tree, text.splitlines(), translation.splitlines())
    with warnings.catch_warnings():
        # Escapes such as "\d", which Python 2 took without a word.
        warnings.simplefilter("ignore")
        return compile(tree, path, "exec", dont_inherit=True)


def _parsed(text, path, in_package):
    """The translation of a Python 2 source and its syntax tree; None and None if fissix cannot read it."""
    for print_function in (False, True):
        tool = _tool(in_package, print_function)
        from fissix.pgen2 import parse, tokenize

        # 2to3 wants the last line to end, and a source that Python 2 read may mix tabs and spaces.
        for source in (text, re.sub(r"^[ \t]+", lambda found: found[0].expandtabs(8), text, flags=re.MULTILINE)):
            try:
                translation = str(tool.refactor_string(source.rstrip() + "\n", path))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return translation, ast.parse(translation, path)
            except (SyntaxError, parse.ParseError, tokenize.TokenError):  # noqa: PERF203
                continue
    return None, None


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


class _ClassicDivision(ast.NodeTransformer):
    def visit_BinOp(self, node):
        self.generic_visit(node)
        return _call(DIVIDE, node.left, node.right, node) if isinstance(node.op, ast.Div) else node

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        # A target that calls something cannot be named twice.
        if not isinstance(node.op, ast.Div) or any(isinstance(part, ast.Call) for part in ast.walk(node.target)):
            return node
        old = copy.deepcopy(node.target)
        old.ctx = ast.Load()
        return ast.copy_location(ast.Assign([node.target], _call(DIVIDE_IN_PLACE, old, node.value, node)), node)


def _call(function, left, right, node):
    return ast.copy_location(ast.Call(ast.Name(function, ast.Load()), [left, right], []), node)


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
