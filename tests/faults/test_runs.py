"""Saved runs and deposit modules whose bytes are changed, and disks that fill up while something is written."""

import os
import subprocess
import sys

import pytest
import torch

import lirf_kit as lk

MADE_FROM = {"config": {"widths": [4, 8], "epochs": 2}, "data": "abc"}
WEIGHTS = {"weight": torch.arange(60.0)}
METRICS = {"history": [{"epoch": 1, "loss": 0.1 + 0.2}]}


def flipped(content, draw):
    content = bytearray(content)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def test_a_flipped_bit_of_a_run_is_noticed_or_changes_nothing(faults):
    run = lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)
    for path in sorted(run.iterdir()):
        whole = path.read_bytes()
        for number in range(faults.many(50, 170)):
            path.write_bytes(flipped(whole, faults.draw))
            with faults.fault(f"{path.name} {number}"):
                found = lk.load_run("original", MADE_FROM)
                if found and not (torch.equal(found[0]["weight"], WEIGHTS["weight"]) and found[1] == METRICS):
                    faults.lost(f"{path.name} {number}: other numbers")
        path.write_bytes(whole)


def test_a_flipped_bit_of_a_module_s_file_is_a_sentence_or_a_module_that_is_refused_or_fits(
    faults, tmp_path, tiny_deposited, tiny
):
    target, module = tiny_deposited
    file = tmp_path / "module.safetensors"
    lk.save_module(module, file)
    whole = file.read_bytes()
    for number in range(faults.many(30, 500)):
        file.write_bytes(flipped(whole, faults.draw))
        with faults.fault(f"module {number}"):
            lk.withdraw(target, lk.load_module(file, target, tiny))


SAVE = """
import sys, warnings, torch, lirf_kit as lk
warnings.simplefilter("ignore")
made_from = {"config": {"epochs": 2}}
size = int(sys.argv[1])
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit fails, as on a full disk
lk.save_run("original", made_from, {"weight": torch.zeros(1000)}, {"number": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
lk.save_run("original", made_from, {"weight": torch.ones(1000)}, {"number": 2, "more": "x" * 6000})
weights, metrics = lk.load_run("original", made_from)
assert weights["weight"].mean() == metrics["number"] - 1, metrics["number"]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of this kind")
@pytest.mark.parametrize("size", [0, 100, 4050, 4200, 6100, 10**6])
def test_a_disk_that_is_full_at_any_write_costs_the_new_run_and_not_the_old_one(faults, size):
    if size not in (100, 10**6) and not os.environ.get("LIRF_KIT_FAULTS"):
        pytest.skip("make test-faults fills these")
    ran = subprocess.run([sys.executable, "-c", SAVE, str(size)], capture_output=True, text=True, timeout=120)
    faults.add(1, [("losses", ran.stderr)] if ran.returncode else [])
