"""Traces of all ranks of a training: pooled statistics from the batches of all, and ranks that disagree."""

import json
import pickle
import shutil

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.cli import main as cli
from tf1bn.diagnosis import diagnose
from tf1bn.errors import TraceError
from tf1bn.ranks.audit import audit_ranks
from tf1bn.ranks.joined import Joined

RANKS, STEPS, CHANNELS, DECAY = 3, 4, 2, 0.9


def batch(step, rank):
    return np.random.default_rng([step, rank]).normal(rank, 1 + rank, (40, CHANNELS)).astype(np.float32)


def updates(of_batches, wrong_from=STEPS):
    """The statistics before and after each step, of a layer that pools these batches; with doubled means if wrong."""
    state = np.zeros(CHANNELS, np.float32), np.ones(CHANNELS, np.float32)
    for step in range(STEPS):
        values = np.concatenate(of_batches(step)).astype(np.float64)
        new = values.mean(axis=0) * (2 if step >= wrong_from else 1), values.var(axis=0)
        after = tuple(np.float32(DECAY * old + (1 - DECAY) * m) for old, m in zip(state, new, strict=True))
        yield state, after
        state = after


def entry(inputs, state, after, **more):
    names = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")
    return {"inputs": [inputs], **dict(zip(names, (*state, *after), strict=True)), **more}


def write(folder, *, numbers=True, wrong_rank=None, ranks=RANKS, steps=STEPS):
    """Traces with a pooled layer, "sync", and one of each rank's own, "own"; returns their paths in another order.

    ``wrong_rank`` does wrong updates of "sync" from step 2 on.
    """
    paths = []
    folder.mkdir(exist_ok=True)
    for rank in range(RANKS):
        origin = {"rank": rank, "ranks": ranks} if numbers else {}
        pooled = updates(lambda step: [batch(step, r) for r in range(RANKS)], 2 if rank == wrong_rank else STEPS)
        own = updates(lambda step, rank=rank: [batch(step, rank)])
        about = {"framework": "PyTorch", "framework_version": "2.13.0"}
        with trace.Writer(folder / f"rank{rank}", **origin, **about) as writer:
            for name in ("sync", "own"):
                writer.add_layer(name, decay=DECAY, epsilon=1e-3, fused=False, recurrence="weighted")
            for step, sync, alone in zip(range(steps), pooled, own, strict=False):
                given = batch(step, rank)
                shared = entry(given, *sync, reduction="pooled", replicas=[rank])
                writer.add_step({"sync": shared, "own": entry(given, *alone)}, training=True)
        paths.append(str(folder / f"rank{rank}"))
    return [paths[1], paths[0], paths[2]] if numbers else paths


def verdicts(result):
    return {layer["name"]: layer["verdict"] for layer in result["layers"]}


def test_pooled_layers_are_judged_by_all_batches_and_others_in_each_rank(tmp_path):
    paths = write(tmp_path)
    result = audit_ranks(paths)
    assert verdicts(result) == {"sync": "ok", "own": "ok", "own (rank 1)": "ok", "own (rank 2)": "ok"}
    assert result.ok
    assert result["about"] == {"framework": "PyTorch", "framework_version": "2.13.0"}
    assert result["problems"] == []
    (note,) = [note for note in result["notes"] if "rank" in note]
    assert note.startswith(
        "Each rank has statistics of its own, so that a checkpoint holds those of one rank: own: rank 1"
    )
    # One rank alone does not say it.
    assert verdicts(diagnose(paths[0]).result())["sync"] == "undecidable"


def test_it_is_the_verdict_of_the_joined_trace(tmp_path):
    paths = [str(tmp_path / f"rank{rank}") for rank in range(RANKS)]
    write(tmp_path)
    trace.join(paths, tmp_path / "joined")
    assert diagnose(Joined([trace.open(path) for path in paths])).to_json() == diagnose(tmp_path / "joined").to_json()


def test_layers_of_each_rank_s_own_need_no_other_trace(tmp_path, monkeypatch):
    """Without this the traces would be read as many times as there are ranks."""
    paths = write(tmp_path)
    whole = audit_ranks(paths)
    reads = []
    monkeypatch.setattr(trace.Trace, "__iter__", _counting(trace.Trace.__iter__, reads))
    result = audit_ranks(paths, layers=lambda names: ["own"])
    # Each for the steps that all ranks hold, for the comparison of the ranks and for its own verdict.
    assert sorted(reads.count(path) for path in paths) == [3, 3, 3]
    assert result["layers"] == [layer for layer in whole["layers"] if layer["name"].startswith("own")]


