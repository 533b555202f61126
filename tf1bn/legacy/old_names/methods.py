"""Calls of methods that have left types of C: the source of the script is compiled with calls of `call` in their place.

Nothing can be lent to a type of C, so ``array.tostring()`` becomes a call with the same lines and columns.
"""

import ast
import re

from .table import METHODS

CALL = "__tf1bn_old_method__"
_ANY = re.compile(rb"\.\s*(?:%s)\s*\(" % "|".join(METHODS).encode())


def has_old_methods(data):
    """Whether a source, in bytes, may call one of the methods."""
    return _ANY.search(data) is not None


class OldMethods(ast.NodeTransformer):
    """Puts calls by the name `CALL` in the place of those of the methods."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            method = node.func
            name = ast.copy_location(ast.Constant(method.attr), method)
            node.func = ast.copy_location(ast.Name(CALL, ast.Load()), method)
            node.args = [method.value, name, *node.args]
        return node
