import importlib.metadata
import json
import os
import re
import runpy
import subprocess
import sys
import warnings

import nbformat
import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.cli import main
from lirf_kit.devices import machine


@pytest.fixture(autouse=True)
def tiny_preset(tiny, monkeypatch):
    """The preset is tiny here, so that a command takes a second."""
    monkeypatch.setitem(lk.config._PRESETS, "digits", tiny)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back what main turns


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_):
        raise AssertionError("training started")

    for place in (
        "lirf_kit.evidence.experiments.load_or_train",  # first, because importing it takes the name from caching
        "lirf_kit.load_or_train",
        "lirf_kit.method.caching.load_or_train",
    ):
        monkeypatch.setattr(place, refuse)


def fails(capsys, *arguments):
    """Run a command that must end with status 2; return the sentence that it said."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as error:  # what argparse does
        status = error.code
    said = capsys.readouterr()
    assert status == 2
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err


def test_figures_writes_every_figure_and_the_table(tmp_path, capsys):
    assert main(["figures", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    pictures = [
        f"{name}-digits.{ending}"
        for name in (
            "samples",
            "training",
            "deposit",
            "tsne",
            "tsne-outside",
            "tsne-retrained",
            "round-trip",
            "confusions",
        )
        for ending in ("png", "svg", "pdf")
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*pictures, "results-digits.csv"])
    table = pandas.read_csv(tmp_path / "out" / "results-digits.csv", index_col=0)
    said = capsys.readouterr().out
    assert list(table.index) == ["original", "target", "recovered", "retrained", "independent", "head masking"]
    assert str(table.loc["target", "Pre Acc"]) in said and "tsne-digits.png" in said


def test_table_writes_the_path_s_results(tmp_path, tiny, tiny_data, tiny_parts, tiny_original, tiny_deposited):
    assert main(["table", "--out", str(tmp_path), "--device", "cpu"]) == 0
    networks = {"original": tiny_original, "target": tiny_deposited[0], "recovered": lk.withdraw(*tiny_deposited)}
    networks |= lk.reference_networks(tiny_original, tiny_data, tiny_parts, tiny)
    expected = lk.results_table(networks, tiny_parts)
    found = pandas.read_csv(tmp_path / "results-digits.csv", index_col=0)
    pandas.testing.assert_frame_equal(found, expected, check_names=False)


def test_table_over_seeds_writes_a_row_a_run_and_network_and_prints_the_means(tmp_path, capsys):
    assert main(["table", "--seeds", "1", "--seed", "3", "--out", str(tmp_path), "--device", "cpu"]) == 0
    rows = pandas.read_csv(tmp_path / "results-digits-1-seeds.csv")
    assert len(rows) == 5 * 6 and set(rows["seed"]) == {3}
    said = capsys.readouterr().out
    assert f"{rows[rows.network == 'target']['Pre Acc'].mean():.2f} ± " in said and "ΔPre" in said


def test_beside_the_runs_stand_the_machines_that_measured_them_not_the_one_that_prints(tmp_path, monkeypatch):
    options = ["table", "--deposit-sets", "1", "--references", "--jobs", "1", "--data-name", "CIFAR-10 (toy)"]
    options += ["--out", str(tmp_path), "--device", "cpu"]
    with monkeypatch.context() as elsewhere:
        there = {"device": "a fast card", "cores": 16, "python": "3.13", "torch": "9.9", "torchvision": "9"}
        elsewhere.setattr("lirf_kit.evidence.experiments.machine", lambda device: there)
        main([*options, "--seeds", "1"])
    here = machine(torch.device("cpu"))
    hardware = {}
    for seeds in ("1", "2"):  # the first one is loaded
        assert main([*options, "--seeds", seeds]) == 0
        cards = lk.claim_cards(tmp_path).set_index(["data", "network", "metric"])
        hardware[seeds] = cards.loc[("CIFAR-10", "original", "Pre Acc"), "hardware"]
    both = f"a fast card and {here['device']}, 16 and {here['cores']} cores"
    assert hardware == {"1": "a fast card, 16 cores", "2": both}


def test_beside_the_runs_stands_what_they_are_runs_of(tmp_path):
    options = ["--seeds", "1", "--deposit-sets", "1", "--references", "--set", "keep=0.7", "--set", "relabel=random"]
    assert main(["table", *options, "--data-name", "Toy", "--out", str(tmp_path), "--device", "cpu"]) == 0
    about = json.loads((tmp_path / "results-digits-1-seeds.json").read_text())
    assert (about["data"], about["protocol"], about["seeds"]) == ("Toy", "test part, all classes", [0])
    assert (about["config"]["keep"], about["config"]["relabel"]) == (0.7, "random")
    assert about["machine"]["torch"] == torch.__version__ and "folder" not in about["config"]
    assert pandas.read_csv(tmp_path / "results-digits-1-seeds.csv")["network"].tolist() == [
        "original", "target", "recovered",
    ]  # fmt: skip


def test_the_own_part_s_table_is_another_file(tmp_path):
    options = ["--seeds", "1", "--deposit-sets", "1", "--references", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["table", *options, "--among", "part"]) == 0
    (runs,) = tmp_path.glob("results-*.csv")
    assert runs.name == "results-digits-1-seeds-own-part.csv"
    assert json.loads(runs.with_suffix(".json").read_text())["protocol"] == "test part, own part's classes"
    assert main(["table", *options]) == 0
    other = pandas.read_csv(tmp_path / "results-digits-1-seeds.csv")
    assert (pandas.read_csv(runs)["Pre Acc"] >= other["Pre Acc"]).all()


@pytest.mark.parametrize("command", [["ablation"], ["sweep", "keep", "1.0", "0.7"]])
def test_ablation_and_sweep_write_the_runs_of_each_variant(tmp_path, tiny, command):
    options = ["--seeds", "1", "--deposit-sets", "1", "--jobs", "1", "--device", "cpu"]
    assert main([*command, *options, "--out", str(tmp_path)]) == 0
    name = "-".join([command[0], "digits", *command[1:2]])
    runs = pandas.read_csv(tmp_path / f"{name}.csv", dtype={"variant": str})
    expected = list(lk.ablations(tiny)) if command == ["ablation"] else ["1.0", "0.7"]
    assert runs["variant"].tolist() == [variant for variant in expected for _ in range(3)]
    assert json.loads((tmp_path / f"{name}.json").read_text())["protocol"] == "validation part, all classes"


def test_wrong_knobs_are_answered_by_one_sentence_before_any_training(no_training, tmp_path, capsys):
    for arguments, sentence in [
        (["table", "--set", "keep"], "--set must be KNOB=VALUE, not 'keep'"),
        (["table", "--set", "keep=2"], "keep must be a number above 0 and at most 1, not 2"),
        (["table", "--set", "keeps=1"], "Config has no field 'keeps'; did you mean 'keep'?"),
        (["table", "--seeds", "1", "--references", "oracle"], "references must be retrained, independent or head"),
        (["sweep", "keep", "1.0", "0"], "keep must be a number above 0 and at most 1, not 0"),
        (["sweep", "split_after", "9"], "split_after must be 1 or 2, not 9"),
        (["table", "--seeds", "1", "--among", "none"], "among must be all or part, not 'none'"),
        (["ablation", "--jobs", "0"], "jobs must be a whole number at least 1, not 0"),
    ]:
        said = fails(capsys, *arguments, "--out", tmp_path)
        assert sentence in said, said


def test_wrong_options_are_answered_by_one_sentence_before_any_training(no_training, tmp_path, capsys):
    for arguments, sentence in [
        (["--preset", "nope"], "preset must be .*digits.*, not 'nope'"),
        (["--device", "gpu"], "device must be auto, cpu, cuda or mps, not 'gpu'"),
        (["--seed", "-1"], "seed must be a whole number at least 0"),
        (["--seed", "many"], "argument --seed: invalid int value: 'many'"),
        (["--color"], "unrecognized arguments: --color"),
    ]:
        said = fails(capsys, "table", "--out", tmp_path, *arguments)
        assert re.search(sentence, said), said
    assert "seeds must be at least 1, not 0" in fails(capsys, "table", "--out", tmp_path, "--seeds", "0")
    assert "invalid choice: 'picture'" in fails(capsys, "picture")
    assert "required" in fails(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none_is_answered_by_one_sentence(no_training, tmp_path, capsys):
    said = fails(capsys, "figures", "--device", "cuda", "--out", tmp_path)
    assert said == "lirf_kit: device must be one that this machine has, not 'cuda': choose 'auto' or 'cpu'\n"


@pytest.mark.parametrize(("command", "folder"), [("figures", "figures"), ("table", "benchmarks")])
def test_figures_and_measurements_have_folders_of_their_own(tmp_path, monkeypatch, command, folder):
    monkeypatch.chdir(tmp_path)
    assert main([command, "--device", "cpu"]) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("home", "data")] == [folder]


@pytest.mark.parametrize("command", ["figures", "table"])
def test_a_folder_that_cannot_be_written_ends_before_any_training(no_training, tmp_path, capsys, command):
    (tmp_path / "taken").write_text("keep me")
    said = fails(capsys, command, "--out", tmp_path / "taken")
    assert said.startswith("lirf_kit: out must be a folder that can be written, not ")
    assert (tmp_path / "taken").read_text() == "keep me"


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    (tmp_path / "results-digits.csv").write_text("old")

    replace = os.replace

    def full(beside, path):
        if str(path).endswith(".csv"):
            raise OSError(28, "No space left on device")
        return replace(beside, path)

    monkeypatch.setattr("os.replace", full)
    said = fails(capsys, "table", "--out", tmp_path, "--device", "cpu")
    assert "out must be a folder that can be written, but" in said and "No space left" in said
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["results-digits.csv"]
    assert (tmp_path / "results-digits.csv").read_text() == "old"


def test_an_interrupted_command_says_so_in_one_sentence(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lk, "load_dataset", interrupt)
    assert main(["table", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "lirf_kit: interrupted; what was finished before is kept\n"


@pytest.mark.filterwarnings("ignore:interrupted")
@pytest.mark.parametrize("command", ["figures", "table"])
def test_a_training_that_was_interrupted_ends_the_command_and_is_gone_on_with_by_the_next(
    tmp_path, capsys, interrupt_at, command
):
    calls = interrupt_at(2)
    assert main([command, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 130
    assert "lirf_kit: interrupted; what was finished before is kept\n" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    assert main(["table", "--references", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert len(calls) == 3


def test_doctor_says_versions_device_and_kernel(capsys, own_home):
    assert main(["doctor", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert lines["torch"].split()[1].startswith(torch.__version__.split("+")[0])
    assert lines["device"].split(maxsplit=1)[1] == "cpu (asked for: cpu)"
    assert lines["instructions"].split()[1] == torch.backends.cpu.get_cpu_capability()
    assert lines["convolutions"].split(maxsplit=1)[1] == "right"
    assert {"pydantic", "lazy-loader", "jupyterlab", "nbval"} <= lines.keys()  # from the package's own metadata
    assert "torchdr" not in lines
    assert lines["python"].split()[1] == ".".join(map(str, sys.version_info[:3]))
    assert "kernel" in lines and str(own_home) in said


def test_doctor_says_what_to_do_about_what_is_missing(capsys, monkeypatch):
    requires = importlib.metadata.requires("lirf-kit") + ['no-such-package>=1; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: requires)
    monkeypatch.setattr("lirf_kit.doctor._kernel", lambda: None)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "missing: no-such-package" in said and "kernel         missing" in said and 'pip install -e ".[dev]"' in said


def test_doctor_says_what_to_do_about_a_processor_that_computes_wrong_gradients(capsys, monkeypatch):
    monkeypatch.setattr("lirf_kit.bench.gradient_errors", lambda: {(4, 8): 0.8, (16, 8): 1e-7})
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "convolutions   wrong: on this processor PyTorch gets the gradients of networks with widths (4, 8)" in said
    assert "ONEDNN_MAX_CPU_ISA=AVX" in said and "(16, 8)" not in said and "all there" not in said


def test_doctor_for_class_tries_the_path_and_gives_a_line_for_the_lecturer(capsys, own_home, monkeypatch):
    monkeypatch.setitem(lk.config._PRESETS, "digits", lk.Config())
    assert main(["doctor", "--class", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    line = said.splitlines()[-1].split(" | ")
    assert said.splitlines()[-2] == "to send to your lecturer:"
    version = ".".join(map(str, sys.version_info[:3]))
    assert line[0] in ("ready", "not ready: slow: run each notebook once before class, so that its networks are saved")
    assert f"python {version}" in line and any(re.fullmatch(r"short run \d+\.\d s", part) for part in line)
    assert any(re.fullmatch(r"\d+\.\d GiB free", part) for part in line) and "short run  " in said
    assert not list(own_home.iterdir())  # it leaves nothing behind


@pytest.mark.parametrize(
    ("place", "stand_in", "problem"),
    [
        ("lirf_kit.doctor._kernel", lambda: None, "missing: the notebooks' kernel, python3"),
        ("lirf_kit.doctor._machine", lambda options: True, "wrong convolutions"),
        ("lirf_kit.doctor._short_path", lambda device: (99.0, ""), "slow: run each notebook once before class"),
        ("lirf_kit.doctor._short_path", lambda device: (1.0, "wrong numbers"), "wrong numbers | python"),
        ("lirf_kit.doctor.LEAST_FREE", 1e9, "less than 1000000000.0 GiB free in "),
    ],
)  # fmt: skip
def test_doctor_for_class_tells_the_lecturer_what_is_wrong(capsys, monkeypatch, place, stand_in, problem):
    monkeypatch.setattr("lirf_kit.doctor._short_path", lambda device: (1.0, ""))
    monkeypatch.setattr(place, stand_in)
    assert main(["doctor", "--class"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"not ready: {problem}")


def test_doctor_for_class_notices_a_path_that_does_not_bring_everything_back(capsys):
    assert main(["doctor", "--class", "--device", "cpu"]) == 0  # the tiny preset's networks know next to nothing
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"not ready: the short run's numbers are wrong: Dep Acc \d+ % in the target, Avg Acc \d+ % ", line)


def test_doctor_works_where_the_kit_is_not_installed(capsys, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", missing)
    monkeypatch.setattr("importlib.metadata.version", missing)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "missing: lirf-kit\n" in said and 'pip install -e ".[dev]"' in said


def python(*arguments, **environment):
    settings = os.environ | {"COLUMNS": "200"} | environment
    return subprocess.run([sys.executable, *arguments], capture_output=True, env=settings, encoding="utf-8")


WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from lirf_kit.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_command_without_torch_says_what_is_missing_in_one_sentence(tmp_path):
    done = python("-c", WITHOUT_TORCH, "table", "--out", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("lirf_kit: torch is missing: python -m lirf_kit doctor says what to do")


def test_doctor_works_where_torch_is_missing():
    hidden = (
        "import importlib.metadata as m; real = m.version; m.version = lambda n: real('no-' * (n == 'torch') + n); "
    )
    done = python("-c", hidden + WITHOUT_TORCH, "doctor")
    assert done.returncode == 0 and not done.stderr
    assert (
        "torch          missing" in done.stdout and "missing: torch\n" in done.stdout and "pip install" in done.stdout
    )


def test_doctor_names_a_package_that_is_there_and_cannot_be_imported():
    done = python("-c", WITHOUT_TORCH, "doctor", "--class")
    assert done.returncode == 0 and not done.stderr
    assert "missing: torch\n" in done.stdout and 'pip install -e ".[dev]"' in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not ready: missing: torch | ")


def test_without_lazy_loader_the_package_says_how_to_install_it():
    done = python("-c", "import sys; sys.modules['lazy_loader'] = None; import lirf_kit")
    assert "ModuleNotFoundError: lirf_kit needs lazy-loader: in the kit's folder, python -m pip install" in done.stderr


def test_a_terminal_that_lacks_a_letter_does_not_stop_a_command(tmp_path):
    done = python("-m", "lirf_kit", "table", "--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    done = python("-c", "from lirf_kit.cli import main; main(['doctor']); print('Δ')", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.endswith("?\n")


@pytest.mark.parametrize("wrong", [["--preset", "nope"], ["--seed", "-1"], ["--seeds", "0"]])
def test_wrong_input_leaves_no_folder_behind(no_training, tmp_path, capsys, wrong):
    fails(capsys, "table", *wrong, "--out", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_the_module_runs_as_a_command():
    done = python("-m", "lirf_kit", "doctor")
    assert done.returncode == 0 and "torch" in done.stdout and not done.stderr


def test_the_module_passes_the_exit_status_on(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["lirf_kit", "figures", "--preset", "nope", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="^2$"):
        runpy.run_module("lirf_kit", run_name="__main__")


WITHOUT_WIDGETS = """
import sys
REFUSED = ("anywidget", "ipywidgets", "IPython", "ipykernel", "jupyter", "jupyter_client", "jupyter_core")
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] in REFUSED:
            print("asked for", name)
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""


