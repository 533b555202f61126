"""Sources of old scripts: which of them are Python 2, and those translated in memory to code with their own lines.

What Python 3 compiles and what names nothing that only Python 2 has is compiled as it is. All else is translated by
fissix, the kept copy of the 2to3 that Python came with. A few things 2to3 leaves to its user, and they are done here:
between integers ``/`` rounds down in Python 2, so translated code without ``from __future__ import division`` divides
by `divide`; ``round`` rounds halves away from zero; ``exec`` takes Python 2; a pickle of Python 2 is read as latin-1,
which its arrays need; ``sys.setdefaultencoding`` does nothing.

One source that is Python 2 alone makes the whole script Python 2, and with it those sources that either Python takes.
"""

import ast
import contextlib
import copy
import decimal
import difflib
import functools
import io
import math
import operator
import os
import pathlib
import re
import tempfile
import tokenize
import warnings

from ..errors import CommandError

_DIVIDE, _DIVIDE_IN_PLACE, _ROUND, _SOURCE = (
    f"__tf1bn_{name}__" for name in ("divide", "divide_in_place", "round", "source")
)

_NAMES = {"xrange", "raw_input", "unicode", "basestring", "unichr", "long", "reduce", "execfile", "cmp", "reload"}
_MODULES = {"cPickle", "StringIO", "cStringIO", "urllib2", "urlparse", "Queue", "ConfigParser", "__builtin__"}
_METHODS = {"iteritems": 0, "itervalues": 0, "iterkeys": 0, "has_key": 1, "setdefaultencoding": 1}
# Who names one of these has written for both Pythons.
_BOTH = {"version_info", "PY2", "PY3", "six", "future", "past", "builtins", "python_version"}


def compiled(data, path, in_package=False, python2=False):
    """The code of a source file, to be run with the `BUILTINS`.

    Args:
      data: the bytes of the file; UTF-8 where no coding line says otherwise.
      path: its name in tracebacks.
      in_package: whether it is a module of a package, where ``import x`` may mean the x beside it.
      python2: whether the script that it belongs to is Python 2; see `is_python2`.

    Raises:
      SyntaxError: the source is neither Python 3 nor Python 2.
      CommandError: it is Python 2, and fissix is not installed.
    """
    try:
        reason = _python2_only(_parsed(data, path))
    except (SyntaxError, ValueError) as error:
        return _translated(data, path, in_package, error)
    if reason is None and python2:
        reason = "the script is Python 2"
    if not reason:
        return compile(data, path, "exec", dont_inherit=True)
    return _translated(data, path, in_package, reason)


def is_python2(data, path, folder):
    """Whether a script is Python 2: its source, or one below ``folder`` that it imports, is nothing else."""
    waiting, seen = [(data, path)], {path}
    while waiting:
        data, path = waiting.pop()
        try:
            tree = _parsed(data, path)
        except (SyntaxError, ValueError):
            # It may be broken instead.
            try:
                if _translation(_text(data), path, False) is not None:
                    return True
            except (SyntaxError, UnicodeDecodeError, ModuleNotFoundError):
                pass
            continue
        reason = _python2_only(tree)
        if reason:
            return True
        if reason is None:
            for found in _imported(tree, path, folder):
                if found not in seen:
                    seen.add(found)
                    with contextlib.suppress(OSError):
                        waiting.append((pathlib.Path(found).read_bytes(), found))
    return False


