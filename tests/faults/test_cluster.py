"""A grid on two Dask workers, one of which is killed in the middle."""

import os
import signal
import subprocess
import sys
import threading
import time

import joblib
import pandas
import pytest

import lirf_kit as lk

distributed = pytest.importorskip("distributed")
SETS = [(0, 1, 2), (3, 4, 5)]


@pytest.fixture
def cluster(tmp_path):
    """A client of a scheduler on loopback, and its two worker processes."""
    file, started = tmp_path / "scheduler.json", []

    def start(*arguments):
        command = [
            sys.executable,
            "-m",
            "distributed.cli." + arguments[0],
            "--scheduler-file",
            str(file),
            *arguments[1:],
        ]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    for _ in range(2):
        start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path))
    try:
        with distributed.Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            yield client, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.skipif(not os.environ.get("LIRF_KIT_FAULTS"), reason="make test-faults runs it")
def test_a_grid_on_a_cluster_loses_a_worker_and_no_run(faults, cluster, tiny, tmp_path, monkeypatch):
    alone = lk.results_over_seeds(tiny, 2, SETS, references=("retrained",), jobs=1)
    client, workers = cluster
    home = tmp_path / "shared"
    monkeypatch.setenv("LIRF_KIT_HOME", str(home))

    def kill_in_the_middle():
        while not list(home.glob("result-*")):
            time.sleep(0.01)
        workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    with faults.fault("a killed worker"), joblib.parallel_config(backend="dask"):
        found = lk.results_over_seeds(tiny, 2, SETS, references=("retrained",), jobs=2)
        pandas.testing.assert_frame_equal(found, alone, check_exact=True)  # all runs, none twice, to the last digit
    killer.join(5)
    workers[0].wait(5)
    assert workers[0].returncode == -signal.SIGKILL and len(list(home.glob("result-*"))) == 4
