import copy
import json
import math
import statistics

import numpy
import pytest
import torch

import lirf_kit as lk
from lirf_kit import bench_preset
from lirf_kit.cli import main

STEPS = ["train", "deposit", "withdraw", "features", "t-SNE"]


@pytest.fixture
def small(monkeypatch, tiny):
    """A tiny network on the digits, and few steps of the peer."""
    monkeypatch.setitem(lk.config._PRESETS, "digits", tiny)
    monkeypatch.setattr(bench_preset, "WARM_UP", 1)
    monkeypatch.setattr(bench_preset, "PEER_STEPS", 2)
    monkeypatch.setattr(bench_preset, "PEER_BATCH", 8)


def test_a_preset_s_bench_has_the_seconds_of_every_step(small, tmp_path, capsys):
    assert main(["bench", "--preset", "digits", "--device", "cpu", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "bench-digits.json").read_text())
    assert list(results["seconds"]) == STEPS
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in results["seconds"].values())
    for step, seconds in results["seconds"].items():
        assert seconds == statistics.median(run["seconds"][step] for run in results["runs"])
    assert results["seeds"] == [run["seed"] for run in results["runs"]] == [0, 1, 2]
    assert len(results["history"]) == lk.preset("digits").epochs == results["config"]["epochs"]
    assert results["config"]["perplexity"] == 10
    said = capsys.readouterr().out
    assert results["peak_memory"] > 0 and "history: 2 epochs" in said
    assert "accuracies.recovered.Avg Acc" in said and "time_to_accuracy" not in said


def test_the_peer_is_measured_on_the_same_images_for_some_steps(small, tiny, tiny_data):
    results = bench_preset.bench_preset(tiny, runs=1)
    peer, (run,) = results["peer"], results["runs"]
    steps = len(tiny_data.train) // 8  # whole batches
    assert peer["measured"] == f"2 of an epoch's {steps} steps; seconds_per_epoch follows from their speed"
    assert peer["seconds_per_epoch"] == pytest.approx(len(tiny_data.train) / peer["images_per_second"])
    ours = statistics.median(epoch["images_per_second"] for epoch in results["history"])
    assert peer["ratio"] == pytest.approx(ours / peer["images_per_second"]) and peer["ratio"] > 1
    assert (peer["batch_size"], peer["threads"]) == (8, torch.get_num_threads()) and run["seed"] == tiny.seed


def test_a_preset_s_bench_has_the_accuracies_of_the_path(
    small, tiny, tiny_parts, tiny_original, tiny_deposited, monkeypatch
):
    monkeypatch.setattr(bench_preset, "embed_tsne", lambda *_: None)
    results = bench_preset.bench_preset(tiny, runs=1, peer=False)
    (run,) = results["runs"]
    networks = {"original": tiny_original, "target": tiny_deposited[0], "recovered": lk.withdraw(*tiny_deposited)}
    expected = lk.results_table(networks, tiny_parts)
    for name in networks:
        for metric, value in run["accuracies"][name].items():
            assert value == expected.loc[name, metric], (name, metric)
    assert list(run["accuracies"]["target"]) == ["Pre Acc", "Dep Acc", "Avg Acc"]
    assert run["module_bytes"] == lk.module_bytes(tiny_deposited[1]) and "peer" not in results


def test_the_curve_says_when_each_accuracy_was_reached():
    history = [
        {"seconds": seconds, "validation_accuracy": accuracy}
        for seconds, accuracy in [(2.0, 50.0), (1.0, 80.0), (1.0, 79.0), (4.0, 90.0)]
    ]
    assert bench_preset._time_to_accuracy(history) == {
        "time_to_accuracy": [[2.0, 50.0], [3.0, 80.0], [4.0, 79.0], [8.0, 90.0]],
        "seconds_to_80": 3.0,
    }
    assert bench_preset._time_to_accuracy(history[:1])["seconds_to_80"] is None


@pytest.mark.parametrize(("reached", "median"), [([3.0, 9.0, 4.0], 4.0), ([3.0, None, 4.0], None)])
def test_the_seconds_to_80_are_a_median_if_every_run_got_there(tiny, monkeypatch, reached, median):
    made = [{"seconds": {"train": 1.0}, "seconds_to_80": end, "history": [], "peak_memory": 1.0} for end in reached]
    monkeypatch.setattr(bench_preset, "_run", lambda config: made[config.seed])
    results = bench_preset.bench_preset(tiny, peer=False)
    assert results["seconds_to_80"] == median and results["seconds"] == {"train": 1.0}


def test_the_peer_s_pictures_are_the_data_set_s_own():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    for part in (images, images[:, :1]):
        data = lk.ImageData(part, torch.tensor([1, 0]), torch.arange(2), ("a", "b"))
        pictures = bench_preset._Pictures(data, numpy.asarray)
        assert len(pictures) == 2
        picture, label = pictures[0]
        shown = picture.transpose(2, 0, 1) if part.shape[1] == 3 else picture[None]
        assert label == 1 and (shown == part[0].numpy()).all()


def test_a_training_that_is_interrupted_is_no_measurement(small, tiny, tiny_original, monkeypatch):
    half = copy.deepcopy(tiny_original)
    half.checkpoint = {"tensors": {}, "plain": {}}
    monkeypatch.setattr(bench_preset, "train_original", lambda *_: half)
    with pytest.raises(KeyboardInterrupt):
        bench_preset.bench_preset(tiny)


def test_a_preset_s_bench_names_no_folder_of_this_machine(small, tiny, tmp_path):
    results = bench_preset.bench_preset(tiny.replace(folder=str(tmp_path), data_root=str(tmp_path)), 1, peer=False)
    assert str(tmp_path) not in json.dumps(results) and results["config"]["dataset"] == "digits"
