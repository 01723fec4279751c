import ast
import copy
import hashlib
import importlib.util
import json
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import lirf_kit as lk
from lirf_kit import artifacts
from lirf_kit.artifacts import run_folder
from lirf_kit.method import caching

MADE_FROM = {"config": {"widths": [4, 8], "epochs": 2}, "data": "abc"}
WEIGHTS = {"layer.weight": torch.arange(6.0).view(2, 3), "layer.steps": torch.tensor(7)}
METRICS = {"history": [{"epoch": 1, "loss": 0.1 + 0.2}]}


@pytest.fixture
def run():
    """A run's folder."""
    return lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)


@pytest.fixture
def trainings(monkeypatch):
    """What was trained and deposited instead of loaded, as a list of names that grows."""
    made = []
    for name, told in {"train_original": "train_original", "finish_deposit": "deposit"}.items():
        function = getattr(caching, name)

        def spy(*arguments, told=told, function=function):
            made.append(told)
            return function(*arguments)

        monkeypatch.setattr(caching, name, spy)
    return made


def assert_is_the_run(found):
    weights, metrics = found
    assert sorted(weights) == sorted(WEIGHTS)
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert metrics == METRICS  # to the last digit


def walk(data, config):
    """The path from the data to the recovered network; returns the three networks."""
    parts = lk.split_by_class(data, config.deposit_classes)
    original = lk.load_or_train(data, config)
    target, deposit_module = lk.load_or_deposit(original, parts.deposit_set, config)
    return original, target, lk.withdraw(target, deposit_module)


def test_a_run_comes_back_as_it_was_saved(run):
    assert_is_the_run(lk.load_run("original", MADE_FROM))


def test_a_run_is_three_files_in_the_home_folder(run, own_home):
    assert run.parent == own_home
    assert [path.name for path in own_home.iterdir()] == [run.name]
    assert sorted(path.name for path in run.iterdir()) == ["made_from.json", "metrics.json", "weights.safetensors"]


def test_what_made_a_run_may_come_in_any_order(run):
    assert_is_the_run(lk.load_run("original", dict(reversed(MADE_FROM.items()))))


def test_a_run_of_something_else_is_not_found_and_nothing_is_warned_of(run, recwarn):
    assert lk.load_run("original", MADE_FROM | {"data": "abd"}) is None
    assert lk.load_run("original", MADE_FROM | {"config": {"widths": [4, 8], "epochs": 3}}) is None
    assert lk.load_run("deposit", MADE_FROM) is None
    assert not recwarn.list


def test_another_version_of_the_package_does_not_find_the_run(run, monkeypatch):
    monkeypatch.setattr(lk, "__version__", "999")
    spec = importlib.util.find_spec("lirf_kit.artifacts")
    later = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(later)
    assert later.load_run("original", MADE_FROM) is None
    assert later.run_folder("original", MADE_FROM) != run


OLDER = {"config": {"widths": [4, 8]}, "data": "abc"}  # MADE_FROM before there was a knob for the epochs


@pytest.mark.parametrize("older", [OLDER, {"config": MADE_FROM["config"] | {"gone": 1}, "data": "abc"}])
def test_a_run_of_an_older_version_of_the_config_is_named_left_alone_and_made_again(older, recwarn):
    folder = lk.save_run("original", older, WEIGHTS, {"history": "older"})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert lk.load_run("original", MADE_FROM) is None
    (warning,) = recwarn.list
    knob = "epochs" if older is OLDER else "gone"
    assert re.match(
        f"{re.escape(str(folder))} is from an older version of the config, .*{knob}.*left alone", f"{warning.message}"
    )
    assert warning.filename == __file__
    run = lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)
    assert run != folder and {path.name: path.read_bytes() for path in folder.iterdir()} == before
    recwarn.clear()
    assert_is_the_run(lk.load_run("original", MADE_FROM))
    assert lk.load_run("original", older)[1] == {"history": "older"} and not recwarn.list


