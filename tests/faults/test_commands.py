"""Commands whose output nobody reads or can't be written, and whose options are wrong: one sentence, at once."""

import os
import subprocess
import sys

import pytest

from lirf_kit.cli import main

TINY = ["--set", "split_after=2", "--set", "widths=(4,8)", "--set", "epochs=1", "--set", "deposit_epochs=1"]


def started(tmp_path, stdout):
    command = [sys.executable, "-m", "lirf_kit", "table", *TINY, "--references", "--out", str(tmp_path / "out")]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes")
def test_output_that_nobody_reads_costs_no_results(faults, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    ran = started(tmp_path, writing)
    os.close(writing)
    faults.add(1, [] if ran.returncode == 0 and not ran.stderr else [("tracebacks", ran.stderr)])
    assert (tmp_path / "out" / "results-digits.csv").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_output_that_cannot_be_written_is_a_sentence_and_costs_no_results(faults, tmp_path):
    with open("/dev/full", "w") as full:
        ran = started(tmp_path, full)
    faults.add(1, [] if ran.returncode == 2 and ran.stderr.count("\n") == 1 else [("tracebacks", ran.stderr)])
    assert "the disk is full" in ran.stderr and (tmp_path / "out" / "results-digits.csv").exists()


WRONG = {
    "an empty folder": (["figures", "--folder", ""], "folder must be set"),
    "an unknown reference": (["table", "--references", "nope"], "references must be"),
    "an unknown arg max": (["table", "--among", "nope"], "among must be"),
    "too many seeds": (["table", "--seeds", "99999999999"], "seeds must be at most"),
    "too many sets": (["table", "--seeds", "1", "--deposit-sets", "9999999"], "deposit_sets must be from 1 to 120"),
    "too many runs": (["table", "--seeds", "19999", "--deposit-sets", "2"], "must make at most 20000 runs, not 39998"),
    "a huge number": (["figures", "--set", f"epochs={10**400}"], "epochs must be at most"),
    "a huge batch": (["figures", "--set", f"batch_size={10**30}"], "batch_size must be at most"),
    "a huge network": (["figures", "--set", "split_after=1", "--set", "widths=(99999,)"], "widths must be at most"),
}


@pytest.mark.parametrize("arguments, sentence", WRONG.values(), ids=WRONG)
def test_wrong_options_are_a_sentence_before_anything_is_trained(
    faults, tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.setattr("lirf_kit.method.caching.train_original", None)
    with faults.fault(" ".join(arguments)[:40]):
        assert main([*arguments, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["~nobody-of-this-name/runs"])
def test_a_home_that_cannot_be_is_a_sentence(faults, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("LIRF_KIT_HOME", name)
    with faults.fault(name):
        assert main(["table", *TINY, "--references", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "LIRF_KIT_HOME must be a folder that can be made, not '~nobody" in said and said.count("\n") == 1


def test_a_grid_of_which_a_run_failed_says_so_by_its_exit_status(faults, tmp_path, monkeypatch, capsys):
    from lirf_kit.evidence import experiments

    measure = experiments._measure

    def fails(data, config, classes, *asked):
        if config.seed == 1:
            raise OSError("broken")
        return measure(data, config, classes, *asked)

    monkeypatch.setattr(experiments, "_measure", fails)
    grid = ["--seeds", "2", "--deposit-sets", "1", "--jobs", "1", "--references", "--out", str(tmp_path)]
    with faults.fault("a run failed"):
        assert main(["table", *TINY, *grid]) == 1
        monkeypatch.setattr(experiments, "_measure", measure)
        assert main(["table", *TINY, *grid]) == 0