def _counting(iterate, reads):
    def counted(self):
        reads.append(self.path)
        return iterate(self)

    return counted


def test_a_rank_with_other_statistics_is_named_and_judged(tmp_path):
    result = audit_ranks(write(tmp_path, wrong_rank=2), layers=lambda names: ["sync"])
    assert verdicts(result) == {"sync": "ok", "sync (rank 2)": "finding"}
    assert not result.ok
    (wrong,) = [layer for layer in result["layers"] if layer["verdict"] == "finding"]
    assert (wrong["first"], wrong["first_step"]) == (True, 2)
    (note,) = [note for note in result["notes"] if note.startswith("The ranks share one update")]
    assert "and these differ: sync: rank 2 from step 2 on (its moving mean is" in note
    assert "in channel 0, and" in note


def test_ranks_that_say_no_number_are_counted(tmp_path):
    result = audit_ranks(write(tmp_path, numbers=False, wrong_rank=1))
    assert verdicts(result)["sync (rank 1)"] == "finding"


def test_a_rank_that_is_missing_is_no_success(tmp_path):
    result = audit_ranks(write(tmp_path)[:2])
    assert verdicts(result) == {"sync": "undecidable", "own": "ok", "own (rank 1)": "ok"}
    result = audit_ranks(write(tmp_path / "four", ranks=RANKS + 1), layers=lambda names: ["own"])
    assert set(verdicts(result).values()) == {"ok"}
    assert not result.ok
    assert result["problems"] == [
        "The training had 4 ranks, and traces of 3 were given: that of rank 3 is missing; give those of all of them."
    ]


@pytest.mark.parametrize(
    ("number", "ranks", "lacking"),
    [
        (7, RANKS, "had 8 ranks, and traces of 3 were given: that of rank 2, and of 4 more, is missing"),
        (3, None, "had 4 ranks, and traces of 3 were given: that of rank 2 is missing"),
        (2**60, RANKS, f"that of rank 2, and of {2**60 - 3} more, is missing"),
    ],
)
def test_a_gap_in_the_numbers_of_the_ranks_is_no_success(tmp_path, number, ranks, lacking):
    paths = write(tmp_path, ranks=ranks)
    settings = json.loads((tmp_path / "rank2/trace.json").read_text())
    (tmp_path / "rank2/trace.json").write_text(json.dumps({**settings, "rank": number}))
    result = audit_ranks(paths)
    assert not result.ok
    assert lacking in result["problems"][0]


def test_steps_that_not_all_ranks_hold_are_told(tmp_path):
    paths = write(tmp_path)
    assert not [note for note in audit_ranks(paths)["notes"] if "that all ranks hold" in note]
    lines = (tmp_path / "rank1/steps.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rank1/steps.jsonl").write_text("".join(lines[:1] + lines[2:]))
    result = audit_ranks(paths)
    assert "Of the 4 steps of rank 0, only the 3 that all ranks hold were checked." in result["notes"]


def test_ranks_without_a_common_step(tmp_path):
    paths = write(tmp_path)
    (tmp_path / "rank1/steps.jsonl").write_text("")
    result = audit_ranks(paths)
    assert not result.ok
    assert result["problems"] == ["The ranks' traces have no step in common."]


