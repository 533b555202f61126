"""Inputs that are read ahead: the same numbers, every step in its order, damage in its place, and no thread left."""

import signal
import threading

import numpy as np
import pytest
import tiers
from faulty import Layer, simulated, write
from own_threads import threads_left
from traces import foreign, put

from tf1bn import trace
from tf1bn._native import _moments
from tf1bn._util import threads as parallel
from tf1bn.checker import batch_moments, regression
from tf1bn.checker.prefetch import Prefetcher
from tf1bn.evidence import read_ahead
from tf1bn.evidence.step_view import View

SHAPES = [(1 << 18, 5), (300, 21, 33, 3), (40, 60_000), (5, 7, 1), (3000, 1100), (2, 2, 2, 512), (0, 4)]


def arrays(dtype=np.float32):
    rng = np.random.default_rng(7)
    for shape in SHAPES:
        yield rng.normal(rng.normal(2, 3, shape[-1]), 1.5, shape).astype(dtype)


def bits(moments):
    return [(one.count, one.mean.tobytes(), one.variance.tobytes()) for one in moments]


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("threads", tiers.slow_but([3], [0, 1, 3, None]))
def test_the_moments_are_those_of_each_batch(dtype, threads):
    batches = [(x, "NHWC") for x in arrays(dtype)]
    batches += [(np.ascontiguousarray(np.moveaxis(x, -1, 1)), "NCHW") for x, _ in batches]
    with Prefetcher() as ahead:
        # Two pieces at once, one behind the other in the same threads.
        pieces = [ahead.begin([(*batch, None) for batch in part], threads) for part in (batches[:5], batches[5:])]
        seen = [moments for piece in pieces for moments in piece.moments()]
    assert bits(seen) == bits(batch_moments(x, data_format=layout) for x, layout in batches)
    assert threads_left() == 0


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_the_line_in_the_same_pass_is_that_of_two(dtype):
    xs = [x for x in arrays(dtype) if x.size]
    rng = np.random.default_rng(8)
    ys = [(x * 1.5 + rng.normal(0, 0.1, x.shape)).astype(dtype) for x in xs]
    pairs = [regression.ArrayPair(x, y, -1) for x, y in zip(xs, ys, strict=True)]
    with Prefetcher() as ahead:
        moments = ahead.begin([(x, "NHWC", pair) for x, pair in zip(xs, pairs, strict=True)], 2).moments()
    # All but one, whose channels are shared out.
    assert [pair.sums is not None for pair in pairs] == [x.shape != (40, 60_000) for x in xs]
    for x, y, pair, one in zip(xs, ys, pairs, moments, strict=True):
        fits = regression.fit_line(x, y, -1, one, pair=pair), regression.fit_line(x, y, -1, one)
        for seen, wanted in zip(*fits, strict=True):
            np.testing.assert_allclose(seen, wanted, rtol=1e-10)


def test_every_step_comes_in_order(tmp_path, monkeypatch):
    layers = {
        "a": simulated(Layer(0.5), decay=0.5, shape=(9, 3), steps=5),
        "b": simulated(Layer(0.5), decay=0.5, shape=(4, 3, 2), steps=5, outputs=True),
        "c": simulated(Layer(0.5), decay=0.5, shape=(4, 2), steps=5, keep="moments"),
    }
    opened = write(tmp_path / "t", layers)
    wanted = [(step.number, name) for step in opened for name in (*step.layers, None)]
    for most in (1, 2, 4, 100):
        monkeypatch.setattr(read_ahead, "GROUP_LAYERS", most)
        found = list(read_ahead.read(opened, {"a", "b", "c"}, outputs=True))
        assert [(step.number, name) for step, name, _ in found] == wanted
        for step, name, view in found:
            if name is None:
                assert view is None
                continue
            assert bits(view.all_moments) == bits(View(step.layers[name]).all_moments)
            assert set(view.pairs) == ({0} if name == "b" else set())
    assert {name for _, name, _ in read_ahead.read(opened, {"b"})} == {"b", None}


def test_only_what_is_needed_is_read(tmp_path):
    more = {"decay": 0.5, "shape": (9, 3), "steps": 2, "training": lambda step: step == 0}
    opened = write(
        tmp_path / "t", {"quiet": simulated(Layer(0.5), **more), "seen": simulated(Layer(0.5), outputs=True, **more)}
    )
    read = {
        outputs: {
            (step.number, name)
            for step, name, view in read_ahead.read(opened, opened.layers, outputs)
            if view and view.measured
        }
        for outputs in (False, True)
    }
    assert read[False] == {(0, "quiet"), (0, "seen")}
    assert read[True] == read[False] | {(1, "seen")}


def test_moments_that_are_kept_are_not_made_again(tmp_path, monkeypatch):
    layers = {name: simulated(Layer(0.5), decay=0.5, shape=(9, 3), steps=4) for name in ("a", "b")}
    opened, kept = write(tmp_path / "t", layers), read_ahead.KeptMoments()
    first = {(step.number, name): view for step, name, view in read_ahead.read(opened, layers, kept=kept) if view}
    kept.drop_all_but({"b"})
    for step, name, view in read_ahead.read(opened, layers, kept=kept):
        if view:
            assert bits(view.all_moments) == bits(first[step.number, name].all_moments)
            assert (view.all_moments == first[step.number, name].all_moments) == (name == "b")
    # Room for three of them: 4 numbers of 8 bytes for each of 3 channels.
    monkeypatch.setattr(read_ahead, "KEPT_BYTES", 3 * 96)
    few = read_ahead.KeptMoments()
    steps = {step.number: step for step, name, _ in read_ahead.read(opened, {"a"}, kept=few)}
    assert [few.get(step, "a") is None for step in steps.values()] == [False, False, False, True]


