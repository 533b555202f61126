"""Calls of functions, as TensorFlow 2 makes them, in the form of TF 1.x: bodies in their callers' places.

An If becomes a Switch for each of its arguments and a Merge for each result, and a While what tf.while_loop made of one
in TF 1.x, so that what looks for batch norms there sees these too. Functions that call themselves stay what they are.
"""

from .attributes import value
from .wire import MOST_NODES, Node, attribute_values

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_IFS = ("If", "StatelessIf")
_LOOPS = ("While", "StatelessWhile")
# The numbers of values that have names, where a body says "node:name:0"; others have one list or one value.
_OUTPUTS = {
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    ),
    **dict.fromkeys(("Switch", "RefSwitch"), ("output_false", "output_true")),
    **dict.fromkeys(("Merge", "RefMerge"), ("output", "value_index")),
}
# Two named outputs of an operation that is not in the table lie this far apart, since their numbers are not known.
_APART = 256


def inlined(nodes, functions):
    """The nodes of a graph with the bodies of functions in the place of their calls.

    Args:
      nodes: a list of `wire.Node`.
      functions: dict from names to `wire.Function`.

    Returns:
      A list of `wire.Node`, ``nodes`` itself where nothing is called, and the set of the names of those that are in
      functions.
    """
    if not functions:
        return nodes, set()
    found = _Inliner(functions).expand(nodes, ())[0]
    return found, {node.name for node in found} - {node.name for node in nodes}


