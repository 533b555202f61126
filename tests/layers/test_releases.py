"""The table of releases, and the page that shows it."""

import json
import threading
from pathlib import Path

import pytest
import tiers
from golden.record import decay_one
from modes import played_in

import tf1bn
from tf1bn import releases
from tf1bn.layers import release_scope

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", [f"1.{minor}" for minor in range(16)])
def test_every_release_has_a_row(name):
    minor = int(name.split(".")[1])
    row = releases.get(name)
    # The three eras of a default call: 1.0-1.3, 1.4-1.7, 1.8-1.15.
    assert row.fused_default is (minor >= 4)
    assert row.float32_rate is (minor >= 8)
    assert row.epsilon_floor == (1.001e-5 if minor >= 4 else 0)
    assert int(row.since.split(".")[1]) <= minor
    assert row.name == name


@pytest.mark.parametrize("name", ["2.0", "1.16", "1", "one", "", "1.4.1.2", None])
def test_other_releases_are_refused(name):
    with pytest.raises(ValueError, match=r"`release` is .*; it must be a TensorFlow release from '1\.0' to '1\.15'"):
        releases.get(name)


def test_the_page_shows_the_table():
    assert releases.markdown() in (ROOT / "docs" / "releases.md").read_text(encoding="utf-8")


def test_a_release_holds_inside_its_block_and_blocks_nest():
    assert release_scope.current().name == "1.15"
    with tf1bn.release("1.3"):
        assert release_scope.current().name == "1.3"
        with tf1bn.release("1.8") as row:
            assert release_scope.current() is row
        assert release_scope.current().name == "1.3"
    assert release_scope.current().name == "1.15"


def test_an_error_inside_ends_the_release():
    with pytest.raises(KeyError), tf1bn.release("1.4"):
        raise KeyError
    assert release_scope.current().name == "1.15"


def test_a_decorated_function_runs_under_the_release():
    @tf1bn.release("1.2")
    def named(text):
        """What it says."""
        return text + release_scope.current().name

    assert (named("TF "), named("TF ")) == ("TF 1.2", "TF 1.2")
    assert (named.__name__, named.__doc__) == ("named", "What it says.")
    assert release_scope.current().name == "1.15"


def test_one_object_may_be_entered_twice():
    old = tf1bn.release("1.0")
    with old, tf1bn.release("1.9"), old:
        assert release_scope.current().name == "1.0"
    assert release_scope.current().name == "1.15"


def test_another_thread_has_its_own():
    seen = []
    with tf1bn.release("1.3"):
        thread = threading.Thread(target=lambda: seen.append(release_scope.current().name))
        thread.start()
        thread.join()
    assert seen == ["1.15"]


def _generator():
    yield


async def _coroutine():
    pass


@pytest.mark.parametrize("function", [_generator, _coroutine, int, 3])
def test_what_runs_elsewhere_is_not_decorated(function):
    with pytest.raises(TypeError, match=r"`tf1bn.release` decorates .*; it must decorate a plain function"):
        tf1bn.release("1.3")(function)


DECAY_ONE = json.loads((ROOT / "tests/golden/decay_one.json").read_text("ascii"))


@pytest.mark.parametrize("version", tiers.slow_but(["1.15.5"], DECAY_ONE))
def test_decay_1_and_a_batch_that_is_not_finite(version):
    """The graph optimizer of 1.7 and later removes the multiplication by 0, which NaN and infinity would survive."""
    import tensorflow as tf

    release = version.rpartition(".")[0]
    with played_in("reference"), tf1bn.release(release):
        assert decay_one.run(tf.compat.v1, tf1bn.batch_norm) == DECAY_ONE[version]
