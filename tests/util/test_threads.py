"""Threads, progress and interrupts: the same bits however many work, and nobody left working."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tiers
from own_threads import threads_left

from tf1bn._util import threads as parallel
from tf1bn.checker import accumulation, batch_moments
from tf1bn.checker.prefetch import Prefetcher

BATCHES = {
    "rows": ((300, 100, 100), "NHWC"),
    "wide": ((7, 500_000), "NHWC"),
    "runs": ((1, 3, 1_100_000), "NCHW"),
    "many runs": ((200, 6, 2500), "NCHW"),
}


def batch_of(name, dtype=np.float32):
    shape, data_format = BATCHES[name]
    return np.random.default_rng(1).normal(3, 2, shape).astype(dtype), data_format


def states(batch, data_format, **kwargs):
    return batch_moments(batch, data_format=data_format, **kwargs)._state.tobytes()


@pytest.fixture
def small_bands(monkeypatch):
    monkeypatch.setattr(accumulation, "_BAND_BYTES", 1 << 18)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8"])
def test_the_number_of_threads_changes_no_bit(name, dtype):
    batch, data_format = batch_of(name, dtype)
    expected = states(batch, data_format, threads=1)
    for threads in (1, 2, 3, 7, None):
        assert states(batch, data_format, threads=threads) == expected


def test_several_threads_do_work(monkeypatch):
    seen = set()
    meeting = threading.Barrier(3)
    cut = accumulation.Accumulation._job

    def job(*args):
        if len(seen) < 3 and threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            # Nobody goes on before all three are here.
            meeting.wait(60)
        yield from cut(*args)

    monkeypatch.setattr(accumulation.Accumulation, "_job", job)
    batch_moments(batch_of("rows")[0], threads=3)
    assert len(seen) == 3
    assert threads_left() == 0


@pytest.mark.parametrize(("size", "expected"), [((1 << 20) - 1, 1), (1 << 20, 5)], ids=["below 4 MiB", "4 MiB"])
def test_small_batches_stay_on_one_thread(monkeypatch, size, expected):
    used = []
    run = accumulation.run
    monkeypatch.setattr(accumulation, "available_cores", lambda: 5)
    monkeypatch.setattr(
        accumulation, "run", lambda jobs, threads, progress: used.append(threads) or run(jobs, 1, progress)
    )
    batch_moments(np.ones((size, 1), np.float32))
    assert used == [expected]


@pytest.mark.parametrize(
    ("cores", "quota", "expected"),
    [(8, None, 8), (8, "max 100000", 8), (8, "150000 100000", 2), (8, "50000 100000", 1), (2, "900000 100000", 2)],
)
def test_available_cores_are_those_of_the_process(monkeypatch, tmp_path, cores, quota, expected):
    if hasattr(os, "process_cpu_count"):
        monkeypatch.setattr(os, "process_cpu_count", lambda: cores)
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota + "\n", encoding="ascii")
    monkeypatch.setattr(parallel, "_QUOTA_FILE", str(path))
    assert parallel.available_cores() == expected


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", BATCHES)
def test_progress_grows_to_the_total(small_bands, name, threads):
    batch, data_format = batch_of(name)
    calls = []
    expected = states(batch, data_format, threads=1)
    progress = lambda *args: calls.append((*args, threading.get_ident()))  # noqa: E731
    assert states(batch, data_format, threads=threads, progress=progress) == expected
    done, totals, callers = zip(*calls, strict=True)
    assert list(done) == sorted(set(done))
    assert done[-1] == batch.size
    assert set(totals) == {batch.size}
    assert set(callers) == {threading.get_ident()}
    if threads == 1:
        # With more, the others may have done nearly all before this one looks.
        assert len(calls) > 10


@pytest.mark.parametrize("shape", [(30, 4), (300, 4, 4), (0, 4)])
@pytest.mark.parametrize("weighted", [False, True])
def test_progress_of_small_and_weighted_batches(shape, weighted):
    calls = []
    weights = np.arange(shape[0]) if weighted else None
    batch = np.broadcast_to(np.ones(shape, np.float32)[:, None], (shape[0], 5, *shape[1:]))
    if weighted:
        batch = np.ones(shape, np.float32)
    batch_moments(batch, weights=weights, progress=lambda *args: calls.append(args))
    if batch.size:
        assert calls[-1] == (batch.size, batch.size)
        assert [call[0] for call in calls] == sorted({call[0] for call in calls})
    else:
        assert calls == []


class Stop(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 3])
def test_what_progress_raises_ends_the_work(small_bands, threads):
    def progress(done, total):
        raise Stop

    with pytest.raises(Stop):
        batch_moments(batch_of("rows")[0], threads=threads, progress=progress)
    assert threads_left() == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_control_c_ends_the_work(small_bands, threads):
    calls = []

    def progress(done, total):
        calls.append(done)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        batch_moments(batch_of("rows")[0], threads=threads, progress=progress)
    assert len(calls) == 1
    assert threads_left() == 0


def test_errors_of_helpers_come_out_and_stop_the_others():
    met = threading.Barrier(2)
    left = []

    def job(number):
        met.wait(60)
        if threading.current_thread() is threading.main_thread():
            helper.join(60)
            for _ in range(1000):
                left.append(number)
                yield 1
        raise Stop

    crew_threads = []
    start = threading.Thread.start

    def noted(self):
        crew_threads.append(self)
        start(self)

    class Helper:
        def join(self, timeout):
            crew_threads[0].join(timeout)

    helper = Helper()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", noted)
        with pytest.raises(Stop):
            parallel.run([job(0), job(1)], 2, parallel.Progress(None, 2000))
    # The main thread looked after its first part and saw that there was nothing to go on for.
    assert len(left) == 1


def test_an_interrupt_while_waiting_waits_on():
    class Helper:
        joins = 0

        def join(self):
            self.joins += 1
            if self.joins < 3:
                raise KeyboardInterrupt

    helper, pool = Helper(), parallel._ThreadPool([], parallel.Progress(None, 0))
    with pytest.raises(KeyboardInterrupt):
        parallel._join([helper], pool.stop)
    assert helper.joins == 3
    assert pool.stopped


def test_no_more_threads_than_the_system_gives(monkeypatch):
    batch, data_format = batch_of("rows")
    expected = states(batch, data_format, threads=1)

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert states(batch, data_format, threads=4) == expected


def test_callers_in_many_threads_get_the_same_bits():
    # Under the thread sanitizer this is where a race would show.
    rng = np.random.default_rng(3)
    batches = [
        (rng.normal(size=shape).astype(dtype), data_format)
        for shape, data_format in (((9000, 64), "NHWC"), ((40, 30, 9, 17), "NHWC"), ((9, 8, 5000), "NCHW"))
        for dtype in (np.float16, np.float32, np.float64)
    ]
    expected = [states(*batch, threads=1) for batch in batches]
    seen, errors = [], []

    def call():
        try:
            seen.extend([states(*batch, threads=3) for batch in batches] for _ in range(4))
        except BaseException as error:
            errors.append(error)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for turn in range(12):
        with Prefetcher() as ahead:
            prefetched = ahead.begin([(*batch, None) for batch in batches], threads=3)
            if turn % 3 == 0:
                seen.append([moments._state.tobytes() for moments in prefetched.moments()])
    for caller in callers:
        caller.join()
    assert not errors
    assert all(run == expected for run in seen)
    assert len(seen) == 16


LARGER_THAN_MEMORY = """
import json, resource, sys
import numpy as np
from tf1bn.checker import batch_moments
batch = np.load(sys.argv[1], mmap_mode="r")
for line in open("/proc/self/status"):
    if line.startswith("VmData"):
        used = 1024 * int(line.split()[1])