@pytest.mark.parametrize(
    "other",
    [
        {"config": {"widths": [4, 9]}, "data": "abc"},  # the knobs that both have differ
        {"config": {"widths": [4, 8]}, "data": "abd"},
        {"config": {"depth": 3}, "data": "abc"},  # no knob in common
        {"data": "abc"},
    ],
)
def test_a_run_that_would_be_another_one_anyway_is_not_named(other, recwarn):
    lk.save_run("original", other, WEIGHTS, METRICS)
    lk.save_run("deposit", OLDER, WEIGHTS, METRICS)  # nor one of another kind
    assert lk.load_run("original", MADE_FROM) is None and not recwarn.list


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"\xff\x00", b"{}", b'{"made_from": []}', b'{"made_from": {"config": 3}}']
)
def test_another_run_s_damage_hides_no_older_run_and_stops_nothing(own_home, recwarn, note):
    (own_home / "original-0").mkdir(parents=True)
    (own_home / "original-0" / "made_from.json").write_bytes(note)
    (own_home / "original-1" / "made_from.json").mkdir(parents=True)
    assert lk.load_run("original", MADE_FROM) is None and not recwarn.list
    folder = lk.save_run("original", OLDER, WEIGHTS, METRICS)
    with pytest.warns(UserWarning, match=f"^{re.escape(str(folder))} is from an older version"):
        assert lk.load_run("original", MADE_FROM) is None


@pytest.mark.parametrize(
    "edited, again",
    [
        ("training", ["original", "unfinished", "deposit", "result"]),
        ("losses", ["deposit", "result"]),
        ("pruning", ["deposit", "result"]),
        ("metrics", ["result"]),
        ("references", ["result"]),
        ("caching", ["result"]),
        ("figures", []),
    ],
)
def test_edited_code_makes_again_what_it_bears_on_and_nothing_else(monkeypatch, edited, again):
    kinds, read = ("original", "unfinished", "deposit", "result"), Path.read_bytes
    before = {kind: run_folder(kind, MADE_FROM) for kind in kinds}
    source = f"{edited}.py"
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"#" * (self.name == source))
    assert [kind for kind in kinds if run_folder(kind, MADE_FROM) != before[kind]] == again


MADE_IN = {  # where each kind of run is made
    "original": "method/training", "unfinished": "method/training", "deposit": "method/depositing",
    "result": "evidence/experiments", "evidence": "evidence/laboratory", "custody": "evidence/custody",
    "bank": "evidence/banks", "distillation": "evidence/distillation", "opening": "widgets/opening",
}  # fmt: skip
IN_THE_NOTE = {"config", "data/sources", "data/decoding", "data/downloading"}  # what comes from them is hashed itself
BEAR_ON_NOTHING = {  # where no bank is measured; and threads and the size of a picture change no number
    "artifacts", "method/bank", "method/bank_files", "widgets/jobs", "widgets/small_views",
}  # fmt: skip