class _Inliner:
    def __init__(self, functions):
        self._functions, self._made, self._count = functions, 0, 0

    def expand(self, nodes, around):
        """``nodes`` with their calls replaced, and a dict from the texts of what these returned to new ones.

        ``around`` are the names of the functions that the nodes are in.
        """
        found, renamed = [], {}
        for node in nodes:
            made = self._call(node, around)
            if made is None:
                found.append(node)
                continue
            body, outputs = made
            found += body
            for i, name in enumerate(outputs):
                renamed[f"{node.name}:{i}"] = name
            if outputs:
                renamed[node.name] = outputs[0]
        self._count += len(found)
        if self._count > 4 * MOST_NODES:
            raise ValueError(f"its functions have more than {4 * MOST_NODES} nodes where they are called")
        if renamed:
            for node in found:
                node.inputs = [renamed.get(text, text) for text in node.inputs]
        return found, renamed

    def _call(self, node, around):
        """The nodes in the place of a call and the names of its results; None if it is no call that is replaced."""
        if node.type in _CALLS:
            name = self._name(node, "f")
        elif node.type in self._functions:
            name = node.type
        elif node.type in _IFS and node.inputs:
            names = [self._name(node, key) for key in ("then_branch", "else_branch")]
            if any(self._opaque(one, around, len(node.inputs) - 1) for one in names):
                return None
            return self._choose(node, names, around)
        elif node.type in _LOOPS:
            names = [self._name(node, key) for key in ("cond", "body")]
            if any(self._opaque(one, around, len(node.inputs)) for one in names):
                return None
            return self._repeat(node, names, around)
        else:
            return None
        if self._opaque(name, around, len(node.inputs)):
            return None
        body, results, controls = self._body(node.name, name, node.inputs, around)
        before = [*controls, *node.controls]
        outputs = [Node(f"{node.name}/result_{i}", "Identity", [text], before, b"") for i, text in enumerate(results)]
        last = Node(node.name, "NoOp", [], [*before, *(one.name for one in outputs)], b"")
        return [*body, *outputs, last], [one.name for one in outputs]

    def _name(self, node, key):
        found = value(attribute_values(node.attributes).get(key, b""))
        return found if isinstance(found, str) else ""

    def _opaque(self, name, around, count):
        function = self._functions.get(name)
        return function is None or name in around or len(function.inputs) != count

    def _body(self, prefix, name, arguments, around):
        """The nodes of one call, the texts of its results and the names of its controls."""
        function = self._functions[name]
        self._made += 1
        prefix = f"{prefix}/{self._made}"
        given = dict(zip(function.inputs, arguments, strict=True))
        types = {node.name: node.type for node in function.nodes}
        seen = {}

        def meant(text):
            first, _, rest = text.partition(":")
            if first not in types:
                if first not in given:
                    raise ValueError(f"the function {name!r} has the input {text!r}, which is not there")
                return given[first]
            word, _, index = rest.rpartition(":")
            index = int(index) if index.isdecimal() else 0
            return f"{prefix}/{first}:{_number(types[first], word, seen.setdefault(first, [])) + index}"

        nodes = [
            Node(
                f"{prefix}/{node.name}",
                node.type,
                [meant(text) for text in node.inputs],
                [f"{prefix}/{one}" for one in node.controls if one in types],
                node.attributes,
            )
            for node in function.nodes
        ]
        results = [meant(text) for text in function.outputs]
        controls = [f"{prefix}/{one}" for one in function.controls if one in types]
        body, renamed = self.expand(nodes, (*around, name))
        return body, [renamed.get(text, text) for text in results], controls

    def _choose(self, node, names, around):
        """An If as Switch and Merge."""
        condition, arguments = node.inputs[0], node.inputs[1:]
        pivot = Node(f"{node.name}/pivot", "Switch", [condition, condition], list(node.controls), b"")
        found = [pivot]
        for i, text in enumerate(arguments):
            found.append(Node(f"{node.name}/switch_{i}", "Switch", [text, condition], list(node.controls), b""))
        ends = {}
        for way, name in ((1, names[0]), (0, names[1])):
            given = [f"{node.name}/switch_{i}:{way}" for i in range(len(arguments))]
            body, results, controls = self._body(f"{node.name}/{('else', 'then')[way]}", name, given, around)
            here = Node(f"{node.name}/way_{way}", "Identity", [f"{pivot.name}:{way}"], [], b"")
            done = Node(f"{node.name}/done_{way}", "Identity", [here.name], controls, b"")
            passed = [
                Node(f"{node.name}/passed_{way}_{i}", "Identity", [text], [here.name, *controls], b"")
                for i, text in enumerate(results)
            ]
            found += [*body, here, done, *passed]
            ends[way] = [done.name, *(one.name for one in passed)]
        if len(ends[0]) != len(ends[1]):
            raise ValueError(f"the two branches of {node.name!r} have different numbers of results")
        merges = [
            Node(f"{node.name}/merge_{i}", "Merge", [ends[0][i], ends[1][i]], [], b"") for i in range(len(ends[0]))
        ]
        last = Node(node.name, "NoOp", [], [one.name for one in merges], b"")
        return [*found, *merges, last], [one.name for one in merges[1:]]

    def _repeat(self, node, names, around):
        """A While as Enter, Merge, Switch, NextIteration and Exit; None where nothing changes in the loop."""
        condition, body = names
        unchanged = [self._gives_on(body, i) for i in range(len(node.inputs))]
        if all(unchanged):
            return None
        end, found, during, given, outputs = f"{node.name}/loop_cond", [], [], [], []
        for i, text in enumerate(node.inputs):
            enter, merge, switch = (f"{node.name}/{word}_{i}" for word in ("enter", "merge", "switch"))
            found.append(Node(enter, "Enter", [text], list(node.controls), b""))
            if unchanged[i]:
                during.append(enter)
                given.append(enter)
                outputs.append(Node(f"{node.name}/exit_{i}", "Identity", [text], [], b""))
                continue
            found.append(Node(merge, "Merge", [enter, f"{node.name}/next_{i}"], [], b""))
            found.append(Node(switch, "Switch", [merge, end], [], b""))
            during.append(merge)
            given.append(f"{switch}:1")
            outputs.append(Node(f"{node.name}/exit_{i}", "Exit", [switch], [], b""))
        asked, answers, _ = self._body(f"{node.name}/cond", condition, during, around)
        if len(answers) != 1:
            raise ValueError(f"the condition {condition!r} of a loop has {len(answers)} results in the place of one")
        done, results, controls = self._body(f"{node.name}/body", body, given, around)
        found += [*asked, Node(end, "LoopCond", answers, [], b""), *done]
        for i, text in enumerate(results):
            if not unchanged[i]:
                passed = Node(f"{node.name}/passed_{i}", "Identity", [text], controls, b"")
                found += [passed, Node(f"{node.name}/next_{i}", "NextIteration", [passed.name], [], b"")]
        last = Node(node.name, "NoOp", [], [*node.controls, *(one.name for one in outputs)], b"")
        return [*found, *outputs, last], [one.name for one in outputs]

    def _gives_on(self, name, index):
        """Whether a function with as many results as arguments returns one of these as it is."""
        function = self._functions[name]
        if len(function.outputs) != len(function.inputs):
            raise ValueError(f"the body {name!r} of a loop has not as many results as arguments")
        nodes = {node.name: node for node in function.nodes}
        text, steps = function.outputs[index], 0
        while (node := nodes.get(text.partition(":")[0])) is not None and steps <= len(nodes):
            if node.type != "Identity" or not node.inputs:
                return False
            text, steps = node.inputs[0], steps + 1
        return text == function.inputs[index]


def _number(kind, word, seen):
    """The number of the first value of the output called ``word`` of an operation of this type."""
    named = _OUTPUTS.get(kind)
    if named is not None:
        return named.index(word) if word in named else 0
    if word not in seen:
        seen.append(word)
    return _APART * seen.index(word)
