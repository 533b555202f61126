"""A trace stays the trace of one run: whatever happens to its path, to the process and its threads, or to the disk."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tf1bn import trace
from tf1bn.trace import directory, owner, reader, storage


def new(path, **options):
    writer = trace.Writer(path, **options)
    writer.add_layer("l", decay=0.0, epsilon=1e-3, fused=True)
    return writer


def add(writer, value, layer="l"):
    zeros, inputs = np.zeros(3, np.float32), np.full((4, 3), value, np.float32)
    record = {"moving_mean_before": zeros, "moving_variance_before": zeros}
    record |= {"moving_mean_after": inputs[0], "moving_variance_after": zeros}
    return writer.add_step({layer: {"inputs": [inputs], **record}}, training=True)


def values(path):
    """The value of each step's input; it must be that of the statistics."""
    found = []
    for step in trace.open(path):
        record = step.layers["l"]
        assert record.inputs[0][0, 0] == record.moving_mean_after[0]
        found.append(float(record.inputs[0][0, 0]))
    return found


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_writer_whose_trace_was_replaced_writes_no_more(exchanges, tmp_path, monkeypatch):
    if not exchanges:
        monkeypatch.setattr("tf1bn.trace.replacing.exchange", lambda one, other: False)
    path = tmp_path / "t"
    first = new(path)
    add(first, 1)
    with new(path, overwrite=True) as second:
        add(second, 100)
        with pytest.raises(ValueError, match="was replaced or deleted; nothing can be added"):
            add(first, 2)
        with pytest.raises(ValueError, match="was replaced or deleted"):
            first.add_layer("ghost", decay=0.5, epsilon=1e-3)
        add(second, 101)
    first.close()
    assert values(path) == [100, 101]
    assert list(trace.open(path).layers) == ["l"]
    assert os.listdir(tmp_path) == ["t"]


def test_the_working_directory_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with new("other/t") as other:
        add(other, 200)
    writer = new("t")
    add(writer, 1)
    opened = trace.open("t")
    monkeypatch.chdir(tmp_path / "other")
    add(writer, 2)
    assert os.path.isabs(writer.path)
    assert values(writer.path) == [1, 2]
    assert values("t") == [200]
    assert [step.number for step in opened] == [0]
    writer.close()


def test_a_folder_that_is_moved_goes_on_being_written_and_read(tmp_path):
    writer = new(tmp_path / "t")
    add(writer, 1)
    opened = trace.open(tmp_path / "t")
    os.rename(tmp_path / "t", tmp_path / "u")
    with new(tmp_path / "t") as other:
        add(other, 7)
        add(writer, 2)
        assert values(tmp_path / "t") == [7]
    writer.close()
    assert values(tmp_path / "u") == [1, 2]
    assert not (tmp_path / "u" / owner.LOCK).exists()
    assert [float(step.layers["l"].inputs[0][0, 0]) for step in opened] == [1]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_trace_that_is_replaced_while_it_is_read_is_no_mixture(exchanges, tmp_path, monkeypatch):
    if not exchanges:
        monkeypatch.setattr("tf1bn.trace.replacing.exchange", lambda one, other: False)
    with new(tmp_path / "t") as writer:
        for value in range(4):
            add(writer, value)
    steps = iter(trace.open(tmp_path / "t"))
    assert next(steps).layers["l"].inputs[0][0, 0] == 0
    with new(tmp_path / "t", overwrite=True) as writer:
        for value in range(100, 104):
            add(writer, value)
    step = next(steps)
    with pytest.raises(trace.TraceError, match="was replaced or deleted while it was read; open it again"):
        step.layers["l"].inputs  # noqa: B018


def test_threads_share_a_writer(tmp_path):
    writer, failures = new(tmp_path / "t"), []

    def job(number):
        try:
            for i in range(50):
                add(writer, 1000 * number + i)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert failures == []
    found = values(tmp_path / "t")
    assert sorted(found) == [1000 * number + i for number in range(4) for i in range(50)]


FORKS = """
import os, sys
sys.path[:0] = sys.argv[2:]
from test_identity import add, new, values
writer = new(sys.argv[1])
add(writer, 1)
child = os.fork()
if child == 0:
    for call in (lambda: add(writer, 100), lambda: writer.add_layer("m", decay=0.5, epsilon=1e-3)):
        try:
            call()
        except ValueError as error:
            assert "this is its fork" in str(error), error
        else:
            os._exit(3)
    writer.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert os.path.exists(os.path.join(writer.path, "writer.lock"))
add(writer, 2)
writer.close()
assert values(sys.argv[1]) == [1, 2]
"""