def imported(module, found):
    """Add to `found` all modules of the kit that a module imports, and what those import."""
    package = Path(lk.__file__).parent
    for node in ast.walk(ast.parse(package.joinpath(f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lirf_kit"):
            folders = node.module.split(".")[1:]
            for name in ("/".join(folders), *("/".join([*folders, alias.name]) for alias in node.names)):
                if name not in found and package.joinpath(f"{name}.py").exists():
                    found.add(name)
                    imported(name, found)
    return found


@pytest.mark.parametrize("kind", artifacts.MADE_BY)
def test_a_run_depends_on_all_code_that_can_change_its_numbers(kind):
    needed = imported(MADE_IN[kind], {MADE_IN[kind]}) - IN_THE_NOTE - BEAR_ON_NOTHING
    assert {"method/networks", "devices"} < needed <= set(artifacts.MADE_BY[kind])


def flip_a_byte(run):
    content = bytearray((run / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "weights.safetensors").write_bytes(content)


def truncate(name):
    def damage(run):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return damage


def edit(old, new):
    def damage(run):
        note = (run / "made_from.json").read_text()
        assert old in note
        (run / "made_from.json").write_text(note.replace(old, new))

    return damage


DAMAGES = {
    "a byte of the weights flipped": flip_a_byte,
    "weights cut off": truncate("weights.safetensors"),
    "weights empty": lambda run: (run / "weights.safetensors").write_bytes(b""),
    "weights missing": lambda run: (run / "weights.safetensors").unlink(),
    "metrics changed": lambda run: (run / "metrics.json").write_text('{"history": []}'),
    "metrics missing": lambda run: (run / "metrics.json").unlink(),
    "note cut off": truncate("made_from.json"),
    "note missing": lambda run: (run / "made_from.json").unlink(),
    "note of another kind": lambda run: (run / "made_from.json").write_text("[]"),
    "note not text": lambda run: (run / "made_from.json").write_bytes(b"\xff\x00"),
    "another config": edit('"epochs": 2', '"epochs": 3'),
    "another version": edit(f'"version": "{lk.__version__}', '"version": "999'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_named_and_never_used_and_replaced_by_the_next_one(run, damage):
    damage(run)
    with pytest.warns(UserWarning, match=f"^{re.escape(str(run))} can't be used and is made again"):
        assert lk.load_run("original", MADE_FROM) is None
    lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)
    assert_is_the_run(lk.load_run("original", MADE_FROM))


def test_a_run_under_another_run_s_name_is_not_used(run):
    others = MADE_FROM | {"data": "xyz"}
    wrong = lk.save_run("original", others, WEIGHTS, METRICS)
    shutil.rmtree(wrong)
    run.rename(wrong)
    with pytest.warns(UserWarning, match=f"{wrong.name} can't be used .*made from something else"):
        assert lk.load_run("original", others) is None


@pytest.mark.parametrize("crash", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("moment", ["os.fsync", "safetensors.torch.save", "pathlib.Path.rename"])
def test_a_crash_while_writing_leaves_nothing_that_is_found(own_home, monkeypatch, recwarn, moment, crash):
    def die(*_, **__):
        raise crash

    with monkeypatch.context() as broken, pytest.raises(crash):
        broken.setattr(moment, die)
        lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)
    assert lk.load_run("original", MADE_FROM) is None
    assert not list(own_home.iterdir()) and not recwarn.list


def test_a_process_that_was_killed_while_writing_left_nothing_that_is_found(run, own_home):
    run.rename(own_home / ".writing-killed")  # the name that a run has before it is whole
    assert lk.load_run("original", MADE_FROM) is None
    lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)
    assert_is_the_run(lk.load_run("original", MADE_FROM))


@pytest.mark.parametrize("step", [1, 2])
def test_a_process_that_was_killed_while_replacing_a_run_lost_neither(run, own_home, monkeypatch, step):
    class Killed(BaseException):
        pass

    def killed(self, target, rename=Path.rename):
        calls.append(target)
        if len(calls) == step:
            raise Killed
        return rename(self, target)

    calls, put_back = [], artifacts.put_back
    with monkeypatch.context() as broken, pytest.raises(Killed):
        broken.setattr("lirf_kit.artifacts.put_back", lambda _: None)  # a killed process cleans nothing up
        broken.setattr("pathlib.Path.rename", killed)
        lk.save_run("original", MADE_FROM, WEIGHTS, {"history": "newer"})
    assert artifacts.put_back is put_back
    assert_is_the_run(lk.load_run("original", MADE_FROM))
    assert [path.name for path in own_home.iterdir()] == [run.name]
    lk.save_run("original", MADE_FROM, WEIGHTS, {"history": "newer"})
    assert lk.load_run("original", MADE_FROM)[1] == {"history": "newer"}
    assert [path.name for path in own_home.iterdir()] == [run.name]


def test_what_killed_processes_left_behind_goes_after_an_hour_and_nothing_else(run, own_home):
    for name in (f".replaced-{run.name}", ".replaced-original-lost", ".writing-killed", ".writing-busy"):
        shutil.copytree(run, own_home / name)
        if name != ".writing-busy":
            os.utime(own_home / name, (0, 0))
    os.utime(run, (0, 0))
    lk.save_run("deposit", MADE_FROM, WEIGHTS, METRICS)
    left = sorted(path.name for path in own_home.iterdir() if not path.name.startswith("deposit-"))
    assert left == [".replaced-original-lost", ".writing-busy", run.name]  # the first is the only copy of its run
    assert_is_the_run(lk.load_run("original", MADE_FROM))


def test_a_second_process_waits_and_says_so_and_is_given_what_the_first_has_made(own_home, capsys):
    with artifacts.turn_to_make("original", MADE_FROM) as mine:
        assert mine is None
        found = []

        def wait():
            with artifacts.turn_to_make("original", MADE_FROM) as others:
                found.append(others)

        second = threading.Thread(target=wait)
        second.start()
        second.join(0.5)
        assert not found
        assert capsys.readouterr().err == "another process is making the same original: waiting for it\n"
        lk.save_run("original", MADE_FROM, WEIGHTS, METRICS)
    second.join(30)
    assert_is_the_run(found[0])
    with artifacts.turn_to_make("original", MADE_FROM):
        assert capsys.readouterr().err == ""  # nobody is at it
    assert not list(own_home.glob(".*.lock"))


def test_two_that_need_the_same_networks_make_them_once(tiny_data, tiny, trainings, same_weights):
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: walk(tiny_data, tiny), range(3)))
    assert trainings == ["train_original", "deposit"]
    assert all(same_weights(one, other) for walked in made[1:] for one, other in zip(made[0], walked))


def test_a_run_whose_metrics_are_nested_too_deep_is_damaged(run):
    for name, content in {"metrics.json": b"[" * 10**5 + b"]" * 10**5}.items():
        note = json.loads((run / "made_from.json").read_text())
        note["sha256"][name] = hashlib.sha256(content).hexdigest()
        (run / name).write_bytes(content)
        (run / "made_from.json").write_text(json.dumps(note))
    with pytest.warns(UserWarning, match="can't be used and is made again"):
        assert lk.load_run("original", MADE_FROM) is None


@pytest.mark.parametrize("home", ["taken/below", "x" * 300])
def test_a_home_that_cannot_be_written_costs_the_cache_and_not_the_run(
    tmp_path, monkeypatch, home, tiny_data, tiny, tiny_original, same_weights
):
    (tmp_path / "taken").write_text("a file, no folder")
    monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path / home))
    with pytest.warns(UserWarning, match="this run can't be saved in .*set LIRF_KIT_HOME to another folder"):
        network = lk.load_or_train(tiny_data, tiny)
    assert same_weights(network, tiny_original)


