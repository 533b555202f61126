"""Small files of PyTorch that mean many names: shared dicts, each way to which is a name. PyTorch is not needed."""

import pytest

from tf1bn.checkpoints.formats.torch import state_dicts
from tf1bn.checkpoints.formats.torch.tensors import Tensor
from tf1bn.errors import CheckpointError


def collected(value):
    tensors = state_dicts._Tensors("m.pt")
    tensors.collect(value)
    return tensors.dicts


def nested(width, levels, leaf):
    for _ in range(levels):
        leaf = {f"k{i}": leaf for i in range(width)}
    return leaf


def test_each_way_to_a_shared_dict_is_a_name():
    dicts = collected(nested(3, 2, {"w": Tensor((), "float32")}))
    assert sorted(map(".".join, dicts)) == [f"k{i}.k{j}" for i in range(3) for j in range(3)]


@pytest.mark.parametrize(
    ("width", "levels", "leaf", "text"),
    [
        (1000, 7, {}, "items in all"),
        (8, 7, {}, "items in all"),
        (400, 2, {"w": Tensor((), "float32"), "b": Tensor((), "float32")}, "tensors"),
        (1, 9, {}, "nested more than 8 deep"),
        (2, 2, {"w" * 2000: Tensor((), "float32")}, "a key of 2000 characters"),
    ],
)
def test_too_many_ways_are_refused_before_they_are_followed(width, levels, leaf, text):
    with pytest.raises(CheckpointError, match=text):
        collected(nested(width, levels, leaf))


def test_a_dict_in_itself_is_refused():
    value = {"w": Tensor((), "float32")}
    value["again"] = value
    with pytest.raises(CheckpointError, match="nested more than 8 deep"):
        collected(value)