limit = used + (64 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
assert limit < batch.nbytes, (limit, batch.nbytes)
try:
    np.array(batch)
except MemoryError:
    print("no room for a copy")
calls = []
moments = batch_moments(batch, data_format=sys.argv[2], threads=2, progress=lambda *args: calls.append(args))
print(json.dumps([moments.count, moments.mean.tolist(), moments.variance.tolist(), calls[-1]]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts mappings on Linux only")
@pytest.mark.parametrize("dtype", tiers.slow_but(["<f4"], ["<f4", ">f4"]))
@pytest.mark.parametrize(("shape", "data_format"), [((2**14, 2**12, 2), "NHWC"), ((2**9, 2, 2**17), "NCHW")])
def test_a_file_larger_than_memory(tmp_path, dtype, shape, data_format):
    # A sparse file of 512 MiB: only what is written takes room on the disk.
    path = tmp_path / "large.npy"
    batch = np.lib.format.open_memmap(path, "w+", dtype, shape)
    last = batch[-1] if data_format == "NHWC" else batch[-1].T
    last[: len(last) // 2, 0] = 8.0
    last[:, 1] = 2.0
    batch.flush()
    count = batch.size // 2
    ones, twos = len(last) // 2 / count, len(last) / count
    del batch, last
    # Threads of a BLAS would count, and are many on large machines.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LARGER_THAN_MEMORY, str(path), data_format]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    copy, line = result.stdout.splitlines()
    assert copy == "no room for a copy"
    seen_count, mean, variance, progress = json.loads(line)
    assert (seen_count, progress) == (count, [2 * count] * 2)
    assert mean == pytest.approx([8.0 * ones, 2.0 * twos], rel=1e-14, abs=0)
    assert variance == pytest.approx([64.0 * ones * (1 - ones), 4.0 * twos * (1 - twos)], rel=1e-14, abs=0)
