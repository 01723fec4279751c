import math
import os
import signal
import time
import types

import joblib
import numpy
import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.devices import machine
from lirf_kit.evidence import experiments

NETWORKS = ["original", "target", "recovered", "retrained", "independent", "head masking"]
SETS = [(0, 1, 2), (3, 4, 5)]


@pytest.fixture
def measured(monkeypatch):
    """What was computed instead of loaded: the runs, (seed, deposit classes), a growing list; and which are to fail."""
    seen, measure = types.SimpleNamespace(runs=[], failing=()), experiments._measure

    def spy(data, config, deposit_classes, *rest):
        seen.runs.append((config.seed, deposit_classes))
        if seen.runs[-1] in seen.failing:
            raise MemoryError("no memory")
        return measure(data, config, deposit_classes, *rest)

    monkeypatch.setattr("lirf_kit.evidence.experiments._measure", spy)
    return seen


@pytest.fixture
def no_training(monkeypatch):
    """A training or deposit would end in a TypeError."""
    for name in ("load_or_train", "load_or_deposit"):
        monkeypatch.setattr(f"lirf_kit.evidence.experiments.{name}", None)


def test_random_deposit_sets_are_different_sets_of_three_classes_of_ten():
    sets = lk.random_deposit_sets(10, 40, seed=0)
    assert len(set(sets)) == 40
    assert all(len(set(classes)) == 3 and list(classes) == sorted(classes) for classes in sets)
    assert set(sum(sets, ())) == set(range(10))


def test_random_deposit_sets_follow_the_seed():
    assert lk.random_deposit_sets(10, 5, seed=1) == lk.random_deposit_sets(10, 5, seed=1)
    assert lk.random_deposit_sets(10, 5, seed=1) != lk.random_deposit_sets(10, 5, seed=2)


def test_all_sets_can_be_drawn_and_no_more():
    assert len(lk.random_deposit_sets(5, 10, seed=0)) == 10  # 2 of 5: 5 · 4 / 2
    for count in (0, 11):
        with pytest.raises(lk.LirfError, match=f"^deposit_sets must be from 1 to 10, not {count}"):
            lk.random_deposit_sets(5, count, seed=0)


def test_results_over_seeds_are_the_path_s_for_each_seed_and_deposit_set(tiny):
    results = lk.results_over_seeds(tiny, seeds=2, deposit_sets=2, jobs=1)
    assert results["network"].tolist() == NETWORKS * 4
    assert results["seed"].tolist() == [0] * 12 + [1] * 12
    expected = [classes for seed in (0, 1) for classes in lk.random_deposit_sets(10, 2, seed)]
    assert results["deposit classes"].tolist()[::6] == expected

    turned = tiny.replace(seed=1)
    data = lk.load_dataset(turned)
    parts = lk.split_by_class(data, expected[3])
    original = lk.train_original(data, turned)
    target, module = lk.deposit(original, parts.deposit_set, turned)
    networks = {"original": original, "target": target, "recovered": lk.withdraw(target, module)}
    halves = []
    for half in ("preservation", "deposit"):
        indices = [getattr(parts, f"{half}_{part}").indices for part in ("set", "validation")]
        halves.append(lk.train_original(lk.Dataset(data.everything, *indices, data.test_indices), turned))
    networks |= {"retrained": halves[0], "independent": tuple(halves)}
    networks["head masking"] = lk.mask_head(original, parts.deposit_set.deposit_classes)
    by_hand = lk.results_table(networks, parts)
    assert numpy.array_equal(results[by_hand.columns].to_numpy()[-6:], by_hand.to_numpy(), equal_nan=True)
    whole = lk.DepositModule(original.lower, (0, 1, 2))
    assert results["module bytes"].tolist() == [lk.module_bytes(module)] * 24
    assert results["module share"].tolist() == [lk.module_bytes(module) / lk.module_bytes(whole)] * 24


def test_seeds_and_deposit_sets_may_be_named_and_so_may_references(tiny, measured):
    results = lk.results_over_seeds(tiny, [5, 3], [[2, 1, 0], (3, 4, 5)], references=["head masking"], jobs=1)
    assert measured.runs == [(5, SETS[0]), (5, SETS[1]), (3, SETS[0]), (3, SETS[1])]
    assert results["network"].tolist() == ["original", "target", "recovered", "head masking"] * 4
    assert results["deposit classes"].tolist()[::4] == SETS * 2
    seeds_on = lk.results_over_seeds(tiny.replace(seed=5), 1, SETS, references=["head masking"], jobs=1)
    assert seeds_on.equals(results[:8]) and len(measured.runs) == 4  # a number of seeds counts on from the config's own