def test_importing_the_package_asks_for_no_widgets_and_no_jupyter():
    done = python("-c", WITHOUT_WIDGETS + "import lirf_kit, lirf_kit.cli\nprint('imported', lirf_kit.__version__)")
    assert done.stdout == f"imported {lk.__version__}\n", done.stderr


def test_gpu_measures_everything_without_a_gpu_and_without_widgets_too(tmp_path):
    quick = """
from lirf_kit import bench, bench_preset
from lirf_kit.method import training
bench.PICTURES, bench.WARM_UP, bench.REPEATS = 200, 1, 2
bench_preset.WARM_UP, bench_preset.PEER_STEPS, bench_preset.PEER_BATCH = 1, 1, 8
training.compiled = lambda network, config: network
from lirf_kit.cli import main
sys.exit(main(sys.argv[1:]))
"""
    tiny = "dataset=digits image_size=8 split_after=1 widths=(4,8) blocks_per_stage=1 epochs=1 batch_size=16 threads=1 "
    tiny += "deposit_epochs=1 deposit_batch_size=64 lambda_cs=0.0 test_fraction=0.1 perplexity=10"
    knobs = [text for knob in tiny.split() for text in ("--set", knob)]
    options = [*knobs, "--seeds", "1", "--deposit-sets", "2", "--runs", "1", "--out", str(tmp_path / "out")]
    done = python("-c", WITHOUT_WIDGETS + quick, "gpu", "--device", "cpu", *options)
    assert done.returncode == 0 and "asked for" not in done.stdout, done.stderr
    found = {path.name: path.read_text("utf-8") for path in (tmp_path / "out").iterdir()}
    parts = ["gpu-bench.json", "gpu-bench-compiled.json"]
    names = [*parts, "gpu-bench-cifar10.json", "gpu-results-cifar10-1-seeds.csv", "gpu-results-cifar10-1-seeds.json"]
    assert sorted(found) == sorted(names)
    for name, compiled in zip(parts, (False, True)):
        about = json.loads(found[name])
        assert about["config"]["compile"] == compiled and about["training_step"]["peak_share"] > 0
    whole = json.loads(found["gpu-bench-cifar10.json"])
    assert list(whole["seconds"]) == ["train", "deposit", "withdraw", "features", "t-SNE"]
    assert len(whole["runs"]) == 1 and whole["peer"]["ratio"] > 0
    runs = pandas.read_csv(tmp_path / "out" / "gpu-results-cifar10-1-seeds.csv")
    assert runs["network"].tolist() == ["original", "target", "recovered", "head masking", "retrained"] * 2