@pytest.mark.parametrize("damage", ["file", "line"])
def test_damage_is_met_after_all_before_it(tmp_path, damage):
    head, lines = foreign(tmp_path / "t", steps=4)
    if damage == "file":
        (tmp_path / "t/arrays/2-in.npy").unlink()
    else:
        put(tmp_path / "t", head, [*lines[:2], {"step": "two"}, lines[3]])
    entries, seen = read_ahead.read(trace.open(tmp_path / "t"), {"bn"}), []
    with pytest.raises(trace.TraceError, match="2-in" if damage == "file" else "line 3"):
        seen.extend((step.number, name) for step, name, _ in entries)
    assert seen == [(0, "bn"), (0, None), (1, "bn"), (1, None)]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_so_many_groups_are_begun_before_the_first_is_needed(tmp_path, monkeypatch, ahead):
    begun = []

    class Noted(Prefetcher):
        def begin(self, batches):
            begun.append(len(batches))
            return super().begin(batches, threads=1)

    monkeypatch.setattr(read_ahead, "GROUP_LAYERS", 1)
    monkeypatch.setattr(read_ahead, "GROUPS_AHEAD", ahead)
    monkeypatch.setattr(read_ahead, "Prefetcher", Noted)
    opened = write(tmp_path / "t", {"a": simulated(Layer(0.5), decay=0.5, shape=(50_000, 3), steps=9)})
    entries = read_ahead.read(opened, {"a"})
    next(entries)
    # The end of a step is an entry of its own: a group without a batch.
    assert sum(begun) == (ahead + 2) // 2
    assert threads_left() == 1
    # A caller that stops leaves no thread.
    entries.close()
    assert threads_left() == 0


def test_the_caller_does_what_the_threads_could_not(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    x = next(arrays())
    with Prefetcher() as ahead:
        assert bits(ahead.begin([(x, "NHWC", None)], 4).moments()) == bits([batch_moments(x)])


def test_an_error_comes_out_of_the_end():
    def work():
        raise MemoryError

    background = parallel.BackgroundWork()
    piece = background.add(work, lambda: None, 2)
    with pytest.raises(MemoryError):
        piece.finish()
    # It does not end what comes after it.
    done = threading.Event()
    background.add(done.set, lambda: None, 2)
    assert done.wait(60)
    background.close()
    assert threads_left() == 0


def assert_interrupted(work, stopped):
    """A piece of work in which Ctrl-C comes stops, says so, and leaves no thread."""
    background = parallel.BackgroundWork()
    with pytest.raises(KeyboardInterrupt):
        background.add(work, stopped.set, 1).finish()
    background.close()
    assert stopped.is_set()
    assert threads_left() == 0


def test_control_c_stops_the_threads():
    stopped, begun = threading.Event(), threading.Event()

    def work():
        if threading.current_thread() is threading.main_thread():
            begun.wait(60)
            signal.raise_signal(signal.SIGINT)
        begun.set()
        stopped.wait(60)

    assert_interrupted(work, stopped)


def test_control_c_while_a_thread_does_the_rest():
    stopped, begun, left = threading.Event(), threading.Event(), threading.Event()

    def work():
        if threading.current_thread() is threading.main_thread():
            begun.wait(60)
            left.set()
        else:
            begun.set()
            left.wait(60)
            # To the thread that waits for this one; a signal to this one would not wake it.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            stopped.wait(60)

    assert_interrupted(work, stopped)


def test_what_is_finished_is_begun_by_no_thread():
    first, begun = threading.Event(), threading.Event()
    calls = []

    def blocked():
        begun.set()
        first.wait(60)

    background = parallel.BackgroundWork()
    background.add(blocked, first.set, 1)
    assert begun.wait(60)
    background.add(lambda: calls.append(threading.current_thread()), lambda: None, 1).finish()
    background.close()
    assert calls == [threading.main_thread()]
    assert threads_left() == 0


def test_tasks_that_are_stopped_do_nothing():
    tasks, state = _moments.Tasks(), np.full((4, 3), 7.0)
    tasks.add(_moments.Batch(np.ones((8, 3))), state, 0, 8, 8)
    tasks.stop()
    tasks.run()
    assert (state == 7).all()


def test_tasks_that_do_not_fit_are_refused():
    x, state, line = np.ones((8, 6)), np.zeros((4, 6)), np.zeros((3, 12))
    whole = x.reshape(-1).view(np.uint8)
    tasks = _moments.Tasks()
    tasks.add(_moments.Batch(x), state, 0, 8, 4, 0, whole, line, line.copy())
    for batch, band, channel, out, other, about, sums in (
        (x, 0, 0, state, None, None, None),
        (x, 4, 1, state, None, None, None),
        (x, 4, 0, state[:3], None, None, None),
        (x[::2], 4, 0, state, whole[: x.nbytes // 2], line, line),
        (x, 4, 1, np.zeros((4, 5)), whole, line, line),
        (x, 4, 0, state, whole[:-1], line, line),
        (x, 4, 0, state, np.zeros(x.nbytes + 1, np.uint8)[1:], line, line),
        (x, 4, 0, state, whole, line[:2], line),
        (x, 4, 0, state, whole, line, np.zeros((3, 6))),
        (x, 4, 0, state, whole, np.zeros((3, 9)), np.zeros((3, 9))),
    ):
        batch = _moments.Batch(batch)
        with pytest.raises(ValueError, match="must"):
            tasks.add(batch, out, 0, batch.rows, band, channel, other, about, sums)
