"""Which names of TensorFlow a script and its own modules use, read from their sources: nothing is imported or run."""

import ast
import collections
import dataclasses
import functools
import importlib.util
import os
import pathlib
import sys

from ...errors import CommandError
from ..own_imports import added_folders, imported_by_call, imported_files
from ..own_modules import python_path
from ..python2_detection import MODULES, expects
from ..python2_translation import syntax_tree
from .names import IN_THE_WAY, fate

_OPTIONAL = {"ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "NameError"}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclasses.dataclass(frozen=True)
class Use:
    """A name below ``tensorflow`` in a source; ``optional``: the script expects that it may be missing."""

    name: str
    file: str
    line: int
    optional: bool


class Sources:
    """The script and those of its own modules that it may import.

    They lie in its folder, in those of PYTHONPATH, and in those that it adds to ``sys.path``, where that can be read.

    Args:
      script: the path of the script.

    Attributes:
      files: the paths of the sources, the script first.
      uses: a list of `Use`, in the order of files and lines.
      unread: a list of `Use` too, whose names are modules that were not found, neither here nor installed.
      at_run_time: a list of `Use` too, of imports of modules whose names are made at run time, as they are written.

    Raises:
      CommandError: a source cannot be read, is neither Python 3 nor Python 2, is Python 2 and fissix is not installed,
        or is nested too deeply.
    """

    def __init__(self, script):
        self._folders = [os.path.dirname(os.path.abspath(script)), *sorted(python_path())]
        self._trees, waiting = {}, [os.path.abspath(script)]
        while waiting:
            path = waiting.pop(0)
            if path not in self._trees:
                self._trees[path] = _tree(path, script if path == os.path.abspath(script) else None)
                added = added_folders(self._trees[path], path, self._folders[0])
                added = [folder for folder in added if folder not in self._folders]
                self._folders += added
                for folder in self._folders:
                    waiting += imported_files(self._trees[path], path, folder)
                for folder in added:
                    waiting += [file for one, tree in self._trees.items() for file in imported_files(tree, one, folder)]
        self.files = list(self._trees)
        self._names = {}
        self.uses, self.unread, self.at_run_time = [], [], []
        assigned = set()
        for path in self.files:
            reader, found = _Reader(self, path, self.names(path)), {}
            for use in reader.uses():
                # Where a name is used twice in a line, once is enough.
                found.setdefault((use.name, use.line), use)
            self.uses += sorted(found.values(), key=lambda use: (use.line, use.name))
            self.unread += reader.unread
            self.at_run_time += reader.at_run_time
            assigned |= reader.assigned
        # What the script itself puts there, it finds there.
        self.uses = [use for use in self.uses if not assigned.intersection(_and_above(use.name))]

    def names(self, path):
        """The names that the top level of a source binds to something of TensorFlow or to a module of the script."""
        if path not in self._names:
            self._names[path] = {}
            # Twice, for names that stand for others that are bound further down.
            for _ in range(2):
                reader = _Reader(self, path, self._names[path])
                self._names[path].update(reader.bound_in(self._trees[path]))
        return self._names[path]

    def tree(self, path):
        """The syntax tree of a source."""
        return self._trees[path]

    def has(self, top, path):
        """Whether a module or a folder of this name lies where the source at ``path`` may import it."""
        places = [os.path.join(folder, top) for folder in (*self._folders, os.path.dirname(path))]
        return any(os.path.isdir(place) or os.path.isfile(f"{place}.py") for place in places)

    def module(self, name, path, level=0):
        """The file of a module of the script, as the source at ``path`` imports it; None if it is not the script's."""
        above = os.path.dirname(path)
        roots = [os.path.join(above, *[os.pardir] * (level - 1))] if level else [*self._folders, above]
        for root in roots:
            base = os.path.normpath(os.path.join(root, *name.split("."))) if name else os.path.normpath(root)
            for file in (f"{base}.py", os.path.join(base, "__init__.py")):
                if file in self._trees:
                    return file
        return None


def _tree(path, script):
    """The syntax tree of a source. ``script``: the path of the script as it was given, None for its modules."""
    try:
        return syntax_tree(pathlib.Path(path).read_bytes(), path)
    except OSError as error:
        what = f"`script` is {script!r}, which" if script else f"{path}, which the script may import,"
        advice = "--explain takes the path of a script." if script else "Make it readable, or move it away."
        raise CommandError(f"{what} could not be read: {error.strerror or error}. {advice}") from error
    except (SyntaxError, ValueError) as error:
        where = f"{path}, line {getattr(error, 'lineno', None) or '?'}"
        raise CommandError(f"{where}: the source is neither Python 3 nor Python 2: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise CommandError(f"{path}: the source is nested more deeply than Python can read: {error}.") from error


class _Reader:
    """Reads one source. What a name stands for is a path below ``tensorflow``, a `_Module`, or None: something else."""

    def __init__(self, sources, path, names):
        self._sources, self._path, self._top = sources, path, names
        self.unread, self.at_run_time, self.assigned = [], [], set()

    def uses(self):
        """Yields each `Use` of the source."""
        yield from self._walk([self._sources.tree(self._path)], [self._top], False)

    def _walk(self, nodes, scopes, optional):
        # With a stack of its own: long expressions are nested more deeply than functions can call each other.
        waiting = [(node, scopes, optional) for node in reversed(nodes)]
        while waiting:
            node, scopes, optional = waiting.pop()
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for name in self._imported(node):
                    yield Use(name, self._path, node.lineno, optional)
                self.unread += [Use(name, self._path, node.lineno, optional) for name in self._not_found(node)]
                continue
            if isinstance(node, ast.Call) and self._is_unknown_import(node):
                self.at_run_time.append(Use(ast.unparse(node), self._path, node.lineno, optional))
            if isinstance(node, (ast.Attribute, ast.Name, ast.Call)):
                meant = self._meaning(node, scopes)
                if isinstance(meant, str) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                    yield Use(meant, self._path, node.lineno, optional)
                    continue
                if isinstance(meant, str) and isinstance(node, ast.Attribute):
                    self.assigned.add(meant)
            if isinstance(node, ast.Try):
                expected = expects(node, _OPTIONAL)
                body = list(self._walk(node.body, scopes, optional or expected))
                yield from body
                # What the handler has is in the way if what it stands in for is missing.
                spare = expected and not any(fate(use.name).status in IN_THE_WAY for use in body)
                children = [(child, optional or spare) for child in node.handlers]
                children += [(child, optional) for child in [*node.orelse, *node.finalbody]]
            elif isinstance(node, ast.If) and any(map(_asks_for_a_name, ast.walk(node.test))):
                children = [(child, True) for child in node.body]
                children += [(child, optional) for child in [node.test, *node.orelse]]
            else:
                if isinstance(node, _SCOPES):
                    scopes = [*scopes, self.bound_in(node, scopes)]
                children = [(child, optional) for child in ast.iter_child_nodes(node)]
            waiting += [(child, scopes, spared) for child, spared in reversed(children)]

    def bound_in(self, scope, scopes=None):
        """What the names stand for that a scope binds itself, functions within it left out."""
        scopes = scopes or [self._top]
        bound, nodes = {}, collections.deque(ast.iter_child_nodes(scope))
        while nodes:
            node = nodes.popleft()
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound[alias.asname or alias.name.partition(".")[0]] = self._import(alias)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name == "*":
                        file = self._own(node)
                        bound.update(self._sources.names(file) if file else {})
                    else:
                        bound[alias.asname or alias.name] = self._from(node, alias.name)
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                # A name that stands for something of TensorFlow in one place and for another thing elsewhere is left.
                name, value = node.targets[0].id, self._meaning(node.value, [*scopes, bound])
                bound[name] = value if bound.get(name, value) == value else None
            elif isinstance(node, ast.arg):
                bound[node.arg] = None
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.setdefault(node.id, None)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                bound[node.name] = None
            if not isinstance(node, (*_SCOPES, ast.ClassDef)):
                nodes += ast.iter_child_nodes(node)
        return bound

    def _meaning(self, node, scopes):
        """What an expression stands for."""
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(scopes) if node.id in scope), None)
        if isinstance(node, ast.Attribute):
            attributes = []
            while isinstance(node, ast.Attribute):
                attributes.append(node.attr)
                node = node.value
            return functools.reduce(self._attribute, reversed(attributes), self._meaning(node, scopes))
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if called and len(node.args) == 2 and isinstance(node.args[1], ast.Constant):
            return self._attribute(self._meaning(node.args[0], scopes), str(node.args[1].value))
        return None

    def _attribute(self, owner, name):
        if isinstance(owner, str):
            return f"{owner}.{name}" if owner else name
        if isinstance(owner, _Module):
            below = self._sources.module(f"{owner.name}.{name}", self._path)
            if below is not None:
                return _Module(f"{owner.name}.{name}", below)
            return self._sources.names(owner.file).get(name) if owner.file else None
        return None

    def _imported(self, node):
        """The names below ``tensorflow`` that an import names."""
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.level or node.module is None:
            return []
        else:
            names = [node.module if alias.name == "*" else f"{node.module}.{alias.name}" for alias in node.names]
        return [name.partition(".")[2] for name in names if name.partition(".")[0] == "tensorflow"]

    def _not_found(self, node):
        """The modules that an import names and that are neither the script's, nor installed, nor Python's."""
        if isinstance(node, ast.ImportFrom):
            tops = {(node.module or "").partition(".")[0]} if not node.level else set()
        else:
            tops = {alias.name.partition(".")[0] for alias in node.names}
        for top in sorted(tops - {"tensorflow", "__main__"} - MODULES - sys.stdlib_module_names):
            if not self._sources.has(top, self._path) and importlib.util.find_spec(top) is None:
                yield top

    def _is_unknown_import(self, node):
        """Whether a call imports a module whose name, or the package that it lies in, is not written down."""
        start = imported_by_call(node)
        if start is None or (start and not start.endswith(".")):
            return False
        return not start or not self._sources.has(start.partition(".")[0], self._path)

    def _import(self, alias):
        top, _, rest = alias.name.partition(".")
        if top == "tensorflow":
            return rest if alias.asname else ""
        name = alias.name if alias.asname else top
        file = self._sources.module(name, self._path)
        return _Module(name, file) if file or self._sources.module(alias.name, self._path) else None

    def _from(self, node, name):
        if not node.level and node.module and node.module.partition(".")[0] == "tensorflow":
            rest = node.module.partition(".")[2]
            return f"{rest}.{name}" if rest else name
        module = f"{node.module}.{name}" if node.module else name
        file = self._sources.module(module, self._path, node.level)
        if file is not None:
            return _Module(module, file)
        file = self._own(node)
        return self._sources.names(file).get(name) if file else None

    def _own(self, node):
        """The file of the module of the script that a ``from`` names; None if it is not the script's."""
        return self._sources.module(node.module or "", self._path, node.level)


def _and_above(name):
    """A name below ``tensorflow``, and those above it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _asks_for_a_name(node):
    """Whether a part of a condition asks whether something has a name: ``hasattr(tf, ...)`` or ``... in dir(tf)``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "dir")


@dataclasses.dataclass(frozen=True)
class _Module:
    """A module of the script; ``file`` is None for a folder without an __init__.py."""

    name: str
    file: str | None