def test_what_is_no_training_of_several_ranks(tmp_path):
    paths = write(tmp_path)
    for given, error, text in (
        (paths[:1], ValueError, "1 trace was given for all ranks"),
        ([paths[0], f"{paths[0]}/"], TraceError, r"are the same trace; give that of each rank once\."),
    ):
        with pytest.raises(error, match=text):
            audit_ranks(given)
    shutil.copytree(paths[0], tmp_path / "copy")
    with pytest.raises(TraceError, match=r"are both of rank 1\."):
        audit_ranks([*paths, tmp_path / "copy"])
    settings = json.loads((tmp_path / "copy/trace.json").read_text())
    settings["layers"]["own"]["decay"] = 0.5
    (tmp_path / "copy/trace.json").write_text(json.dumps({**settings, "rank": 3}))
    with pytest.raises(TraceError, match="rank0' declare other settings for the layer 'own'"):
        audit_ranks([*paths, tmp_path / "copy"])
    with trace.Writer(tmp_path / "other", rank=7) as writer:
        writer.add_layer("bn", decay=DECAY, epsilon=1e-3)
    with pytest.raises(
        TraceError, match=r"not of one training: the layer 'bn' is in .*other' alone, and not in .*rank0'"
    ):
        audit_ranks([*paths, str(tmp_path / "other")])
    unnumbered = write(tmp_path / "unnumbered", numbers=False)
    with pytest.raises(TraceError, match="are the same trace"):
        audit_ranks([unnumbered[0], unnumbered[0]])
    with trace.Writer(tmp_path / "silent") as writer:
        writer.add_layer("bn", decay=DECAY, epsilon=1e-3)
    with pytest.raises(TraceError, match="does not say of which rank it is, and"):
        audit_ranks([*paths, str(tmp_path / "silent")])


@pytest.mark.parametrize("shared", [False, True])
def test_decays_of_applications_are_joined(tmp_path, shared):
    state, paths = (np.zeros(CHANNELS, np.float32), np.ones(CHANNELS, np.float32)), []
    for rank in range(2):
        paths.append(str(tmp_path / f"rank{rank}"))
        with trace.Writer(paths[-1], rank=rank, ranks=2) as writer:
            writer.add_layer("bn", decay=DECAY, epsilon=1e-3)
            decays = {"decay": None, "decays": [0.5, 0.75]} if rank == 0 or not shared else {"decay": 0.25}
            together = {"reduction": "mean", "replicas": [rank, rank]} if shared else {}
            given = entry(batch(0, rank), state, state, **decays, **together)
            writer.add_step({"bn": {**given, "inputs": [batch(0, rank), batch(1, rank)]}}, training=True)
    trace.join(paths, tmp_path / "joined")
    (step,) = trace.open(tmp_path / "joined")
    assert step.layers["bn"].decays == ((0.5, 0.75, 0.25, 0.25) if shared else (0.5, 0.75))


def test_a_joined_trace_can_be_sent_to_another_process(tmp_path):
    joined = Joined([trace.open(path) for path in write(tmp_path)], own=1)
    again = pickle.loads(pickle.dumps(joined))
    assert diagnose(again).to_json() == diagnose(joined).to_json()


def test_the_command(tmp_path, capsys):
    paths = write(tmp_path, wrong_rank=2)
    code = cli.main(
        ["audit", "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html"), "--ranks", *paths]
    )
    out = capsys.readouterr().out
    assert code == 1
    assert "sync (rank 2)" in out
    assert f"{tmp_path}/rank*: 5 layers: 1 finding" in "".join(out.splitlines()[-1:])
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["path"], result["exit_code"]) == (f"{tmp_path}/rank*", 1)
    assert "sync (rank 2)" in (tmp_path / "a.html").read_text()
    for arguments, text in (
        (["audit", paths[0], "--ranks", *paths], "Give either PATH"),
        (["audit"], "Give either PATH"),
        (["audit", "--ranks", paths[0]], "`--ranks`: 1 trace was given for all ranks; give those of two or more."),
        (["audit", "--values", "--ranks", *paths], "`--values` is not for traces"),
        (["audit", "--layer", "x", "--ranks", *paths], "`--layer` is 'x', which matches none of the 2 layers."),
        (["audit", "--json", f"{paths[0]}/a.json", "--ranks", *paths], "in the folder that is read as --ranks"),
    ):
        assert cli.main(arguments) == 2
        assert text in capsys.readouterr().err


def test_decays_of_applications_are_those_of_all_ranks(tmp_path):
    decays, state = ([0.5], None), (np.zeros(CHANNELS), np.ones(CHANNELS))
    for rank, of_rank in enumerate(decays):
        with trace.Writer(tmp_path / f"{rank}", rank=rank, ranks=2) as writer:
            writer.add_layer("bn", decay=0.25, epsilon=1e-3)
            more = {} if of_rank is None else {"decay": None, "decays": of_rank}
            shared = entry(batch(0, rank), state, state, reduction="pooled", replicas=[rank], **more)
            writer.add_step({"bn": shared}, training=True)
    (step,) = Joined([trace.open(tmp_path / name) for name in ("0", "1")])
    assert list(step.layers["bn"].decays) == [0.5, 0.25]
