"""Argument scopes, with the rules of contrib.framework."""

import threading

import pytest

import tf1bn
from tf1bn.layers.arg_scopes import add_arg_scope, arg_scope, has_arg_scope


@add_arg_scope
def first(x, a=1, b=2):
    return x, a, b


@add_arg_scope
def second(x, a=10):
    return x, a


def test_defaults_apply_inside_the_block_only():
    with arg_scope([first], a=5):
        assert first(0) == (0, 5, 2)
        assert second(0) == (0, 10)
    assert first(0) == (0, 1, 2)


def test_a_keyword_in_the_call_wins():
    with arg_scope([first], a=5):
        assert first(0, a=6) == (0, 6, 2)


def test_a_positional_argument_that_the_scope_also_gives_is_refused():
    with arg_scope([first], a=5), pytest.raises(TypeError, match="multiple values"):
        first(0, 6)


def test_nested_scopes_add_and_override():
    with arg_scope([first, second], a=5):
        with arg_scope([first], a=6, b=7):
            assert first(0) == (0, 6, 7)
            assert second(0) == (0, 5)
        assert first(0) == (0, 5, 2)


def test_a_scope_can_be_taken_up_again():
    with arg_scope([first], a=5) as saved:
        pass
    with arg_scope([first], a=9, b=9), arg_scope(saved):
        assert first(0) == (0, 5, 2)


def test_an_exception_leaves_no_defaults_behind():
    with pytest.raises(ZeroDivisionError), arg_scope([first], a=5):
        raise ZeroDivisionError
    assert first(0) == (0, 1, 2)


def test_defaults_belong_to_their_thread():
    seen = []
    with arg_scope([first], a=5):
        thread = threading.Thread(target=lambda: seen.append(first(0)))
        thread.start()
        thread.join()
    assert seen == [(0, 1, 2)]


def test_refusals():
    with pytest.raises(ValueError, match=r"takes no defaults.*add_arg_scope"), arg_scope([len], a=1):
        pass
    with arg_scope([first], a=5) as saved:
        pass
    with pytest.raises(ValueError, match="together with a"), arg_scope(saved, a=1):
        pass
    with pytest.raises(TypeError, match=r"`list_ops_or_scope` is .*it must be a list"), arg_scope(first, a=1):
        pass


def test_batch_norm_takes_defaults_under_every_name():
    assert has_arg_scope(tf1bn.batch_norm)
    assert tf1bn.contrib.layers.batch_norm is tf1bn.batch_norm
    assert tf1bn.contrib.framework.arg_scope is arg_scope
