import json
import math
from pathlib import Path

import pytest
import torch

import lirf_kit as lk
from lirf_kit import bench, bench_preset
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
    assert results["kit"] == lk.__version__
    assert results["config"]["widths"] == [4, 8] and "folder" not in results["config"]


def test_bench_prints_its_measurements_and_writes_them_as_json(small, tmp_path, capsys):
    assert main(["bench", "--device", "cpu", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "bench.json").read_text()
    assert_measured(json.loads(text))
    found = json.loads(text)
    assert (found["seed"], found["precision"], found["threads"]) == (0, "float32", 1)
    assert str(tmp_path) not in text and '"ratio"' in capsys.readouterr().out


def test_bench_turns_the_knobs_that_it_is_given(small, tmp_path, monkeypatch):
    threads = []
    monkeypatch.setattr(bench, "_input_path", lambda *_: threads.append(torch.get_num_threads()) or {"ratio": 1})
    turned = ["--set", "precision=bfloat16", "--set", "widths=(2,4)", "--set", "threads=2", "--seed", "3"]
    assert main(["bench", "--device", "cpu", "--out", str(tmp_path), *turned]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert (found["seed"], found["precision"], found["threads"]) == (3, "bfloat16", 2) and threads == [2]
    assert found["config"]["widths"] == [2, 4] and found["config"]["seed"] == 3
    assert found["config"]["precision"] == "bfloat16"


def test_the_seconds_of_compiling_are_those_that_the_first_call_takes_longer(small, tiny_data, tiny, monkeypatch):
    first, later = 0.3, 0.1
    monkeypatch.setattr(bench, "_median", lambda *_: later)
    times = iter([10, 10 + first])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr("lirf_kit.method.training.compiled", lambda network, config: network)
    found = bench._training_step(tiny_data, tiny.replace(compile=True))
    assert found["compile_seconds"] == pytest.approx(first - later) and found["seconds"] == later


def test_a_batch_larger_than_the_deposit_set_is_refused(small):
    # 200 pictures, without the test and validation parts, three classes of ten: 200 · 0.9 · 0.85 · 0.3 = 45.9
    sentence = "^batch_size must be at most 4[5-8], the size of the deposit set, not 50$"
    with pytest.raises(lk.LirfError, match=sentence):
        bench.bench(lk.preset("cifar10-small").replace(batch_size=50))


@pytest.mark.parametrize("whole", [bench.bench, bench_preset.bench_preset])
def test_the_peak_of_memory_is_counted_from_the_beginning(small, tiny, monkeypatch, whole):
    def stop(_):
        raise KeyboardInterrupt

    reset = []
    for module in (bench, bench_preset):
        monkeypatch.setattr(module, "reset_peak_memory", reset.append)
        monkeypatch.setattr(module, "load_dataset", stop)
    with pytest.raises(KeyboardInterrupt):
        whole(tiny)
    assert reset == [torch.device("cpu")]


def test_the_measurements_that_are_kept_reach_their_targets():
    found = json.loads((Path(__file__).parents[1] / "benchmarks" / "bench.json").read_text("utf-8"))
    assert found["input_path"]["ratio"] >= 15
    assert found["training_step"]["peak_share"] >= 0.55
    assert found["deposit_step"]["ratio"] <= 2.5


def test_the_flops_of_a_training_step_are_those_of_the_network_three_times(small, config):
    # one convolution 3×3 from c to d channels on h·w positions: 2 · 9 · c · d · h · w, and the same again for each of
    # the two gradients; the first layer's images need none
    data = lk.load_dataset(config)
    found = bench._training_step(data, config.replace(widths=(4,), split_after=1, batch_size=16))["flops_per_image"]
    stem, block, classifier = 2 * 9 * 4 * 64, 2 * (2 * 9 * 4 * 4 * 64), 2 * 4 * 10
    assert found == 2 * stem + 3 * (block + classifier)


def test_bench_refuses_what_it_cannot_do_before_it_measures(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "bench", None)
    monkeypatch.setattr(bench_preset, "bench_preset", None)
    (tmp_path / "taken").write_text("keep me")
    for arguments, sentence in [
        (["--device", "gpu"], "device must be auto, cpu, cuda or mps, not 'gpu'"),
        (["--preset", "nope"], "preset must be .*"),
        (["--preset", "digits", "--runs", "0"], "runs must be at least 1, not 0"),
        (
            ["--folder", str(tmp_path)],
            "--folder and other data need --preset: without it bench measures on pictures that it makes",
        ),
        (
            ["--set", "dataset=digits"],
            "--folder and other data need --preset: without it bench measures on pictures that it makes",
        ),
        (["--set", "compile=perhaps"], "compile must be True or False, not 'perhaps'"),
        (["--out", str(tmp_path / "taken")], "out must be a folder that can be written"),
    ]:
        assert main(["bench", "--out", str(tmp_path), *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"lirf_kit: {sentence.removesuffix('.*')}")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_gradients_are_those_of_float64_on_this_machine_for_every_shortcut():
    errors = bench.gradient_errors()
    assert {(1, 8), (7, 33), (16, 8)} <= errors.keys()
    assert max(errors.values()) < 1e-4, errors