def _imported(tree, path, folder):
    """The files below ``folder`` that this source imports."""
    above = os.path.dirname(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            level, names = 0, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            level, module = node.level, [node.module] if node.module else []
            names = [".".join(module), *(".".join([*module, alias.name]) for alias in node.names)]
        else:
            continue
        roots = [os.path.join(above, *[os.pardir] * (level - 1))] if level else dict.fromkeys((folder, above))
        for root in roots:
            for name in names:
                parts = name.split(".") if name else []
                for end in range(len(parts) + 1):
                    base = os.path.normpath(os.path.join(root, *parts[:end]))
                    files = (os.path.join(base, "__init__.py"), f"{base}.py") if end else ()
                    yield from filter(os.path.isfile, files)


def divide(a, b):
    """``a / b`` as in Python 2: rounded down between integers, integer arrays and tensors, and dimensions."""
    for one, other, method in ((a, b, "__div__"), (b, a, "__rdiv__")):
        # A tensor still has the method, which warns.
        own = None if hasattr(one, "dtype") else getattr(type(one), method, None)
        if own is not None and (result := own(one, other)) is not NotImplemented:
            return result
    return operator.floordiv(a, b) if _integral(a) and _integral(b) else operator.truediv(a, b)


def divide_in_place(a, b):
    """What ``a /= b`` leaves in a, as in Python 2."""
    if hasattr(type(a), "__div__") and not hasattr(a, "dtype"):
        return divide(a, b)
    return operator.ifloordiv(a, b) if _integral(a) and _integral(b) else operator.itruediv(a, b)


def round_half_away(number, digits=0):
    """``round`` as in Python 2: a float, halves away from zero."""
    number = float(number)
    if not math.isfinite(number):
        return number
    unit = decimal.Decimal(1).scaleb(-operator.index(digits))
    exact = decimal.Context(prec=2000, rounding=decimal.ROUND_HALF_UP)
    return float(exact.quantize(decimal.Decimal(number), unit))


def source(text, path="<string>"):
    """What ``exec`` of Python 2 runs: code, or a source as Python 2 read it."""
    if isinstance(text, str):
        text = text.encode()
    return compiled(text, path, python2=True) if isinstance(text, bytes) else text


# What translated code calls by name.
BUILTINS = {
    _DIVIDE: divide,
    _DIVIDE_IN_PLACE: divide_in_place,
    _ROUND: round_half_away,
    _SOURCE: source,
    "cmp": lambda a, b: (a > b) - (a < b),
}


def _integral(value):
    if isinstance(value, int):
        return True
    dtype = getattr(value, "dtype", None)
    return bool(getattr(dtype, "is_integer", False)) or getattr(dtype, "kind", None) in ("b", "i", "u")


def _python2_only(tree):
    """What in this Python 3 syntax tree only Python 2 has, in words with its line; None if there is nothing.

    "" if the source says that it is for both.
    """
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
                return ""
            found += [(node.lineno, f"module `{name}`") for name in tops & _MODULES if not getattr(node, "level", 0)]
        elif isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in _BOTH:
                return ""
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
            f"{path} is no Python 3 ({why.rstrip('.')}). If it is Python 2, `pip install fissix`, or `tf1bn[legacy]`, "
            "and it is translated as it is run."
        ) from None
    translation = _translation(text, path, in_package)
    if translation is None:
        if isinstance(reason, Exception):
            raise reason from None
        return compile(data, path, "exec", dont_inherit=True)
    true_division = re.search(r"^from __future__ import .*\bdivision\b", text, re.MULTILINE)
    tree = _parsed(translation, path)
    tree = ast.fix_missing_locations(_Python2(tree, not true_division).visit(tree))
    _number_lines(tree, text.splitlines(), translation.splitlines())
    with warnings.catch_warnings():
        # Escapes such as "\d", which Python 2 took without a word.
        warnings.simplefilter("ignore")
        return compile(tree, path, "exec", dont_inherit=True)


def _parsed(source, path):
    """The syntax tree; without a word on escapes such as "\\d", which Python 2 took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, path)


def _text(data):
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return io.TextIOWrapper(io.BytesIO(data), encoding).read()


@functools.lru_cache(32)
def _translation(text, path, in_package):
    """A Python 2 source in Python 3; None if fissix cannot read it."""
    for print_function in (False, True):
        tool = _tool(in_package, print_function)
        from fissix.pgen2 import parse, tokenize

        # 2to3 wants the last line to end, and a source that Python 2 read may mix tabs and spaces.
        for source in (text, re.sub(r"^[ \t]+", lambda found: found[0].expandtabs(8), text, flags=re.MULTILINE)):
            try:
                translation = str(tool.refactor_string(source.rstrip() + "\n", path))
                _parsed(translation, path)
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
    """What 2to3 does not do, in a tree that it has translated."""

    def __init__(self, tree, classic_division):
        self._classic_division = classic_division
        self._bound = {name for node in ast.walk(tree) for name in _bindings(node)}
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
        return _call(_DIVIDE, node, node.left, node.right)

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        if not self._classic_division or not isinstance(node.op, ast.Div):
            return node
        before, target = [], node.target

        def kept(part, name):
            """The name of what ``part`` is: a call in the target happens once."""
            before.append(ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], part), node))
            return ast.Name(name, ast.Load())

        if any(isinstance(part, ast.Call) for part in ast.walk(target)):
            target.value = kept(target.value, "__tf1bn_target__")
            if isinstance(target, ast.Subscript):
                target.slice = kept(_index(target.slice), "__tf1bn_index__")
        old = copy.deepcopy(target)
        old.ctx = ast.Load()
        after = ast.Assign([target], _call(_DIVIDE_IN_PLACE, node, old, node.value))
        return [*before, ast.copy_location(after, node)]

    def visit_Call(self, node):
        self.generic_visit(node)
        name = getattr(node.func, "id", None)
        owner = getattr(getattr(node.func, "value", None), "id", None)
        attribute = getattr(node.func, "attr", None)
        if attribute == "setdefaultencoding" and owner == "sys":
            return ast.copy_location(ast.Constant(None), node)
        if name == "round" and name not in self._bound:
            node.func.id = _ROUND
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
    """The expression for what is between brackets."""
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