def test_a_full_disk_costs_the_cache_and_not_the_run(monkeypatch, own_home, tiny_data, tiny, tiny_original):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="this run can't be saved .*No space left on device"):
        network = lk.load_or_train(tiny_data, tiny)
    assert network.history[-1]["loss"] == tiny_original.history[-1]["loss"]
    assert not list(own_home.iterdir())


def test_a_loaded_run_equals_the_one_in_memory(tiny_data, tiny, trainings, same_weights):
    made = walk(tiny_data, tiny)
    assert trainings == ["train_original", "deposit"]
    loaded = walk(tiny_data, tiny)
    assert trainings == ["train_original", "deposit"]  # the second time nothing was
    for one, other in zip(made, loaded):
        assert same_weights(one, other) and not other.training
        with torch.no_grad():
            assert torch.equal(one(tiny_data.test.images), other(tiny_data.test.images))
    assert made[0].history == loaded[0].history and made[1].history == loaded[1].history


def test_weights_on_the_disk_are_safetensors_and_the_rest_is_json(tiny_data, tiny, own_home):
    walk(tiny_data, tiny)
    assert sorted(path.name.split("-")[0] for path in own_home.iterdir()) == ["deposit", "original"]
    for folder in own_home.iterdir():
        content = (folder / "weights.safetensors").read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # the format's own opening
        assert any(name.endswith("running_mean") for name in header)
        assert json.loads((folder / "made_from.json").read_text())["made_from"]["config"]["seed"] == tiny.seed
        assert len(json.loads((folder / "metrics.json").read_text())["history"]) == 2


