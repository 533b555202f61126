"""Layers judged in worker processes: the same bits as here, also when workers die; and what is said where none can."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from mortal import Mortal
from portnet import Net, Rules, batches, write

from tf1bn import trace
from tf1bn.cluster import ClusterError, Workers
from tf1bn.diagnosis import diagnose
from tf1bn.parity import compare_traces

pytestmark = pytest.mark.slow
distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with old, port (two layers wrong), short (a step less), lacks (a step without a layer) and damaged."""
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "old")
    write(folder / "port", Net({"bn2": Rules(bessel=True), "bn3": Rules(epsilon=1e-5, decay=0.5)}))
    write(folder / "short", data=batches(3))
    write(folder / "lacks")
    lines = (folder / "lacks/steps.jsonl").read_text().splitlines()
    step = json.loads(lines[1])
    del step["layers"]["bn3"], step["layers"]["bn1"]
    lines[1] = json.dumps(step)
    (folder / "lacks/steps.jsonl").write_text("".join(f"{line}\n" for line in lines))
    write(folder / "damaged")
    path = next((folder / "damaged/arrays").glob("*in*"), next((folder / "damaged/arrays").iterdir()))
    path.write_bytes(path.read_bytes()[:-1])
    return folder


@pytest.fixture(scope="module")
def workers():
    with Workers("processes", count=2) as workers:
        yield workers


@pytest.mark.parametrize("name", ["port", "lacks"])
def test_an_audit_is_that_of_one_process(runs, workers, name):
    expected = diagnose(runs / name).to_json()
    assert diagnose(runs / name, spread=workers).to_json() == expected
    assert diagnose(f"file://{runs / name}", spread=workers).to_json() == expected


@pytest.mark.parametrize("new", ["port", "short", "lacks"])
def test_a_comparison_is_that_of_one_process(runs, workers, new):
    old, new = trace.open(runs / "old"), trace.open(runs / new)
    assert compare_traces(old, new, spread=workers).to_json() == compare_traces(old, new).to_json()
    assert compare_traces(new, old, spread=workers).to_json() == compare_traces(new, old).to_json()


def test_no_layer_is_no_work(runs, workers):
    old = trace.open(runs / "old")
    none = {"layers": lambda name: False}
    assert compare_traces(old, old, spread=workers, **none).to_json() == compare_traces(old, old, **none).to_json()


def test_damage_is_told_as_here(runs, workers):
    with pytest.raises(trace.TraceError) as here:
        diagnose(runs / "damaged")
    with pytest.raises(trace.TraceError) as there:
        diagnose(runs / "damaged", spread=workers)
    assert str(there.value) == str(here.value)


def test_a_worker_that_is_killed_loses_nothing(runs, tmp_path, workers):
    mortal = Mortal(runs / "port", tmp_path)
    before = set(workers._client.run(os.getpid).values())
    assert diagnose(mortal, spread=workers).to_json() == diagnose(trace.open(runs / "port")).to_json()
    assert os.listdir(tmp_path) == ["killed-0"]
    workers._client.wait_for_workers(2)
    assert set(workers._client.run(os.getpid).values()) != before


def test_what_kills_every_worker_ends_in_an_error(runs, tmp_path):
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), Workers("processes", count=2) as workers:
        with pytest.raises(ClusterError, match="ended, one after the other, so it was given up"):
            diagnose(Mortal(runs / "old", tmp_path, times=99), spread=workers)


def test_progress_and_curves_stay_here(runs, workers):
    with pytest.raises(ValueError, match="which other processes cannot call"):
        diagnose(runs / "old", spread=workers, progress=print)


def test_a_worker_of_another_release(runs, workers, monkeypatch):
    monkeypatch.setattr("tf1bn.cluster.workers.__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"A worker has tf1bn \d.*, and here is 0.0.1;"):
        diagnose(runs / "old", spread=workers)


def test_an_address_that_nobody_answers():
    with pytest.raises(ClusterError, match=r"The scheduler 'nonsense' cannot be reached: .*\. Give the address"):
        Workers("nonsense")
    with pytest.raises(ValueError, match=r"`count` is 2, and the scheduler 'tcp:.*' has its own workers"):
        Workers("tcp://127.0.0.1:1", count=2)


@pytest.mark.parametrize("count", [0, -2, 1.5, True])
def test_no_processes(count):
    with pytest.raises(ValueError, match=rf"`count` is {count}; it must be a whole number of 1 or more, or None"):
        Workers("processes", count=count)


def test_a_scheduler_without_workers(monkeypatch):
    monkeypatch.setattr("tf1bn.cluster.workers.CONNECTING", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", processes=False) as cluster:
        with pytest.raises(ClusterError, match="has no worker; start some, as with `dask worker"):
            Workers(cluster.scheduler_address)


def command(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", "tf1bn", *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("arguments", [("audit", "port", "--layer", "bn[13]"), ("parity", "old", "port")])
def test_the_json_of_the_command_has_the_same_bytes(runs, workers, tmp_path, arguments):
    address = workers._client.scheduler.address
    here = command(*arguments, "--json", str(tmp_path / "here.json"), cwd=runs)
    there = command(*arguments, "--json", str(tmp_path / "there.json"), "--scheduler", address, cwd=runs)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()


def test_damage_is_one_sentence_of_the_command(runs, tmp_path):
    done = command("audit", "damaged", "--scheduler", "processes", "--json", str(tmp_path / "a.json"), cwd=runs)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "damaged' is damaged: the file" in done.stderr
    assert json.loads((tmp_path / "a.json").read_text())["status"] == "failed"


def test_processes_of_the_command(runs, tmp_path):
    done = command("audit", "old", "--scheduler", "processes", "--json", str(tmp_path / "a.json"), cwd=runs)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "a.json").read_text())["ok"]


def test_what_no_workers_do(runs, tmp_path):
    np.savez(tmp_path / "a.npz", **{"bn/moving_mean": np.arange(3.0), "bn/moving_variance": np.ones(3)})
    for arguments, text in (
        (("audit", str(tmp_path / "a.npz")), "`--scheduler` is for traces, and PATH is"),
        (("parity", *[str(tmp_path / "a.npz")] * 2), "`--scheduler` is 'processes', which is for traces"),
        (("audit", "old", "--html", str(tmp_path / "a.html")), "`--html` plots what this process reads"),
    ):
        done = command(*arguments, "--scheduler", "processes", cwd=runs)
        assert done.returncode == 2
        assert text in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a.html").exists()


def test_without_a_scheduler_dask_is_not_imported(runs):
    code = "import sys; from tf1bn.cli.main import main; main(['audit', 'old']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=runs, check=True)
    assert {"dask", "distributed", "fsspec"}.isdisjoint(done.stdout.split())
