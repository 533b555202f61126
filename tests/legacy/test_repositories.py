"""What stopped whole repositories of 2016 to 2019: their folders, flags, files, and Python 2 that Python 3 compiles."""

import logging
import os
import sys
import textwrap

import pytest
from absl import flags

from tf1bn.legacy import own_modules, run_script


@pytest.fixture
def play(tmp_path, capsys):
    """A function that runs a source, and returns its status, stdout and stderr."""

    def run(source, *args, **options):
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source).lstrip(), encoding="utf-8")
        return run_script(str(script), args, **options), *capsys.readouterr()

    return run


@pytest.mark.parametrize("spelled", ["{0}", "{0}/", "{0}//", ".", "./", "../{1}", ""])
def test_folders_of_pythonpath_are_the_scripts_however_they_are_spelled(spelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"/nowhere:{spelled.format(tmp_path, tmp_path.name)}")
    # Python makes absolute paths of the entries.
    monkeypatch.setattr(sys, "path", [str(tmp_path / "tools"), "/nowhere", str(tmp_path), *sys.path])
    own = own_modules.own_folders(str(tmp_path / "tools"))
    assert own(str(tmp_path / "nets"))
    assert own(str(tmp_path / "tools"))
    assert not own(str(tmp_path.parent))
    assert not own(os.path.dirname(os.__file__))


@pytest.mark.parametrize("spelled", [".", "{}", "./"])
def test_a_folder_that_the_script_adds_is_its_own_though_it_was_there(spelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "tools"), str(tmp_path), *sys.path])
    own = own_modules.own_folders(str(tmp_path / "tools"))
    assert not own(str(tmp_path / "nets"))
    sys.path.insert(0, spelled.format(tmp_path))
    assert own(str(tmp_path / "nets"))


def test_a_package_that_is_a_link_in_the_scripts_folder_is_its_own(play, tmp_path, tmp_path_factory):
    """Its modules are Python 2 like the script, also those that import their neighbours without a dot."""
    shared = tmp_path_factory.mktemp("shared")
    (shared / "__init__.py").write_text("")
    (shared / "small.py").write_text("import neighbour\nhalf = neighbour.width / 2\n")
    (shared / "neighbour.py").write_text("width = 5\nprint 'neighbour'\n")
    (tmp_path / "nets").symlink_to(shared)
    assert play("from nets import small\nprint small.half\n")[:2] == (0, "neighbour\n2\n")


@pytest.mark.parametrize("name", ["log_dir", "v", "verbosity"])
def test_the_flags_of_a_script_win(play, name):
    before = {flag: flags.FLAGS[flag] for flag in flags.FLAGS}
    overrides = {flag: value.allow_override for flag, value in before.items()}
    source = f"""
        import tensorflow as tf
        tf.app.flags.DEFINE_string({name!r}, "mine", "")
        def main(_):
            print(tf.app.flags.FLAGS.{name})
        tf.app.run(main)
        """
    assert play(source)[:2] == (0, "mine\n")
    assert play(source, f"--{name}=other")[:2] == (0, "other\n")
    assert {flag: flags.FLAGS[flag] for flag in flags.FLAGS} == before
    assert {flag: flags.FLAGS[flag].allow_override for flag in flags.FLAGS} == overrides


def test_flags_are_read_when_the_script_asks_for_one(play):
    """Not when it takes hold of them, which many do before they define one."""
    source = """
        from tensorflow.python.platform import flags
        from tensorflow.python.platform.flags import FLAGS
        kept = flags.FLAGS
        flags.DEFINE_string("of_this_test", "mine", "")
        print(kept.of_this_test, FLAGS.of_this_test)
        """
    assert play(source, "--of_this_test=other")[:2] == (0, "other other\n")


