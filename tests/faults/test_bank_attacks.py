"""Banks and tables of results whose files have flipped bits; and disks that fill up while something is written."""

import json
import subprocess
import sys
import warnings

import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.cli import main
from lirf_kit.evidence.experiments import METRICS

SETS = {"first": (0, 1), "second": (5,)}


def flipped(content, draw):
    content = bytearray(content)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def test_a_flipped_bit_of_a_bank_is_named_and_what_can_be_withdrawn_is_right(
    faults, tiny, tiny_original, tiny_data, tmp_path
):
    bank, images = lk.KnowledgeBank(tiny_original, tiny), tiny_data.test.images[:50]
    for name, classes in SETS.items():
        bank.deposit(name, lk.split_by_class(tiny_data, classes).deposit_set)
    expected = {name: network(images) for name, network in lk.bank_states(bank).items()}
    bank.save(tmp_path / "bank")
    for path in sorted((tmp_path / "bank").iterdir()):
        whole = path.read_bytes()
        for number in range(faults.many(8, 130)):
            path.write_bytes(flipped(whole, faults.draw))
            with faults.fault(f"{path.name} {number}"):
                found = lk.KnowledgeBank.load(tmp_path / "bank")
                states = lk.bank_states(found)
                if not all(torch.equal(network(images), expected[name]) for name, network in states.items()):
                    faults.lost(f"{path.name} {number}: other logits")
                if path.name.startswith("module-second") and list(found) != ["first"]:
                    faults.lost(f"{path.name} {number}: {list(found)}")
        path.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(lk.KnowledgeBank.load(tmp_path / "bank")) == list(SETS)


def test_a_flipped_bit_of_a_table_of_results_is_a_sentence_or_changes_nothing(faults, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(lk.config._PRESETS, "digits", tiny)
    grid = ["--seeds", "1", "--deposit-sets", "2", "--references", "--jobs", "1", "--device", "cpu"]
    assert main(["table", *grid, "--data-name", "CIFAR-10 (toy)", "--out", str(tmp_path)]) == 0
    ((expected, about),) = lk.read_results(tmp_path)
    for path in sorted(tmp_path.glob("results-*")):
        whole = path.read_bytes()
        for number in range(faults.many(30, 250)):
            path.write_bytes(flipped(whole, faults.draw))
            with faults.fault(f"{path.name} {number}"):
                ((found, said),) = lk.read_results(tmp_path)
                kept = {name: said.get(name) for name in about if name not in ("checksum", "sha256")}
                if not found.equals(expected) or kept != {name: about[name] for name in kept}:
                    faults.lost(f"{path.name} {number}: other results")
        path.write_bytes(whole)


FULL = """
import json, resource, signal, sys, warnings, torch, lirf_kit as lk
from pathlib import Path
from lirf_kit.cli import _write_text
warnings.simplefilter("ignore")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit fails, as on a full disk
config = lk.preset("digits").replace(widths=(4, 8), split_after=2, epochs=1, deposit_epochs=1, device="cpu")
data, folder = lk.load_dataset(config), Path(sys.argv[1])
original = lk.train_original(data, config)
banks = [lk.KnowledgeBank(original, config)]
banks[0].deposit("first", lk.split_by_class(data, (0, 1)).deposit_set)
banks[0].save(folder / "bank")
banks.append(lk.KnowledgeBank.load(folder / "bank", original))
banks[1].deposit("second", lk.split_by_class(data, (5,)).deposit_set)
modules = banks[0]["first"], banks[1]["second"]
figures = [lk.plot_history([{"epoch": 1, "loss": 0.5}], title) for title in ("old", "new" * 40)]
works = {
    "bank": lambda new: banks[new].save(folder / "bank"),
    "module": lambda new: lk.save_module(modules[new], folder / "module"),
    "figure": lambda new: lk.save_figure(figures[new], folder / "figure", "history"),
    "table": lambda new: _write_text("new\\n" * 2000 if new else "old", folder / "table.csv"),
}
def content():
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
def known():
    return lk.KnowledgeBank.load(folder / "bank").names, len(list(folder.rglob(".writing-*")))
found, hard = [], resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for name, work in works.items():
    for size in json.loads(sys.argv[2]):
        work(False)
        before = content()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            work(True)
            found.append(["losses", f"{name} at {size}: it was written"])
        except lk.LirfError as error:
            if "\\n" in str(error) or "can't" not in str(error):
                found.append(["tracebacks", f"{name} at {size}: {error}"])
        except BaseException as error:
            found.append(["tracebacks", f"{name} at {size}: {error!r}"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        after = content()
        if {file: after.get(file) for file in before} != before or known() != (("first",), 0):
            found.append(["losses", f"{name} at {size}: {sorted(after)}, {known()}"])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of this kind")
def test_a_disk_that_is_full_costs_the_new_bank_module_figure_or_table_and_not_the_old_one(faults, tmp_path):
    sizes = [0, 1000] if faults.many(0, 1) == 0 else [0, 1, 100, 500, 1000, 1500, 2000, 2500]
    command = [sys.executable, "-c", FULL, str(tmp_path), json.dumps(sizes)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    faults.add(4 * len(sizes), [tuple(each) for each in json.loads(ran.stdout.splitlines()[-1])])


def test_results_from_before_there_were_checksums_are_still_read(tmp_path):
    about = {"data": "toy", "protocol": "test part, all classes", "config": {}, "machine": {"device": "a", "cores": 1}}
    row = {"seed": 0, "deposit classes": (0,), "network": "target"} | dict.fromkeys(METRICS, 1.0)
    pandas.DataFrame([row]).to_csv(tmp_path / "results-toy-1-seeds.csv", index=False)
    (tmp_path / "results-toy-1-seeds.json").write_text(json.dumps(about))
    assert len(lk.read_results(tmp_path)) == 1
    (tmp_path / "results-toy-1-seeds.json").write_text("[" * 100_000)
    with pytest.raises(lk.LirfError, match="is damaged, make both again"):
        lk.read_results(tmp_path)