def test_two_processes_or_threads_find_what_one_process_finds(tiny, tmp_path, monkeypatch):
    found = []
    for jobs, backend in ((1, "loky"), (2, "loky"), (2, "threading")):
        home = tmp_path / f"home {jobs} {backend}"
        monkeypatch.setenv("LIRF_KIT_HOME", str(home))
        with joblib.parallel_config(backend=backend):
            found.append(lk.results_over_seeds(tiny, 2, SETS[:1], references=("retrained",), jobs=jobs))
        kinds = [path.name.split("-")[0] for path in home.iterdir()]
        assert {kind: kinds.count(kind) for kind in kinds} == {"original": 4, "deposit": 2, "result": 2}
    for other in found[1:]:
        pandas.testing.assert_frame_equal(found[0], other, check_exact=True)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])  # the second one has no generators
def test_outcomes_come_in_the_order_of_the_calls_whatever_the_backend(backend):
    with joblib.parallel_config(backend=backend):
        assert list(experiments._in_parallel(divmod, [(7, 2), (9, 4), (1, 1)], 2, "runs")) == [(3, 1), (2, 1), (1, 0)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills processes in another way")
def test_a_worker_that_is_killed_is_reported_and_the_other_calls_are_made_again():
    def work(number):
        if number == 3:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 0:
            time.sleep(4)
        return 10 * number

    first, *finished, killed = experiments._in_parallel(work, [(number,) for number in range(4)], 2, "works")
    assert finished == [10, 20]
    assert first == 0 and killed.startswith("TerminatedWorkerError: ") and "\n" not in killed
    assert experiments._in_parallel(work, [(1,), (2,)], 2, "works") == finished  # with new workers


def test_a_grid_survives_a_backend_that_breaks(tiny, monkeypatch):
    class Breaks(joblib.Parallel):
        def __call__(self, jobs):
            yield from super().__call__(job for job in jobs if job[1][3] != 1)
            raise RuntimeError("a worker is gone\nwith a long report")

    lk.results_over_seeds(tiny, 2, SETS[:1], references=(), jobs=1)  # the originals and the runs are on disk
    monkeypatch.setattr("lirf_kit.evidence.experiments.joblib.Parallel", Breaks)
    with pytest.warns(UserWarning, match="^1 failed and are left out; seed 1: RuntimeError: a worker is gone$"):
        results = lk.results_over_seeds(tiny, 2, SETS[:1], references=(), jobs=1)
    assert set(results["seed"]) == {0}


def test_what_was_found_is_not_computed_again(tiny, measured):
    first = lk.results_over_seeds(tiny, 1, SETS, references=(), jobs=1)
    assert measured.runs == [(0, SETS[0]), (0, SETS[1])]
    pandas.testing.assert_frame_equal(lk.results_over_seeds(tiny, 1, SETS, references=(), jobs=1), first)
    assert len(measured.runs) == 2
    more = lk.results_over_seeds(tiny, 1, [*SETS, (6, 7)], references=(), jobs=1)
    assert measured.runs[2:] == [(0, (6, 7))]  # only what is missing
    assert more[more["deposit classes"] != (6, 7)].reset_index(drop=True).equals(first)
    for asked in ({"on": "validation"}, {"among": "part"}, {"references": ("head masking",)}):
        lk.results_over_seeds(tiny, 1, SETS[:1], **{"references": (), "jobs": 1} | asked)
    lk.results_over_seeds(tiny.replace(lambda_at=0.0), 1, SETS[:1], references=(), jobs=1)
    assert len(measured.runs) == 3 + 4


def test_a_run_says_on_which_machine_it_was_measured_wherever_it_is_loaded(tiny, monkeypatch):
    there, here = {"device": "a fast card", "cores": 16}, machine(torch.device("cpu"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(experiments, "machine", lambda device: there)
        lk.results_over_seeds(tiny, 1, SETS[:1], references=(), jobs=1)
    loaded = lk.results_over_seeds(tiny, 1, SETS[:1], references=(), jobs=1)
    assert loaded.attrs == {"failed": 0, "machines": [there]} and "machine" not in loaded
    partly = lk.results_over_seeds(tiny, 2, SETS[:1], references=(), jobs=1)
    assert partly.attrs["machines"] == [there, here]
    assert experiments.joined([loaded, partly]).attrs == {"failed": 0, "machines": [there, here]}


def test_a_run_that_fails_is_named_and_the_others_are_kept(tiny, measured):
    measured.failing = [(1, SETS[0])]
    sentence = r"^1 failed and are left out; seed 1, deposit classes \(0, 1, 2\): MemoryError: no memory$"
    with pytest.warns(UserWarning, match=sentence):
        results = lk.results_over_seeds(tiny, 2, SETS, references=(), jobs=1)
    kept = results[["seed", "deposit classes"]].drop_duplicates().itertuples(index=False, name=None)
    assert list(kept) == [(0, SETS[0]), (0, SETS[1]), (1, SETS[1])]
    measured.failing = ()
    measured.runs.clear()
    assert len(lk.results_over_seeds(tiny, 2, SETS, references=(), jobs=1)) == 12
    assert measured.runs == [(1, SETS[0])]  # the one that had failed


def test_a_seed_whose_original_fails_is_named_and_the_other_seeds_are_kept(tiny, monkeypatch):
    load_or_train = experiments.load_or_train

    def fail(data, config):
        if config.seed == 0:
            raise lk.LirfError("the training loss stopped being finite")
        return load_or_train(data, config)

    monkeypatch.setattr("lirf_kit.evidence.experiments.load_or_train", fail)
    with pytest.warns(UserWarning, match="^1 failed .*; seed 0: LirfError: the training loss stopped being finite$"):
        results = lk.results_over_seeds(tiny, 2, SETS, references=(), jobs=1)
    assert set(results["seed"]) == {1} and len(results) == 6


def test_an_interrupted_training_ends_the_grid_and_no_run_stands_on_it(tiny, measured, monkeypatch):
    half = types.SimpleNamespace(checkpoint={})
    monkeypatch.setattr("lirf_kit.evidence.experiments.load_or_train", lambda *_: half)
    with pytest.raises(KeyboardInterrupt):
        lk.results_over_seeds(tiny, 2, SETS, jobs=1)
    assert not measured.runs


def test_where_every_run_fails_there_is_no_result(tiny, measured):
    measured.failing = [(seed, classes) for seed in (0, 1) for classes in SETS]
    with pytest.raises(lk.LirfError, match=r"^every run failed; seed 0, deposit classes \(0, 1, 2\): MemoryError"):
        lk.results_over_seeds(tiny, 2, SETS, references=(), jobs=1)


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seeds_are_refused_before_any_training(tiny, seeds, no_training):
    with pytest.raises(lk.LirfError, match=f"^seeds must be at least 1, not {seeds}"):
        lk.results_over_seeds(tiny, seeds)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"seeds": [1, 2, 1]}, "seeds must name each one once, not 1 twice"),
        ({"seeds": []}, "seeds must name at least one, not none"),
        ({"seeds": [0, -1]}, "seed must be a whole number at least 0 .*, not -1"),
        ({"deposit_sets": [(0, 1), (2,), (1, 0)]}, r"deposit_sets must name each one once, not \(0, 1\) twice"),
        ({"deposit_sets": []}, "deposit_sets must name at least one, not none"),
        ({"deposit_sets": 0}, "deposit_sets must be from 1 to 120, not 0"),
        ({"deposit_sets": [(0, 10)]}, "deposit_classes must be class numbers from 0 to 9, not 10"),
        ({"deposit_sets": [range(10)]}, "deposit_classes must leave at least one class preserved"),
        ({"deposit_sets": (0, 1, 2)}, "deposit_classes must be a list of whole class numbers, not 0"),
        ({"references": ["retrain"]}, "references must be retrained, independent or head masking, not 'retrain'"),
        ({"on": "train"}, "on must be test or validation, not 'train'"),
        ({"among": "own"}, "among must be all or part, not 'own'"),
        ({"jobs": 0}, "jobs must be a whole number at least 1, not 0"),
        ({"jobs": 1.5}, "jobs must be a whole number at least 1, not 1.5"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_any_training(tiny, no_training, wrong, sentence):
    with pytest.raises(lk.LirfError, match=f"^{sentence}"):
        lk.results_over_seeds(tiny, **{"seeds": 2, "deposit_sets": 2} | wrong)


def test_a_sweep_is_the_results_of_each_variant(tiny, measured):
    variants = {"as it is": {}, "whole": {"keep": 1.0}}
    results = lk.sweep(tiny, variants, [0], SETS[:1], on="test", jobs=1)
    assert list(results.columns)[0] == "variant" and list(results.index) == list(range(6))
    assert results["variant"].tolist() == ["as it is"] * 3 + ["whole"] * 3
    alone = lk.results_over_seeds(tiny.replace(keep=1.0), [0], SETS[:1], references=(), jobs=1)
    assert results[3:].drop(columns="variant").reset_index(drop=True).equals(alone)
    assert results["module share"][3] == 1 > results["module share"][0]
    assert list(lk.summary(results).index) == [(name, network) for name in variants for network in NETWORKS[:3]]


def test_a_wrong_knob_in_one_variant_is_named_before_any_run(tiny, no_training, measured):
    with pytest.raises(lk.LirfError, match="^keep must be a number above 0 and at most 1, not 2"):
        lk.sweep(tiny, {"as it is": {}, "twice": {"keep": 2}}, 1, jobs=1)
    with pytest.raises(lk.LirfError, match="^Config has no field 'kep'; did you mean 'keep'"):
        lk.sweep(tiny, {"as it is": {}, "typing error": {"kep": 0.5}}, 1, jobs=1)
    assert not measured.runs


def test_a_variant_that_fails_is_named_and_the_others_are_kept(tiny):
    variants = {"too small": {"keep": 0.01}, "as it is": {}, "smaller still": {"keep": 0.001}}
    sentence = "^2 failed and are left out; too small: .*keep must .*; smaller still: .*keep must"
    with pytest.warns(UserWarning, match=sentence):
        results = lk.sweep(tiny, variants, 1, SETS[:1], jobs=1)
    assert results["variant"].tolist() == ["as it is"] * 3


def test_where_every_variant_fails_there_is_no_result(tiny):
    with pytest.raises(lk.LirfError, match="^every variant failed; too small: every run failed; .*keep must leave"):
        lk.sweep(tiny, {"too small": {"keep": 0.01}}, 1, SETS[:1], jobs=1)
    with pytest.raises(lk.LirfError, match="^variants must name at least one, not none$"):
        lk.sweep(tiny, {}, 1, jobs=1)


@pytest.mark.parametrize("knob, value, by", [("seed", 3, "seeds"), ("deposit_classes", (7,), "deposit_sets")])
def test_a_variant_may_not_turn_what_the_grid_turns(tiny, no_training, knob, value, by):
    with pytest.raises(lk.LirfError, match=f"^variant 'other' must not turn {knob}: {by} sets it for each run$"):
        lk.sweep(tiny, {"as it is": {}, "other": {"keep": 1.0, knob: value}}, 1, jobs=1)


def test_each_ablation_turns_what_it_says_and_nothing_else(config):
    variants = lk.ablations(config)
    assert variants == {
        "the whole method": {},
        "without L_at": {"lambda_at": 0.0},
        "without L_cs": {"lambda_cs": 0.0},
        "without L_os": {"lambda_os": 0.0},
        "without L_kp": {"lambda_kp": 0.0},
        "L_kp of logits": {"preservation": "logits"},
        "without L_pt": {"lambda_pt": 0.0},
        "without L_re": {"lambda_re": 0.0},
        "L_re distilled": {"recovery": "distilled", "lambda_re": 0.1},
        "L_re from labels": {"recovery": "paper", "lambda_re": 1.0},
        "without pruning": {"keep": 1.0},
        "cut after stage 1": {"split_after": 1},
        "cut after stage 2": {"split_after": 2},
    }
    for changes in list(variants.values())[1:]:
        assert config.replace(**changes) != config  # the preset has every part
    assert "without L_cs" not in lk.ablations(config.replace(lambda_cs=0.0))
    assert lk.ablations(config.replace(preservation="logits"))["L_kp of softmax"] == {"preservation": "paper"}
    four_stages = config.replace(widths=(4, 8, 8, 8), split_after=2)
    assert [name for name in lk.ablations(four_stages) if "cut" in name] == [f"cut after stage {n}" for n in (1, 3, 4)]


def results_of(*runs):
    """Results with one network besides the original, from (seed, Pre Acc of the original, Pre Acc of the target)."""
    rows = [
        {"seed": seed, "deposit classes": (place,), "network": name} | dict.fromkeys(experiments.METRICS, pre)
        for place, (seed, original, target) in enumerate(runs)
        for name, pre in (("original", original), ("target", target))
    ]
    return pandas.DataFrame(rows)


def test_the_interval_works_out_by_hand():
    # means of the seeds 92 and 96; of their mean 94 the standard error is 2.8284 / √2 = 2, and t for one degree of
    # freedom 12.706, so the reach is 25.41; the differences −4 and −2 are −3 ± 1 · 12.706
    results = results_of((0, 95, 90), (0, 97, 94), (1, 98, 96))
    table = lk.summary(results, interval=True)
    assert table.loc["target", "Pre Acc"] == "94.00 [68.59, 119.41]"
    assert table.loc["target", "ΔPre"] == "-3.00 [-15.71, +9.71]"
    assert table.loc["original", "ΔPre"] == "+0.00 [+0.00, +0.00]"
    assert table["n"].tolist() == [3, 3]
    target = results[results["network"] == "target"]
    assert lk.interval(target, "Pre Acc") == pytest.approx((94, 2 * 12.7062), abs=1e-3)
    assert math.isnan(lk.interval(target[:2], "Pre Acc")[1])  # of one seed


def test_one_seed_has_no_interval():
    table = lk.summary(results_of((4, 95, 90), (4, 97, 94)), interval=True)
    assert table.loc["target", "Pre Acc"] == "–" and table.loc["target", "n"] == 2
    assert lk.summary(results_of((4, 95, 90))).loc["target", "Pre Acc"] == "90.00"  # nor one run a deviation


def test_differences_are_to_the_original_of_the_same_run():
    table = lk.with_differences(results_of((0, 95, 90), (0, 80, 94), (1, 70, 96)))
    assert table[table["network"] == "target"]["ΔPre"].tolist() == [-5, 14, 26]
    assert table[table["network"] == "original"]["ΔAvg"].tolist() == [0, 0, 0]
    both = [results_of((0, 95, 90)).assign(variant="a"), results_of((0, 50, 90)).assign(variant="b")]
    table = lk.with_differences(pandas.concat(both, ignore_index=True))
    assert table[table["network"] == "target"]["ΔDep"].tolist() == [-5, 40]


def test_the_summary_works_out_by_hand():
    # target Pre Acc 90 and 94: mean 92, deviations ∓2, standard deviation √(8 / (2 − 1)) = 2.83
    # its differences to the original of the same run: 90 − 95 = −5 and 94 − 97 = −3: −4 ± √2
    numbers = {
        "original": [(95, 90, 93, 0, 0, 0), (97, 80, 95, 0, 0, 0)],
        "target": [(90, 10, 60, 80, 85, 1), (94, 0, 62, 80, 87, 1.2)],
        "recovered": [(90, 90, 90, math.nan, math.nan, math.nan)] * 2,
    }
    columns = ["Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean", "L_at"]
    rows = [
        {"seed": run, "network": name} | dict(zip(columns, numbers[name][run])) for run in (0, 1) for name in numbers
    ]
    table = lk.summary(pandas.DataFrame(rows))
    assert table.loc["target", "Pre Acc"] == "92.00 ± 2.83"
    assert table.loc["target", "ΔPre"] == "-4.00 ± 1.41"
    assert table.loc["target", "ΔAvg"] == "-33.00 ± 0.00"
    assert table.loc["original", "ΔPre"] == "+0.00 ± 0.00"
    assert table.loc["target", "L_at"] == "1.10 ± 0.14"
    assert table.loc["recovered", ["F", "H Mean", "L_at"]].tolist() == ["–", "–", "–"]
    assert table["n"].tolist() == [2, 2, 2]


def test_the_same_seed_gives_the_same_metrics_to_the_last_digit_from_empty_caches(tiny, tmp_path, monkeypatch):
    found = []
    for run in (1, 2):
        monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path / f"home {run}"))
        torch.manual_seed(run)
        numpy.random.seed(run)
        data = lk.load_dataset(tiny)
        parts = lk.split_by_class(data, tiny.deposit_classes)
        original = lk.load_or_train(data, tiny)
        target, module = lk.load_or_deposit(original, parts.deposit_set, tiny)
        networks = {"original": original, "target": target, "recovered": lk.withdraw(target, module)}
        losses = [[entry["loss"] for entry in network.history] for network in (original, target)]
        embeddings = lk.embed_networks(networks, parts.test, tiny)
        found.append((lk.results_table(networks, parts).to_string(), losses, embeddings))
    assert found[0][:2] == found[1][:2]
    assert all(numpy.array_equal(found[0][2][name], found[1][2][name]) for name in networks)


@pytest.mark.parametrize("grid", [{"seeds": 2.5}, {"seeds": 1, "deposit_sets": None}])
def test_a_grid_that_is_no_number_and_no_list_is_refused(tiny, grid):
    name, given = list(grid.items())[-1]
    with pytest.raises(lk.LirfError, match=f"^{name} must be a whole number or a list, not {given}"):
        lk.results_over_seeds(tiny, **grid)


def test_a_difference_of_next_to_nothing_has_no_minus():
    runs = [
        {"seed": seed, "network": name, "Pre Acc": pre}
        for seed, name, pre in [(0, "original", 90), (0, "target", 89.999)]
    ]
    numbers = dict.fromkeys(("Dep Acc", "Avg Acc", "F", "H Mean", "L_at"), 0.0)
    assert lk.summary(pandas.DataFrame([run | numbers for run in runs])).loc["target", "ΔPre"] == "+0.00"
