"""Which sources are Python 2, and what their translation computes; expected values are what Python 2.7 printed."""

import builtins
import warnings

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tf1bn.errors import CommandError
from tf1bn.legacy import python2_semantics, python2_translation

ARRAYS = "[0 0 1 1] [0 0 1 1] [0.  0.  0.5 0.5] [0 0 1 1]\n"


# cPickle.dumps(["caf\xe9"], 2) of Python 2.7.
PICKLES = r"""
import cPickle as p
from pickle import loads
s = b'\x80\x02]q\x01U\x04caf\xe9q\x02a.'
print p.loads(s), loads(s)
"""
DIVIDES = """
class A(object):
    def __div__(self, b): return 'div'
    __rdiv__ = __div__
x = A()
print x / 1, 1 / x,
x /= 2
print x
"""


def printed(source, capsys):
    data = source if isinstance(source, bytes) else source.encode()
    exec(
        python2_translation.compiled(data, "old.py"),
        {"__builtins__": {**vars(builtins), **python2_translation.BUILTINS}, "np": np},
    )
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("print 'a', 1", "a 1\n"),
        ("print 7 / 2, -7 / 2, 7 / 2., 7. // 2", "3 -4 3.5 3.0\n"),
        ("print True / 2, 2 ** 40 / 3", "0 366503875925\n"),
        ("from __future__ import division\nprint 7 / 2", "3.5\n"),
        ("x = 7\nx /= 2\nprint x", "3\n"),
        ("x = [7.0]\nx[0] /= 2\nprint x", "[3.5]\n"),
        ("class A: pass\na = A()\na.b = 7\na.b /= 2\nprint a.b", "3\n"),
        ("a = np.arange(4)\nb = a\na /= 2\nprint a, b, a / 2., a / np.int64(1)", ARRAYS),
        ("a = np.ones(2)\nb = a\na /= 2\nprint b", "[0.5 0.5]\n"),
        ("print [x for x in xrange(3)], range(2), map(str, [1]), zip([1], [2])", "[0, 1, 2] [0, 1] ['1'] [(1, 2)]\n"),
        ("d = {1: 2}\nprint d.has_key(1), d.keys(), list(d.iteritems())", "True [1] [(1, 2)]\n"),
        ("print reduce(lambda a, b: a * b, [2, 3]), 0777, u'\\u4e2d', 10L", "6 511 中 10\n"),
        ("def f(a, (b, c)):\n    print a, b, c\nf(1, (2, 3))", "1 2 3\n"),
        ("try:\n    raise ValueError, 'no'\nexcept ValueError, e:\n    print e", "no\n"),
        ("import cPickle, StringIO\nprint(cPickle.loads(cPickle.dumps(3)))", "3\n"),
        ("if 1:\n\tprint 'tab'\n        print 'spaces'", "tab\nspaces\n"),
        ("# 注释\nprint '中文'", "中文\n"),
        ("# -*- coding: gbk -*-\nprint '中文'".encode("gbk"), "中文\n"),
        ("\ufeffprint 'mark'", "mark\n"),
        ("print 'crlf'\r\nprint 2\r\n", "crlf\n2\n"),
        ("from __future__ import print_function\nprint('a', end='!')\nxrange(1)", "a!"),
        ("print('both', end='!')\nexec 'x = 3'\nprint(x)", "both!3\n"),
        ("print '\\d'", "\\d\n"),
        ("x = [7, 8]\nx[int('0')] /= 2\nx[:int('1')][0] /= 2\nprint x", "[3, 8]\n"),
        ("a = np.arange(6).reshape(2, 3)\na[int('1'), :2] /= 2\na[int('1'):, 2] /= 2\nprint a[1]", "[1 2 2]\n"),
        ("c = []\ndef f():\n    c.append(1)\n    return [9]\nf()[0] /= 2\nprint c", "[1]\n"),
        ("print round(2.5), round(-0.5), round(3), round(1.005, 2), round(1250, -2)", "3.0 -1.0 3.0 1.0 1300.0\n"),
        ("print round(2.675, 2), round(float('inf')), round(0.49999999999999994)", "2.67 inf 0.0\n"),
        ("def round(x): return 'own'\nprint round(2.5)", "own\n"),
        ("exec 'print 7 / 2'\nd = {}\nexec 'x = 7 / 2' in d\nprint d['x']", "3\n3\n"),
        ("exec compile('print 7 / 2', '', 'exec')", "3\n"),
        ("import sys\nreload(sys)\nsys.setdefaultencoding('utf-8')\nprint 1", "1\n"),
        ("print cmp(2, 1), sorted([3, 1, 2], cmp=lambda a, b: cmp(b, a))", "1 [3, 2, 1]\n"),
        (PICKLES, "['caf\xe9'] ['caf\xe9']\n"),
        (DIVIDES, "div div div\n"),
    ],
)
def test_what_python_2_prints(source, output, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert printed(source, capsys) == output


def test_integer_tensors_divide_as_in_python_2():
    with tf.Graph().as_default(), tf.Session() as session:
        integers, floats = tf.constant([7, -7]), tf.constant([7.0])
        assert session.run(python2_semantics.divide(integers, 2)).tolist() == [3, -4]
        assert session.run(python2_semantics.divide(floats, 2)).tolist() == [3.5]
        assert session.run(python2_semantics.divide(2, integers)).tolist() == [0, -1]
        size = tf.Dimension(7)
        assert [python2_semantics.divide(size, 2), python2_semantics.divide_in_place(size, 2)] == [3, 3]


@pytest.mark.parametrize(
    "source",
    [
        "print('a', 7 / 2)",
        "try:\n    xrange\nexcept NameError:\n    xrange = range\nfor i in xrange(3 / 2): pass",
        "try:\n    import cPickle as pickle\nexcept ImportError:\n    import pickle\nx = 1 / 2",
        "import sys\nif sys.version_info[0] < 3:\n    range = xrange\nx = 1 / 2",
        "import six\nfor k in six.iteritems({}):\n    unicode",
        "from builtins import range\nunicode = str\nx = 1 / 2",
        "def reduce(x): return x / 2\nreduce(3)",
        "x.iteritems(1)",
        "from .Queue import x",
    ],
)
def test_a_python_3_source_is_not_touched(source):
    code = python2_translation.compiled(source.encode(), "new.py")
    assert code == compile(source, "new.py", "exec")


@pytest.mark.parametrize("source", ["unicode", "x.iteritems()", "import urllib2", "reload(x)", "x.has_key(1)"])
def test_what_only_python_2_has(source, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fissix", None)
    with pytest.raises(
        CommandError, match=r"old\.py is not Python 3 \(line 2: Python 3 has no .*\)\. If it is Python 2"
    ):
        python2_translation.compiled(f"#\n{source}\n".encode(), "old.py")


def test_a_package_imports_its_neighbours_without_a_dot(tmp_path):
    for name in ("__init__", "near", "old"):
        (tmp_path / f"{name}.py").write_text("")
    source = b"import near\nprint near"
    path = str(tmp_path / "old.py")
    assert python2_translation.compiled(source, path, in_package=True).co_names[:1] == ("",)
    # A script in a folder with an __init__.py is in no package.
    assert python2_translation.compiled(source, path).co_names[:1] == ("near",)


@pytest.mark.parametrize("source", [b"a = b c", b"print 'a'\ndef", b"print '\xfc'", b"x = '\0"])
def test_what_is_neither_raises_what_python_raises(source):
    with pytest.raises((SyntaxError, ValueError)) as seen:
        python2_translation.compiled(source, "old.py")
    with pytest.raises((SyntaxError, ValueError)) as wanted:
        compile(source, "old.py", "exec")
    assert str(seen.value) == str(wanted.value)


def test_lines_are_those_of_the_source():
    # 2to3 puts an import before the first line here, and a second line in the place of the fourth.
    source = "'''Text.'''\n\nx = reduce\nfrom urllib2 import urlopen, HTTPError\nprint 1\ny = [a /\n     b]\nz = 1\n"
    code = python2_translation.compiled(source.encode(), "old.py")
    lines = {}
    for start, end, line in code.co_lines():
        for index in range(start, end, 2):
            lines[index] = line
    import dis

    seen = {op.argval: lines[op.offset] for op in dis.get_instructions(code) if op.opname.startswith("STORE_NAME")}
    assert {name: seen[name] for name in ("x", "urlopen", "y", "z")} == {"x": 3, "urlopen": 4, "y": 6, "z": 8}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"main.py": "x = 1 / 2"}, False),
        ({"main.py": "print 1"}, True),
        ({"main.py": "a = b c"}, False),
        ({"main.py": "import a", "a.py": "from p.q import c", "p/__init__.py": "", "p/q.py": "xrange(3)"}, True),
        ({"main.py": "from p import q", "p/__init__.py": "", "p/q.py": "from . import r", "p/r.py": "print 1"}, True),
        ({"main.py": "import p.q", "p/__init__.py": "import near", "p/near.py": "print 1", "p/q.py": ""}, True),
        ({"main.py": "def f():\n    import a", "a.py": "import main, a, nowhere, os"}, False),
        ({"main.py": "import a", "a.py": "a = b c", "other.py": "print 1"}, False),
        ({"main.py": "import six, a", "a.py": "print 1"}, False),
        ({"main.py": "import sys, b\nsys.path.append('lib')\nimport a", "b.py": "", "lib/a.py": "print 1"}, True),
        ({"main.py": "import b, a", "b.py": "import sys\nsys.path.insert(0, 'lib')", "lib/a.py": "print 1"}, True),
        ({"main.py": "import sys\nsys.path.append('lib')\nimport a", "other/a.py": "print 1"}, False),
    ],
)
def test_which_scripts_are_python_2(tmp_path, files, expected):
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    source = files["main.py"].encode()
    assert python2_translation.is_python2(source, str(tmp_path / "main.py"), str(tmp_path)) is expected


def test_what_either_python_takes_is_python_2_in_a_script_that_is(capsys):
    source = b"print('a', 7 / 2)"
    own = {"__builtins__": {**vars(builtins), **python2_translation.BUILTINS}}
    for python2, output in [(False, "a 3.5\n"), (True, "('a', 3)\n")]:
        exec(python2_translation.compiled(source, "new.py", python2=python2), dict(own))
        assert capsys.readouterr().out == output
    both = b"import sys\nif sys.version_info[0] == 2: pass\nx = 1 / 2"
    assert python2_translation.compiled(both, "new.py", python2=True) == compile(both, "new.py", "exec")