def test_the_module_that_is_missing_is_named(play, tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("")
    (tmp_path / "pkg/mod.py").write_text("import not_installed_anywhere\n")
    status, _, err = play("from pkg import mod")
    assert status == 1
    assert err.splitlines()[-1] == "ModuleNotFoundError: No module named 'not_installed_anywhere'"
    (tmp_path / "pkg/not_installed_anywhere.py").write_text("import nor_is_this\n")
    assert play("from pkg import mod")[2].splitlines()[-1] == "ModuleNotFoundError: No module named 'nor_is_this'"


HALVES = """
    layers = map(int, "7,5".split(","))
    for i in range(len(layers)): print(layers[i] / 2)
    """


@pytest.mark.parametrize("line", ["#!/usr/bin/python2", "#!/usr/bin/env python2.7", "#! /opt/bin/python2 -u"])
def test_a_first_line_says_that_a_script_is_python_2(play, line):
    assert play(f"{line}\n{textwrap.dedent(HALVES)}") == (0, "3\n2\n", "")


def test_an_option_says_that_a_script_is_python_2(play):
    assert play(HALVES, python2=True) == (0, "3\n2\n", "")
    assert play(f"#!/usr/bin/python3\n{textwrap.dedent(HALVES)}")[0] == 1


def test_an_image_is_read_as_text_in_python_2(play, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"text\n\xff\xd8\xff\xe0 no text")
    (tmp_path / "a.txt").write_text("text")
    source = """
        import tensorflow as tf
        from tensorflow.python.platform import gfile
        for path, kind in (("a.jpg", tf.gfile.FastGFile), ("a.jpg", gfile.Open), ("a.txt", tf.gfile.GFile)):
            with kind(FOLDER + path, "r") as file:
                print repr(file.read(6)), repr(file.read()), repr(file.read())
        """.replace("FOLDER", repr(f"{tmp_path}/"))
    image = "b'text\\n\\xff' b'\\xd8\\xff\\xe0 no text' ''\n"
    assert play(source) == (0, f"{image}{image}'text' '' ''\n", "")


def test_strings_reach_a_py_func_as_str_in_python_2(play):
    source = """
        import tensorflow as tf
        def load(name, names, number, raw):
            assert names[0].endswith("b") and number == 2
            return name.replace("wav", "npy"), raw
        out = tf.py_func(load, [tf.constant("a.wav"), tf.constant(["ab", "cb"]), 2, b"\\xff"], [tf.string, tf.string])
        with tf.Session() as sess:
            print sess.run(out)
        """
    assert play(source) == (0, "['a.npy', '\\xff']\n", "")


def test_fetched_strings_are_those_of_python_2(play):
    """They print and mix as the ``str`` of Python 2 did, and are still bytes for TensorFlow."""
    source = """
        import tensorflow as tf
        tf.summary.scalar("a", 1.0)
        names = tf.constant(["a.jpg", "b.png"])
        with tf.Session() as sess:
            first, both, merged = sess.run([names[0], {"all": names, 1: (names[1],)}, tf.summary.merge_all()])
            print first, [first], "%s and %r" % (first, first), "{}".format(first), str(first)
            print both["all"], both[1], first == "a.jpg", first != "a.jpg", {"a.jpg": 1}[first], first in ["a.jpg"]
            print first + "x", "x" + first, first.split("."), first.split(b"."), first.upper(), "." in first
            print sess.run(tf.string_join([first, both["all"][1]])), first.endswith((".jpg", "c")), list(first)[0]
            print tf.Summary.FromString(merged).value[0].simple_value, first[0], names[1].eval()
        """
    status, out, err = play(source)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "a.jpg ['a.jpg'] a.jpg and 'a.jpg' a.jpg a.jpg",
        "['a.jpg' 'b.png'] ('b.png',) True False 1 True",
        "a.jpgx xa.jpg ['a', 'jpg'] ['a', 'jpg'] A.JPG True",
        "a.jpgb.png True a",
        "1.0 a b.png",
    ]


def test_an_array_of_several_elements_wants_an_index(play):
    for call, error in (("itemset(5)", "can only convert an array of size 1"), ("itemset()", "at least one argument")):
        status, _, err = play(f"import numpy as np\nnp.zeros(3).{call}\n")
        assert status == 1
        assert error in err.splitlines()[-2]


def test_a_depth_multiplier_may_be_a_float(play):
    source = """
        import tensorflow as tf
        from tensorflow.contrib import slim
        x = tf.placeholder(tf.float32, [2, 8, 8, 4])
        for n in (None, 6):
            print(slim.separable_conv2d(x, n, [3, 3], depth_multiplier=2.0).shape.as_list())
        slim.separable_conv2d(x, 6, [3, 3], depth_multiplier=1.5)
        """
    status, out, err = play(source)
    assert (status, out) == (1, "[2, 8, 8, 8]\n[2, 8, 8, 6]\n")
    assert "ValueError: Ambiguous dimension: 1.5." in err


def test_the_log_of_the_script_ends_with_its_last_line(play, caplog):
    caplog.set_level(logging.INFO)
    assert play("import logging, tensorflow as tf\nlogging.info('the last line')")[0] == 0
    assert [record.message for record in caplog.records] == ["the last line"]
