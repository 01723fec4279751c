import copy
import json
import math

import pytest

import lirf_kit as lk
from lirf_kit import bench
from lirf_kit.cli import main

RESULTS = {
    "input_path": ["images_per_second", "dataloader_images_per_second", "ratio"],
    "training_step": ["images_per_second", "seconds", "flops_per_image", "matmul_peak", "peak_share"],
    "deposit_step": ["images_per_second", "seconds", "ratio"],
}


@pytest.fixture
def small(monkeypatch, tiny):
    """Few pictures, few repeats, and a tiny network instead of that of cifar10-small."""
    monkeypatch.setattr(bench, "PICTURES", 200)
    monkeypatch.setattr(bench, "WARM_UP", 1)
    monkeypatch.setattr(bench, "REPEATS", 2)
    turned = tiny.replace(batch_size=16, deposit_batch_size=8)
    monkeypatch.setitem(lk.config._PRESETS, "cifar10-small", turned)
    monkeypatch.setitem(lk.config._PRESETS, "digits", tiny)


def assert_measured(results):
    for part, keys in RESULTS.items():
        for key in keys:
            assert math.isfinite(results[part][key]) and results[part][key] > 0, (part, key)
    step, deposit = results["training_step"], results["deposit_step"]
    assert step["compile_seconds"] == 0 and step["peak_share"] < 1
    assert step["flops_per_image"] * step["images_per_second"] / step["matmul_peak"] == pytest.approx(
        step["peak_share"]
    )
    assert deposit["ratio"] == pytest.approx(deposit["seconds"] / step["seconds"])
    paths = results["input_path"]
    assert paths["ratio"] == pytest.approx(paths["images_per_second"] / paths["dataloader_images_per_second"])
    assert results["peak_memory"] > 0
    assert results["machine"]["cores"] >= 1 and results["machine"]["torch"]


def test_bench_prints_its_measurements_and_writes_them_as_json(small, tmp_path, capsys):
    assert main(["bench", "--device", "cpu", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "bench.json").read_text()
    assert_measured(json.loads(text))
    assert str(tmp_path) not in text and '"ratio"' in capsys.readouterr().out


def test_the_flops_of_a_training_step_are_those_of_the_network_three_times(small, config):
    # one convolution 3×3 from c to d channels on h·w positions: 2 · 9 · c · d · h · w, and the same again for each of
    # the two gradients; the first layer's images need none
    data = lk.load_dataset(config)
    found = bench._training_step(data, config.replace(widths=(4,), split_after=1, batch_size=16))["flops_per_image"]
    stem, block, classifier = 2 * 9 * 4 * 64, 2 * (2 * 9 * 4 * 4 * 64), 2 * 4 * 10
    assert found == 2 * stem + 3 * (block + classifier)


def test_a_preset_s_bench_has_the_seconds_of_every_step(small, tmp_path, capsys):
    assert main(["bench", "--preset", "digits", "--device", "cpu", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "bench-digits.json").read_text())
    assert list(results["seconds"]) == ["train", "deposit", "withdraw", "features", "t-SNE"]
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in results["seconds"].values())
    assert len(results["history"]) == lk.preset("digits").epochs == results["config"]["epochs"]
    assert results["peak_memory"] > 0 and "history: 2 epochs" in capsys.readouterr().out


def test_bench_refuses_what_it_cannot_do_before_it_measures(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "bench", None)
    monkeypatch.setattr(bench, "bench_preset", None)
    (tmp_path / "taken").write_text("keep me")
    for arguments, sentence in [
        (["--device", "gpu"], "device must be auto, cpu, cuda or mps, not 'gpu'"),
        (["--preset", "nope"], "preset must be .*"),
        (["--out", str(tmp_path / "taken")], "out must be a folder that can be written"),
    ]:
        assert main(["bench", "--out", str(tmp_path), *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"lirf_kit: {sentence.removesuffix('.*')}")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_training_that_is_interrupted_is_no_measurement(small, tiny, tiny_original, monkeypatch):
    half = copy.deepcopy(tiny_original)
    half.checkpoint = {"tensors": {}, "plain": {}}
    monkeypatch.setattr(bench, "train_original", lambda *_: half)
    with pytest.raises(KeyboardInterrupt):
        bench.bench_preset(tiny)


def test_a_preset_s_bench_names_no_folder_of_this_machine(small, tiny, tmp_path, monkeypatch):
    results = bench.bench_preset(tiny.replace(folder=str(tmp_path), data_root=str(tmp_path)))
    assert str(tmp_path) not in json.dumps(results) and results["config"]["dataset"] == "digits"
