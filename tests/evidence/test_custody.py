import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence import custody


@pytest.fixture(scope="module")
def table(tmp_path_factory, tiny_original, tiny_parts, tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIRF_KIT_HOME", str(tmp_path_factory.mktemp("home")))
        return lk.custody_table(tiny_original, tiny_parts, tiny, bits=(2, 8), keeps=(0.6,))


def test_there_is_a_row_for_every_container_and_more_bits_take_more_bytes(table):
    assert list(zip(table["kind"], table["setting"])) == [
        ("difference", "2 bits"),
        ("difference", "8 bits"),
        ("pruned", "keep 0.6"),
        ("pruned, rounded", "keep 0.6, 4 bits"),
        ("pruned, rounded", "keep 0.6, 8 bits"),
        ("original, rounded", "4 bits"),
        ("original, rounded", "8 bits"),
    ]
    by_kind = table.groupby("kind")["bytes"]
    assert by_kind.is_monotonic_increasing.all()
    assert (table["share"] > 0).all() and (table["share"] < 1).all()
    accuracies = table.drop(columns=["kind", "setting", "bytes", "share"])
    assert accuracies.stack().between(0, 100).all()


def test_the_original_s_own_lower_blocks_recognise_the_deposit_images_alone(table, tiny_original, tiny_parts):
    whole = lk.accuracy(tiny_original, tiny_parts.deposit_validation, "part")
    alone = table.set_index(["kind", "setting"])["alone"]
    assert alone["original, rounded", "8 bits"] == pytest.approx(whole, abs=3)


def test_recovered_accuracies_are_those_of_withdraw(table, tiny_original, tiny_parts, tiny):
    eight = tiny.replace(container="difference", bits=8)
    target, module = lk.deposit(tiny_original, tiny_parts.deposit_set, eight)
    row = table.set_index(["kind", "setting"]).loc["difference", "8 bits"]
    assert row["bytes"] == lk.module_bytes(module)
    for preserved, name in (("target", "Avg Acc"), ("mean", "mean")):
        found = lk.accuracy(lk.withdraw(target, module, preserved), tiny_parts.validation)
        assert row[name] == pytest.approx(found)


def test_lower_blocks_rounded_to_eight_bits_are_nearly_what_they_were(original, parts):
    module = lk.round_module(lk.DepositModule(original.lower, (0, 1, 2)), 8)
    images = parts.validation.images[:50]
    with torch.no_grad():
        ours, theirs = module(images), original.lower(images)
    assert (ours - theirs).norm() < 0.05 * theirs.norm()
    assert lk.module_bytes(module) < 0.3 * lk.module_bytes(lk.DepositModule(original.lower, (0, 1, 2)))
    assert torch.equal(original.lower[0].mean, module.lower[0].mean)


def test_what_a_thief_gets_of_a_single_class_is_not_a_number(tiny_original, tiny_data, tiny):
    parts = lk.split_by_class(tiny_data, (4,))
    table = lk.custody_table(tiny_original, parts, tiny, bits=(8,), keeps=(0.6,))
    assert table[["alone", "wrong target"]].isna().all(axis=None)
    assert table.drop(columns=["alone", "wrong target"]).notna().all(axis=None)


def test_the_summary_works_out_by_hand():
    runs = pandas.DataFrame(
        {
            "kind": ["difference"] * 2, "setting": ["4 bits"] * 2, "bytes": [100, 100], "share": [0.125, 0.125],
            "Pre Acc": [80.0, 84.0], "Dep Acc": [70.0, 74.0], "Avg Acc": [77.0, 81.0], "mean": [78.0, 84.0],
            "trained on": [76.0, 80.0], "alone": [30.0, 40.0], "wrong target": [50.0, 60.0],
            "original's Pre Acc": [81.0, 84.0], "original's Dep Acc": [70.0, 76.0], "original's Avg Acc": [78.0, 83.0],
        }
    )  # fmt: skip
    row = lk.custody_summary(runs).loc["difference", "4 bits"]
    assert (row["ΔPre"], row["ΔDep"], row["ΔAvg"]) == (-0.5, -1.0, -1.5)
    assert (row["mean"], row["trained on"], row["alone"], row["wrong target"]) == (0.5, -2.5, 35.0, 55.0)
    assert (row["bytes"], row["share"], row["n"]) == (100, 12.5, 2)


def test_runs_are_kept_and_drawn(tiny, monkeypatch):
    monkeypatch.setattr(custody, "KEEPS", (0.6,))
    monkeypatch.setattr(custody.custody_table, "__defaults__", ("validation", (4,), (0.6,)))
    first = lk.custody_over_seeds(tiny, [0], [(0, 1, 2)], on="validation", jobs=1)
    monkeypatch.setattr(custody, "custody_table", None)  # measuring again would be a TypeError
    pandas.testing.assert_frame_equal(first, lk.custody_over_seeds(tiny, [0], [(0, 1, 2)], on="validation", jobs=1))
    figure = lk.plot_custody(lk.custody_summary(first))
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(first["kind"].unique())


def test_training_on_goes_on_from_a_copy(tiny_deposited, tiny_parts, tiny, same_weights):
    import copy

    target = tiny_deposited[0]
    before = copy.deepcopy(target)
    since = lk.train_on(target, tiny_parts.preservation_set, tiny, steps=5)
    assert same_weights(target, before) and not same_weights(since, target) and not since.training
    preserved = tiny_parts.preservation_validation
    assert lk.accuracy(lk.train_on(target, tiny_parts.preservation_set, tiny), preserved) > lk.accuracy(
        target, preserved
    )
