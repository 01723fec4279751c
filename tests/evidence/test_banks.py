import ast
import itertools

import numpy
import pandas
import pytest

import lirf_kit as lk
from lirf_kit.evidence import banks
from lirf_kit.evidence.experiments import draw_sets
from lirf_kit.evidence.readings import lower_blocks


@pytest.fixture(scope="module")
def bank(tiny, tiny_data, tiny_original, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIRF_KIT_HOME", str(tmp_path_factory.mktemp("home")))
        made = lk.KnowledgeBank(tiny_original, tiny)
        for name, classes in {"a": (0,), "b": (1,), "c": (2, 3)}.items():
            made.deposit(name, lk.split_by_class(tiny_data, classes).deposit_set)
    return made


def test_up_to_three_modules_every_subset_is_a_state(bank):
    assert list(lk.bank_states(bank)) == ["none", "a", "b", "c", "a + b", "a + c", "b + c", "a + b + c"]
    assert lk.bank_states(bank)["none"] is bank.target


def test_with_more_modules_each_one_alone_and_all_together(monkeypatch, bank):
    monkeypatch.setattr(banks, "EVERY_SUBSET", 2)
    assert list(lk.bank_states(bank)) == ["none", "a", "b", "c", "a + b + c"]


def test_the_costs_are_counted_by_hand(bank, tiny_original):
    costs = lk.bank_costs(bank, tiny_original)
    each = lk.count_parameters(tiny_original)
    modules = sum(lk.count_parameters(bank[name]) for name in bank)
    assert costs["parameters"].tolist() == [each, each + modules, 2 * each, 8 * each]
    floats = sum(value.numel() for value in tiny_original.state_dict().values() if value.is_floating_point())
    assert 4 * floats <= costs["bytes"].iloc[0] <= 4 * floats + 200  # BatchNorm's counters are 8 bytes each
    assert costs["bytes"].iloc[1] == costs["bytes"].iloc[0] + sum(lk.module_bytes(bank[name]) for name in bank)


def test_a_bank_s_networks_go_where_other_networks_go(bank, tiny_original, tiny_data, tiny):
    parts, network = lk.split_by_class(tiny_data, (0, 2, 3)), bank.withdraw("a", "c")
    networks = {"original": tiny_original, "a + c": network}
    table = lk.results_table(networks, parts, on="validation")
    assert table.loc["a + c", "Dep Acc"] == round(lk.accuracy(network, parts.deposit_validation), 2)
    assert pandas.isna(table.loc["a + c", "F"])  # it isn't meant to have forgotten
    assert lk.embed_networks(networks, parts.validation, tiny)["a + c"].shape == (len(parts.validation), 2)
    assert lk.plot_round_trip(lk.class_accuracies(networks, parts.validation), (0, 2, 3)).axes
    assert len(lower_blocks(network)) == 3  # the target's and two modules'
    assert set(lk.thief_table(networks, parts, on="validation")["network"]) == set(networks)


def test_a_reading_works_out_by_hand():
    # three classes with 10, 10 and 20 images, and one that is out; the original is right on 90 % of each
    before = pandas.Series([90.0, 90.0, 90.0, 90.0])
    now = pandas.Series([80.0, 92.0, 90.0, 3.0])
    images = numpy.array([10, 10, 20, 10])
    reading = banks._reading(now, before, images, out=[3], back=[0])
    assert reading["kept"] == pytest.approx((2 * 10 + 0 * 20) / 30)
    assert reading["worst kept"] == 0 and reading["back"] == -10 and reading["worst back"] == -10
    assert reading["forgotten"] == 3 and reading["known"] == pytest.approx((-10 * 10 + 2 * 10) / 40)
    whole = banks._reading(now, before, images, out=[], back=[0])
    assert whole["forgotten"] is None and whole["worst kept"] == -87


def test_the_grid_has_every_state_in_every_order(tiny):
    runs = lk.bank_over_seeds(tiny, 1, sizes=(1, 2), choices=2, orders=2, on="validation", jobs=1)
    for (classes, order), run in runs.groupby(["deposit classes", "order"]):
        assert run["state"].tolist() == ["deposit 1", "deposit 2", "1 back", "1 back", "2 back"]
        assert run["subset"].tolist() == ["", "", *order.split(), "a b"]
        assert run["forgotten"].isna().tolist() == [False] * 4 + [True]
        (deposits,) = {text for text in run["deposits"]}
        assert sorted(itertools.chain(*ast.literal_eval(deposits))) == sorted(classes) and len(classes) == 3
    assert len(runs) == 2 * 2 * 5
    summary, spread = lk.bank_summary(runs), lk.order_spread(runs)
    assert summary.loc["2 back", "n"] == 4 and spread.loc["2 back", "n"] == 2
    assert summary.loc["2 back", "known"] == round(runs[runs["state"] == "2 back"]["known"].mean(), 2)
    assert spread.loc["deposit 2", "known"] >= 0


def test_the_same_grid_is_found_again(tiny, monkeypatch):
    asked = {"sizes": (1, 1), "choices": 1, "on": "validation", "jobs": 1}
    first = lk.bank_over_seeds(tiny, [3], **asked)
    monkeypatch.setattr(banks, "_measure", None)
    pandas.testing.assert_frame_equal(lk.bank_over_seeds(tiny, [3], **asked), first, check_dtype=False)


@pytest.mark.parametrize("sizes", [(), (0, 1), (5, 5), (11,)])
def test_sizes_that_leave_no_class_are_refused(tiny, sizes):
    with pytest.raises(lk.LirfError, match="sizes must be at least 1 each and add up to less than 10 classes, not"):
        lk.bank_over_seeds(tiny, 1, sizes=sizes)


def test_choices_are_distinct_and_no_more_than_there_are():
    assert sorted(draw_sets(4, 3, 99, seed=0)) == [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]
    assert draw_sets(10, 3, 5, seed=1) == draw_sets(10, 3, 5, seed=1) != draw_sets(10, 3, 5, seed=2)
