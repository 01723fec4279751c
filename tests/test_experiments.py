import math

import numpy
import pandas
import pytest
import torch

import lirf_kit as lk


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
    results = lk.results_over_seeds(tiny, seeds=2, deposit_sets=2)
    assert results["network"].tolist() == ["original", "target", "recovered"] * 4
    assert results["seed"].tolist() == [0] * 6 + [1] * 6
    expected = [classes for seed in (0, 1) for classes in lk.random_deposit_sets(10, 2, seed)]
    assert results["deposit classes"].tolist()[::3] == expected

    turned = tiny.replace(seed=1)
    data = lk.load_dataset(turned)
    parts = lk.split_by_class(data, expected[3])
    original = lk.train_original(data, turned)
    target, module = lk.deposit(original, parts.deposit_set, turned)
    networks = {"original": original, "target": target, "recovered": lk.withdraw(target, module)}
    by_hand = lk.results_table(networks, parts)
    assert numpy.array_equal(results[by_hand.columns].to_numpy()[-3:], by_hand.to_numpy(), equal_nan=True)


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seeds_are_refused_before_any_training(tiny, seeds, monkeypatch):
    monkeypatch.setattr("lirf_kit.experiments.load_or_train", None)
    with pytest.raises(lk.LirfError, match=f"^seeds must be at least 1, not {seeds}"):
        lk.results_over_seeds(tiny, seeds)


def test_the_summary_works_out_by_hand():
    # target Pre Acc 90 and 94: mean 92, deviations ∓2, standard deviation √(8 / (2 − 1)) = 2.83
    # its differences to the original of the same run: 90 − 95 = −5 and 94 − 97 = −3: −4 ± √2
    numbers = {
        "original": [(95, 90, 93, 0, 0), (97, 80, 95, 0, 0)],
        "target": [(90, 10, 60, 80, 85), (94, 0, 62, 80, 87)],
        "recovered": [(90, 90, 90, math.nan, math.nan)] * 2,
    }
    columns = ["Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean"]
    rows = [
        {"seed": run, "network": name} | dict(zip(columns, numbers[name][run])) for run in (0, 1) for name in numbers
    ]
    table = lk.summary(pandas.DataFrame(rows))
    assert table.loc["target", "Pre Acc"] == "92.00 ± 2.83"
    assert table.loc["target", "ΔPre"] == "-4.00 ± 1.41"
    assert table.loc["target", "ΔAvg"] == "-33.00 ± 0.00"
    assert table.loc["original", "ΔPre"] == "+0.00 ± 0.00"
    assert table.loc["recovered", ["F", "H Mean"]].tolist() == ["–", "–"]
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