@pytest.mark.parametrize(
    "knobs, again",
    [
        ({"lambda_at": 0.5}, ["deposit"]),  # a deposit knob leaves the original as it is
        ({"split_after": 1}, ["deposit"]),
        ({"deposit_classes": (3, 4)}, ["deposit"]),
        ({"relabel": "random"}, ["deposit"]),
        ({"perplexity": 12.0}, []),
        ({"epochs": 1}, ["train_original", "deposit"]),
        ({"widths": (4, 6)}, ["train_original", "deposit"]),
        ({"seed": 1}, ["train_original", "deposit"]),
        ({"momentum": 0.8}, ["train_original", "deposit"]),
    ],
)
def test_a_knob_makes_again_what_it_bears_on_and_nothing_else(tiny_data, tiny, trainings, knobs, again):
    walk(tiny_data, tiny)
    trainings.clear()
    walk(tiny_data, tiny.replace(**knobs))
    assert trainings == again


def test_other_data_train_another_original(tiny_data, tiny, trainings):
    lk.load_or_train(tiny_data, tiny)
    images = tiny_data.images.clone()
    images[0, 0, 0, 0] += 1
    pixel = lk.ImageData(images, tiny_data.labels, tiny_data.everything.indices, tiny_data.class_names)
    parts = tiny_data.train_indices, tiny_data.validation_indices, tiny_data.test_indices
    lk.load_or_train(lk.Dataset(pixel, *parts), tiny)
    lk.load_or_train(lk.Dataset(tiny_data.everything, parts[0][1:], *parts[1:]), tiny)
    assert trainings == ["train_original"] * 3


def test_another_original_or_other_samples_make_another_deposit(tiny_parts, tiny, tiny_original, trainings):
    lk.load_or_deposit(tiny_original, tiny_parts.deposit_set, tiny)
    other = copy.deepcopy(tiny_original)
    other.upper[-1].bias.data[0] += 1e-3
    lk.load_or_deposit(other, tiny_parts.deposit_set, tiny)
    whole = tiny_parts.deposit_set
    for another in (
        whole.select(slice(1, None), whole.deposit_classes),
        whole.select(slice(None), (0, 1, 2, 3)),  # the same samples, said to be of other classes
        whole.select(slice(None)),  # and deposited sample by sample
        lk.ImageData(whole.images, whole.labels, whole.indices + 1, whole.class_names, whole.deposit_classes),
    ):
        lk.load_or_deposit(tiny_original, another, tiny)
    assert trainings == ["deposit"] * 6


def test_a_damaged_original_is_trained_again(tiny_data, tiny, own_home, trainings, same_weights):
    first = lk.load_or_train(tiny_data, tiny)
    (run,) = own_home.iterdir()
    flip_a_byte(run)
    with pytest.warns(UserWarning, match=f"{run.name} can't be used .*weights.safetensors is damaged"):
        again = lk.load_or_train(tiny_data, tiny)
    assert trainings == ["train_original"] * 2 and same_weights(first, again)
    assert lk.load_run("original", json.loads((run / "made_from.json").read_text())["made_from"]) is not None


def test_without_a_folder_named_runs_are_kept_in_the_user_s_cache(monkeypatch):
    monkeypatch.delenv("LIRF_KIT_HOME")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("/cache", name))
    from lirf_kit.artifacts import home

    assert home() == Path("/cache/lirf_kit")
    monkeypatch.setenv("HOME", "/users/me")
    monkeypatch.setenv("USERPROFILE", "/users/me")
    monkeypatch.setenv("LIRF_KIT_HOME", "~/runs")
    assert home() == Path("/users/me/runs")
