"""Methods and attributes that have left types: the source of the script is compiled with calls in their place.

Nothing can be lent to a type of C, and other packages are to see a type of Python as it is. So ``array.tostring()``
becomes a call with the same lines and columns, and so does ``dataset.value`` in a source that imports h5py.
"""

import ast
import re

from .table import ATTRIBUTES, METHODS

CALL, READ = "__tf1bn_old_method__", "__tf1bn_old_attribute__"
_ANY = re.compile(rb"\.\s*(?:%s)\s*\(" % "|".join(METHODS).encode())


def has_old_methods(data):
    """Whether a source, in bytes, may call one of the methods or read one of the attributes."""
    attributes = ((module.encode(), name.encode()) for name, (module, _) in ATTRIBUTES.items())
    return _ANY.search(data) is not None or any(module in data and name in data for module, name in attributes)


class OldMethods(ast.NodeTransformer):
    """Puts calls by the name `CALL` in the place of those of the methods, and by `READ` of reads of the attributes."""

    def __init__(self):
        self._attributes = set()

    def visit_Module(self, node):
        imports = [inner for inner in ast.walk(node) if isinstance(inner, (ast.Import, ast.ImportFrom))]
        names = [alias.name for inner in imports if isinstance(inner, ast.Import) for alias in inner.names]
        names += [inner.module or "" for inner in imports if isinstance(inner, ast.ImportFrom)]
        modules = {name.partition(".")[0] for name in names}
        self._attributes = {name for name, (module, _) in ATTRIBUTES.items() if module in modules}
        return self.generic_visit(node)

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if node.attr not in self._attributes or not isinstance(node.ctx, ast.Load):
            return node
        name, attribute = (
            ast.copy_location(one, node) for one in (ast.Name(READ, ast.Load()), ast.Constant(node.attr))
        )
        return ast.copy_location(ast.Call(name, [node.value, attribute], []), node)

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            method = node.func
            name = ast.copy_location(ast.Constant(method.attr), method)
            node.func = ast.copy_location(ast.Name(CALL, ast.Load()), method)
            node.args = [method.value, name, *node.args]
        return node
