"""What a source imports of the script's own files, and which folders it adds to ``sys.path``, as its syntax tree shows.

Expressions are read as far as they are made of strings, ``__file__``, names of the module and functions of `os.path`.
"""

import ast
import glob
import os

_IMPORTERS = ("import_module", "__import__")


def imported_files(tree, path, folder):
    """Yields the paths of files beside the source and below ``folder`` that it may import."""
    above = os.path.dirname(path)
    for node in ast.walk(tree):
        level, whole = 0, None
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            level, module = node.level, [node.module] if node.module else []
            names = [".".join(module), *(".".join([*module, alias.name]) for alias in node.names)]
        elif isinstance(node, ast.Call) and (start := imported_by_call(node)) is not None:
            # Of a package that has a module of a name made at run time, any may be it.
            whole = start.rpartition(".")[0] if start.endswith(".") else None
            names = [start.rstrip(".")]
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
            if whole:
                inside = os.path.join(root, *whole.split("."))
                yield from sorted(glob.glob(os.path.join(glob.escape(os.path.normpath(inside)), "*.py")))


def imported_by_call(node):
    """The name in ``import_module(name)``; with a dot at its end, a package and all that is known; "" if nothing is.

    None if the call imports nothing.
    """
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name not in _IMPORTERS or not node.args:
        return None
    start, known = _start_of(node.args[0])
    if known or not start:
        return start
    return start[: start.rfind(".") + 1].lstrip(".")


def _start_of(node):
    """The text that a string starts with, as far as it is written down, and whether that is all of it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, True
    if isinstance(node, ast.JoinedStr):
        return (_start_of(node.values[0])[0] if node.values else ""), not node.values
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, known = _start_of(node.left)
        right, all_of_it = _start_of(node.right) if known else ("", False)
        return left + right, known and all_of_it
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _start_of(node.left)[0].partition("%")[0], False
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _start_of(node.func.value)[0].partition("{")[0], False
    return "", False


def added_folders(tree, path, folder):
    """The folders that a source adds to ``sys.path``, as far as its expressions can be read.

    Args:
      tree: its syntax tree.
      path: its path.
      folder: the script's; what is relative to the working directory is looked for there too.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if not any(_adds_to_path(call) for call in calls):
        return []
    names = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }
    adders = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in node.args.args]
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and _adds_to_path(call) and call.args:
                    added = getattr(call.args[-1], "id", None)
                    adders.update({node.name: arguments.index(added)} if added in arguments else {})
    found = []
    for call in calls:
        at = adders.get(getattr(call.func, "id", None))
        if _adds_to_path(call) and call.args:
            value = call.args[-1]
        elif at is not None and at < len(call.args):
            value = call.args[at]
        else:
            continue
        text = _Paths(names, path, folder).value(value)
        for base in (os.getcwd(), folder) if text is not None else ():
            place = os.path.normpath(os.path.join(base, text))
            if os.path.isdir(place) and place not in found:
                found.append(place)
    return found


def _adds_to_path(call):
    """Whether a call is ``sys.path.append(...)`` or ``sys.path.insert(0, ...)``."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in ("append", "insert"):
        return False
    return ast.unparse(function.value) == "sys.path"


class _Paths:
    """What expressions of paths are, in a source at ``path`` with these names; the script is in ``folder``."""

    def __init__(self, names, path, folder):
        self._names, self._path, self._folder, self._depth = names, path, folder, 0

    def value(self, node):
        """The text of an expression, or None if it cannot be read."""
        if self._depth > 50:
            return None
        self._depth += 1
        try:
            return self._value(node)
        finally:
            self._depth -= 1

    def _value(self, node):
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            if node.id == "__file__":
                return self._path
            return self.value(self._names[node.id]) if node.id in self._names else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = self.value(node.left), self.value(node.right)
            return None if None in parts else "".join(parts)
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            known = {"os.pardir": os.pardir, "os.sep": os.sep, "os.curdir": os.curdir, "sys.path[0]": self._folder}
            return known.get(ast.unparse(node))
        return self._called(node) if isinstance(node, ast.Call) and not node.keywords else None

    def _called(self, node):
        name = ast.unparse(node.func).rpartition(".")[2]
        arguments = [self.value(argument) for argument in node.args]
        if name == "getcwd" and not arguments:
            return os.getcwd()
        if None in arguments or not arguments:
            return None
        if name == "join":
            return os.path.join(*arguments)
        functions = {"dirname": os.path.dirname, "normpath": os.path.normpath, "expanduser": os.path.expanduser}
        functions |= {"abspath": os.path.abspath, "realpath": os.path.abspath, "str": str}
        return functions[name](arguments[0]) if name in functions and len(arguments) == 1 else None