def test_a_fork_is_refused(tmp_path):
    command = [sys.executable, "-c", FORKS, str(tmp_path / "t"), os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def lock(path, content):
    (path / owner.LOCK).write_text(content if isinstance(content, str) else json.dumps(content))


def test_what_another_process_is_writing_is_not_replaced(tmp_path):
    path = tmp_path / "t"
    new(path).close()
    assert os.listdir(path).count(owner.LOCK) == 0
    alive = vars(owner.Owner(os.getppid(), owner._start_of(os.getppid()), owner.Owner.current().host))
    for content in (alive, {**alive, "start": None}, {**alive, "host": "elsewhere", "process": 1}):
        lock(path, content)
        with pytest.raises(FileExistsError, match=r"where a trace is that process \d+ on .* is writing"):
            new(path, overwrite=True)
    # Ended, or another process has its number; or no lock file of ours.
    ended = subprocess.Popen(["true"])
    ended.wait()
    for content in ({**alive, "process": ended.pid}, {**alive, "start": "1"}, "no JSON", {"process": "1"}, "[]"):
        lock(path, content)
        new(path, overwrite=True).close()


def test_a_full_disk_leaves_a_writer_and_its_trace_as_they_were(tmp_path):
    path = tmp_path / "t"
    writer = new(path)
    add(writer, 1)
    before = sorted(str(file) for file in path.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        for call in (lambda: writer.add_layer("b", decay=0.9, epsilon=1e-3), lambda: add(writer, 2)):
            with pytest.raises(OSError, match="File too large"):
                call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(str(file) for file in path.rglob("*")) == before
    with pytest.raises(ValueError, match="layer 'b' was not declared"):
        add(writer, 2, "b")
    writer.add_layer("b", decay=0.9, epsilon=1e-3)
    assert add(writer, 2) == 1
    writer.close()
    assert values(path) == [1, 2]
    assert list(trace.open(path).layers) == ["l", "b"]


def test_a_link_put_into_an_opened_trace_leads_nowhere(tmp_path):
    with new(tmp_path / "t") as writer:
        add(writer, 1)
    opened = trace.open(tmp_path / "t")
    shutil.copytree(tmp_path / "t" / "arrays", tmp_path / "outside")
    shutil.rmtree(tmp_path / "t" / "arrays")
    (tmp_path / "t" / "arrays").symlink_to(tmp_path / "outside")
    with pytest.raises(trace.TraceError, match="leads out of the trace's folder"):
        next(iter(opened)).layers["l"].inputs  # noqa: B018


def test_sizes_are_limited_before_memory_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "t"
    with new(path) as writer:
        add(writer, 1)
    monkeypatch.setattr(storage, "LARGEST_VECTORS", 10)
    with pytest.raises(trace.TraceError, match=r"holds vectors of \d+ bytes in all; a file of vectors has at most 10"):
        values(path)
    with open(path / "steps.jsonl", "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(trace.TraceError, match=rf"line 2 of steps.jsonl is longer than {reader.LONGEST_LINE} bytes"):
        trace.open(path).count_steps()
    with open(path / "trace.json", "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(trace.TraceError, match=r"trace\.json is longer than"):
        trace.open(path)


def test_a_name_given_twice_is_found_in_linear_time(tmp_path):
    new(tmp_path / "t").close()
    layers = ",".join(f'"k{i:06d}":1' for i in range(200_000))
    (tmp_path / "t" / "trace.json").write_text(
        f'{{"format":"tf1bn-trace","version":1,"layers":{{{layers},"k199999":1}}}}'
    )
    with pytest.raises(trace.TraceError, match="it gives 'k199999' twice"):
        trace.open(tmp_path / "t")


def test_no_path_is_without_a_folder_while_one_is_exchanged(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not directory.exchange(str(tmp_path / "a"), str(tmp_path / "b")):
        pytest.skip("this system or file system cannot exchange two folders in one moment")
    assert os.listdir(tmp_path / "a") == ["b"]
    assert not directory.exchange(str(tmp_path / "a"), str(tmp_path / "gone"))


@pytest.mark.parametrize("count", [1 << 63, 1 << 1024, 10**399])
def test_a_count_that_no_batch_has(count, tmp_path):
    vector = np.zeros(3, np.float32)
    record = dict.fromkeys(trace.settings.STEP_STATISTICS, vector)
    moments = {"count": 4, "mean": vector, "variance": vector}
    with new(tmp_path / "t") as writer:
        writer.add_step({"l": {"moments": [moments], **record}}, training=True)
        with pytest.raises(ValueError, match=r"`count` is .*; it must be a whole number below 2\^63"):
            writer.add_step({"l": {"moments": [{**moments, "count": count}], **record}}, training=True)
    path = tmp_path / "t" / "steps.jsonl"
    path.write_text(path.read_text().replace('"count":4', f'"count":{count}'))
    with pytest.raises(trace.TraceError, match=r"it must be a whole number below 2\^63"):
        list(trace.open(tmp_path / "t"))


KILLED = """
import os, signal, sys
from tf1bn import trace
from tf1bn.trace import replacing, writer

def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

{patch} = killed
trace.Writer(sys.argv[1], overwrite=True)
"""


@pytest.mark.parametrize("patch", ["replacing.exchange", "writer.shutil.rmtree", "writer.Owner.write"])
def test_what_a_killed_writer_left_beside_the_trace_goes_with_the_next_one(patch, tmp_path):
    path = tmp_path / "t"
    new(path).close()
    for kept in (".t.mine", f".t.{owner.Owner.current().tag}running"):
        (tmp_path / kept).mkdir()
    before = sorted(os.listdir(tmp_path))
    subprocess.run([sys.executable, "-c", KILLED.format(patch=patch), path], check=False)
    assert len(os.listdir(tmp_path)) == 4
    new(path, overwrite=True).close()
    assert sorted(os.listdir(tmp_path)) == before


def test_processes_of_other_machines_are_not_known(monkeypatch):
    tag = owner.Owner(2**22 + 1, "5", "elsewhere").tag
    assert owner.owner_of_tag(tag + "abc") is None
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert owner.owner_of_tag(tag + "abc") == owner.Owner(2**22 + 1, "5", "elsewhere")
    assert owner.owner_of_tag("abc") is None