@pytest.fixture
def measurements(monkeypatch, tiny):
    """Stand-ins for the two measurements; returns the list of what was measured."""
    from lirf_kit import bench, bench_preset

    taken = []

    def parts(config):
        taken.append("compiled" if config.compile else "parts")
        return bench.about(config, torch.device("cpu"), bench.STAGES)

    def whole(config, runs):
        taken.append("preset")
        return bench_preset.about_preset(config, runs) | {"runs": []}

    monkeypatch.setitem(lk.config._PRESETS, "cifar10", tiny)
    monkeypatch.setattr(bench, "bench", parts)
    monkeypatch.setattr(bench_preset, "bench_preset", whole)
    return taken


def test_gpu_goes_on_where_it_was_cut_off(measurements, tmp_path, monkeypatch, capsys):
    table = lk.results_over_seeds

    def cut_off(config, *arguments, references, **options):
        if "retrained" in references:
            raise KeyboardInterrupt
        return table(config, *arguments, references=references, **options)

    command = ["gpu", "--seeds", "1", "--deposit-sets", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(lk, "results_over_seeds", cut_off)
    assert main(command) == 130
    assert measurements == ["parts", "compiled", "preset"]
    file = tmp_path / "out" / "gpu-results-cifar10-1-seeds.csv"
    assert pandas.read_csv(file)["network"].tolist() == ["original", "target", "recovered", "head masking"]
    monkeypatch.setattr(lk, "results_over_seeds", table)
    assert main(command) == 0
    assert measurements == ["parts", "compiled", "preset"] and capsys.readouterr().out.count("already measured") == 3
    assert pandas.read_csv(file)["network"].tolist()[-2:] == ["head masking", "retrained"]


def test_gpu_measures_again_what_was_measured_with_different_knobs_or_is_damaged(measurements, tmp_path):
    command = ["gpu", "--seeds", "1", "--deposit-sets", "1", "--references", "--device", "cpu", "--out", str(tmp_path)]
    assert main(command) == 0
    measurements.clear()
    assert main([*command, "--runs", "2"]) == 0 and measurements == ["preset"]
    (tmp_path / "gpu-bench.json").write_text("{")
    measurements.clear()
    assert main([*command, "--set", "keep=0.7"]) == 0 and measurements == ["parts", "compiled", "preset"]


def test_gpu_names_wrong_options_before_it_measures(measurements, tmp_path, capsys):
    for arguments, sentence in [
        (["--references", "oracle"], "references must be retrained, independent or head masking, not 'oracle'"),
        (["--seeds", "0"], "seeds must be at least 1, not 0"),
        (["--deposit-sets", "0"], "deposit_sets must be from 1 to 120, not 0"),
        (["--runs", "0"], "runs must be at least 1, not 0"),
    ]:
        said = fails(capsys, "gpu", "--device", "cpu", "--out", tmp_path / "out", *arguments)
        assert said == f"lirf_kit: {sentence}\n"
    assert not measurements and not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_says_in_one_sentence_that_it_needs_one(measurements, tmp_path, capsys):
    said = fails(capsys, "gpu", "--out", tmp_path / "out")
    assert said == "lirf_kit: gpu needs a GPU, but PyTorch finds none here; --device cpu would take many hours\n"
    assert not measurements and not (tmp_path / "out").exists()


def test_editions_writes_both_and_refuses_a_folder_without_notebooks(tmp_path, capsys):
    said = fails(capsys, "editions", "--source", tmp_path, "--out", tmp_path / "out")
    assert said == f"lirf_kit: source must be a folder with notebooks, not '{tmp_path}'\n"
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    assert main(["editions", "--source", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"written: 2 notebooks in {tmp_path / 'out'}\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["instructor", "student"]


def test_editions_says_what_it_kept_and_how_to_get_the_new_one(tmp_path, capsys):
    options = ["editions", "--source", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "student"]
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    assert main(options) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["student"]
    mine = tmp_path / "out" / "student" / "notebooks" / "a.ipynb"
    mine.write_text("my work")
    capsys.readouterr()
    assert main(options) == 0
    kept = f"written: 0 notebooks in {tmp_path / 'out'}; kept, because you have changed them: 1\n"
    assert capsys.readouterr().out == kept
    changed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("new")])
    nbformat.write(changed, tmp_path / "a.ipynb")
    assert main(options) == 0
    hint = f"  there is a newer {mine}: to get it, rename yours and run this again\n"
    assert capsys.readouterr().out == kept + hint and mine.read_text() == "my work"


def test_evidence_prints_every_test_and_writes_runs_and_a_figure(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lk, "preset", lambda name: tiny.replace(lambda_cs=0.3))
    options = ["--deposit-sets", "1", "--per-class", "20", "--on", "validation", "--jobs", "1", "--device", "cpu"]
    assert main(["evidence", *options, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "linear probe, stage 2" in said and "target, output alone" in said and "how much of the gap" in said
    runs = pandas.read_csv(tmp_path / "evidence-digits-1-seeds.csv", keep_default_na=False)
    assert list(runs.columns) == ["seed", "deposit classes", "test", "task", "network", "value", "note"]
    assert runs["note"].str.contains("unseen images the lowest rate above 0").any()
    about = json.loads((tmp_path / "evidence-digits-1-seeds.json").read_text(encoding="utf-8"))
    assert about["protocol"].startswith("validation part; the tests learn from at most 20 training images of each ")
    assert about["config"]["lambda_cs"] == 0.3
    assert (tmp_path / "evidence-digits-1-seeds.png").exists()


def test_evidence_refuses_no_training_images_before_it_trains(no_training, tmp_path, capsys):
    said = fails(capsys, "evidence", "--per-class", "0", "--out", tmp_path)
    assert "per_class must be a whole number at least 1, or None for all, not 0" in said


def test_evidence_refuses_a_wrong_part_before_it_trains(no_training, tmp_path, capsys):
    assert "on must be validation or test, not 'train'" in fails(capsys, "evidence", "--on", "train", "--out", tmp_path)


def test_bank_prints_every_state_and_writes_the_runs(tmp_path, capsys):
    options = ["--set", "deposit_epochs=1", "--choices", "1", "--on", "validation", "--jobs", "1", "--device", "cpu"]
    sizes = ["--sizes", "1,1,1", "--sizes", "1,2"]
    assert main(["bank", *options, *sizes, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "deposits of 1, 1, 1 classes" in said and "3 back" in said and "over all 6 orders" in said
    runs = pandas.read_csv(tmp_path / "bank-digits-1-seeds.csv")
    assert runs.groupby("sizes").size().to_dict() == {"1,1,1": 6 * 10, "1,2": 5}
    about = json.loads((tmp_path / "bank-digits-1-seeds.json").read_text(encoding="utf-8"))
    assert about["config"]["mixtures"] and about["config"]["deposit_epochs"] == 1  # the recipe, then what was set


def test_bank_refuses_wrong_input_before_it_trains(no_training, tmp_path, capsys):
    for option, value, sentence in (
        ("--sizes", "1;2", "--sizes must be whole numbers with commas between them, such as 2,2,1, not '1;2'"),
        ("--sizes", "5,5", r"sizes must be at least 1 each and add up to less than 10 classes, not (5, 5)"),
        ("--on", "train", "on must be test or validation, not 'train'"),
        ("--teacher", "me", "teacher must be original or target, not 'me'"),
    ):
        assert sentence in fails(capsys, "bank", option, value, "--out", tmp_path)


def test_distillation_prints_every_teacher_s_students_and_writes_the_runs(tmp_path, capsys):
    options = ["--deposit-sets", "2", "--per-class", "20", "--epochs", "1", "--jobs", "1", "--device", "cpu"]
    assert main(["distillation", *options, "--on", "validation", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "student by attention and labels, half the width" in said and "target, λ_at = 0" in said
    assert "validation part, all classes; transfer set: at most 20 training images of each class; epochs: 1" in said
    runs = pandas.read_csv(tmp_path / "distillation-digits-1-seeds.csv")
    assert list(runs.columns) == ["seed", "deposit classes", "test", "task", "network", "value"]
    chosen = (runs["test"] == "student by logits, same size") & (runs["task"] == "preserved images")
    values = runs[chosen & (runs["network"] == "retrained")]["value"]
    assert len(values) == 2 and f"{values.mean():.1f} ± {values.std():.1f}" in said
    about = json.loads((tmp_path / "distillation-digits-1-seeds.json").read_text(encoding="utf-8"))
    assert about["protocol"].startswith("validation part, all classes; transfer set") and about["seeds"] == [0]


def test_distillation_refuses_wrong_input_before_it_trains(no_training, tmp_path, capsys):
    said = fails(capsys, "distillation", "--epochs", "0", "--out", tmp_path)
    assert "epochs must be a whole number of at least 1, not 0" in said
    assert "seeds must be at least 1, not 0" in fails(capsys, "distillation", "--seeds", "0", "--out", tmp_path)
