"""What in one source only Python 2 has, found in the syntax tree of Python 3.

Whether a whole script is Python 2, its imports and sources that Python 3 cannot parse included, is decided by
`python2_translation.is_python2`.
"""

import ast
import warnings

_NAMES = {"xrange", "raw_input", "unicode", "basestring", "unichr", "long", "reduce", "execfile", "cmp", "reload"}
MODULES = {"cPickle", "StringIO", "cStringIO", "urllib2", "urlparse", "Queue", "ConfigParser", "__builtin__"}
_METHODS = {"iteritems": 0, "itervalues": 0, "iterkeys": 0, "has_key": 1, "setdefaultencoding": 1}
# A source that names one of these is written for both Pythons.
_BOTH = {"version_info", "PY2", "PY3", "six", "future", "past", "builtins", "python_version"}


def python2_only(tree):
    """What in this Python 3 syntax tree only Python 2 has, in words with its line; None if there is nothing.

    The result is "" if the source is written for both Pythons.
    """
    found, names, bound, nodes = [], [], set(), [tree]
    while nodes:
        node = nodes.pop()
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Try) and expects(node, {"NameError", "ImportError", "ModuleNotFoundError"}):
            # `try: xrange` and `try: import cPickle` are written for both Pythons.
            children = [child for child in children if child not in node.body]
            bound |= {name for kept in node.body for inner in ast.walk(kept) for name in bindings(inner)}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            tops = {name.partition(".")[0] for name in modules if name}
            if tops & _BOTH:
                return ""
            found += [(node.lineno, f"module `{name}`") for name in tops & MODULES if not getattr(node, "level", 0)]
        elif isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in _BOTH:
                return ""
            if name in _NAMES and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                names.append((node.lineno, name))
        elif isinstance(node, ast.Call) and _METHODS.get(getattr(node.func, "attr", "")) == len(node.args):
            found.append((node.lineno, f"method `{node.func.attr}`"))
        bound |= set(bindings(node))
        nodes += children
    found += [(line, f"name `{name}`") for line, name in names if name not in bound]
    return "line {}: Python 3 has no {}".format(*min(found)) if found else None


def expects(node, errors):
    """Whether a handler of this `try` catches one of the errors."""
    return any(
        isinstance(name, ast.Name) and name.id in errors
        for handler in node.handlers
        for name in ast.walk(handler.type or ast.Name("NameError"))
    )


def bindings(node):
    """The names that this node itself binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def parsed(source, path):
    """The syntax tree of a source; no warning about escapes such as "\\d", which Python 2 took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, path)
