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


def named(saved):
    """The names of the tensors of a file, and the notes about them."""
    tensors, notes, _ = state_dicts._state_dict(saved, "m.pt")
    return set(tensors), " ".join(notes)


def model(*names, channels=4):
    return {name: Tensor((channels,), "float32") for name in names}


AVERAGE = "/ExponentialMovingAverage"


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("around", ["model", "averages"])
def test_averages_have_the_names_of_the_model_whatever_wraps_one_of_them(wrapper, around):
    inside, outside = model("bn.running_mean", "bn.weight"), model(f"{wrapper}bn.running_mean", f"{wrapper}bn.weight")
    pair = (outside, inside) if around == "model" else (inside, outside)
    names, _ = named({"model": pair[0], "ema": {**pair[1], "n_averaged": Tensor((), "int64")}})
    assert names == {*pair[0], *(f"{name}{AVERAGE}" for name in pair[0]), f"n_averaged{AVERAGE}"}


def test_averages_with_another_decay_are_left_out():
    names, notes = named({"model": model("a"), "ema_0.99": model("a"), "ema_0.999": model("module.a")})
    assert names == {"a", f"a{AVERAGE}"}
    assert "under `ema_0.999` was taken for more averages and not judged" in notes


@pytest.mark.parametrize(
    "saved",
    [
        {"g": model("a"), "d": model("a"), "d_ema": model("a"), "g_ema": model("a")},
        {"g": model("a"), "d": model("a"), "ema": {"d": model("a"), "g": model("a")}},
        {"g": model("a"), "d": model("a", channels=5), "ema": model("a"), "ema_of_d": model("a", channels=5)},
    ],
    ids=["by keys", "nested", "by shapes"],
)
def test_averages_of_several_networks_belong_to_theirs(saved):
    names, notes = named(saved)
    assert names == {"g.a", "d.a", f"g.a{AVERAGE}", f"d.a{AVERAGE}"}
    assert "not judged" not in notes
