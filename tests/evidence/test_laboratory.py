import math

import pandas
import pytest

import lirf_kit as lk
from lirf_kit.evidence.laboratory import evidence_table, protocol, with_yardstick
from lirf_kit.evidence.readings import AGAINST, ALL, COLUMNS, ONLY, tidy, untrained_network


@pytest.fixture(scope="module")
def named(tiny_original, tiny_deposited, tiny_parts, tiny):
    """Every kind of network; the two "retrained" ones are untrained: what counts here is that they are there."""
    return {
        "original": tiny_original,
        "target": tiny_deposited[0],
        "recovered": lk.withdraw(*tiny_deposited),
        "retrained": untrained_network(tiny_parts, tiny.replace(seed=1)),
        "retrained, other seed": untrained_network(tiny_parts, tiny.replace(seed=2)),
        "head masking": lk.mask_head(tiny_original, (0, 1, 2)),
        "untrained": untrained_network(tiny_parts, tiny),
    }


@pytest.fixture(scope="module")
def table(named, tiny_parts, tiny):
    return evidence_table(named, tiny_parts, tiny, per_class=40)


def test_every_network_is_put_through_every_test(table, named):
    assert tuple(table.columns) == (*COLUMNS, "retrained", "spread", "reads")
    for (test, _), rows in table.groupby(["test", "task"]):
        assert list(rows["network"]) == [*named, *(["module alone"] if test == "own answers" else [])]
    assert list(table["test"].unique()) == [
        "own answers",
        "own answers, new statistics",
        "linear probe, stage 1",
        "linear probe, stage 2",
        "MLP probe, stage 2",
        "kNN (10)",
        "class means, 1 a class",
        "class means, 5 a class",
        "class means, 20 a class",
        "new head, 2% of the data",
        "membership by loss",
        "membership by probabilities",
        "answers on deposit images",
        "features of deposit images",
        "auditor",
    ]
    assert table["value"].notna().all() and table["spread"].notna().all()


def test_head_masking_is_told_from_the_original_by_its_answers_alone(table):
    values = table.set_index(["network", "test", "task"])["value"].sort_index()
    for test in table["test"].unique():
        if "probe" in test or "class means" in test or "kNN" in test:
            assert values["head masking", test].equals(values["original", test])
    assert values["head masking", "own answers", ALL] == 0


def test_the_same_seed_gives_the_same_table(table, named, tiny_parts, tiny):
    assert table.equals(evidence_table(named, tiny_parts, tiny, per_class=40))


def test_relearning_and_distillation_are_asked_for(table, named, tiny_parts, tiny):
    more = evidence_table(named, tiny_parts, tiny, per_class=40, relearning=True, teachers=("original", "retrained"))
    assert more.iloc[: len(table)].drop(columns="reads").equals(table.drop(columns="reads"))
    added = more.iloc[len(table) :]
    assert set(added["test"].str.split(",").str[0].str.split(" by ").str[0]) == {"relearning", "student"}
    students = added[added["test"].str.startswith("student")]
    assert set(students["network"]) == {"original", "retrained", "labels alone"}
    with pytest.raises(lk.LirfError, match="^teachers must be original, target, .*not 'nobody'"):
        evidence_table(named, tiny_parts, tiny, teachers=("nobody",))


def test_the_yardstick_works_out_by_hand():
    values = {"target": 93.0, "retrained": 90.0, "retrained, other seed": 94.0, "original": 99.0, "blank": 70.0}
    table = with_yardstick(tidy("kNN", ALL, values, "%", "more can be read"))
    assert set(table["retrained"]) == {92.0} and set(table["spread"]) == {4.0}
    assert table["reads"].tolist() == [
        "target: 93 %, against 92 in retrained networks that differ by 4: as if never seen",
        "retrained: 90 %, without ever having seen the deposit classes",
        "retrained, other seed: 94 %, without ever having seen the deposit classes",
        "original: 99 %, against 92 in retrained networks that differ by 4: more can be read",
        "blank: 70 %, against 92 in retrained networks that differ by 4: less can be read",
    ]


def test_a_note_is_read_out_too():
    values = {"target": 64, "retrained": 64, "retrained, other seed": 64}
    table = with_yardstick(tidy("relearning", "steps", values, "steps", "more", {"target": "not reached"}))
    said = "target: 64 steps (not reached), against 64 in retrained networks that differ by 0: as if never seen"
    assert table["reads"][0] == said


def test_each_test_has_a_yardstick_of_its_own():
    table = with_yardstick(
        pandas.concat(
            [tidy("a", ALL, {"retrained": 1.0}, "nats", "more"), tidy("a", ONLY, {"retrained": 3.0}, "%", "")]
        )
    )
    assert table["retrained"].tolist() == [1.0, 3.0] and table["spread"].isna().all()


def test_without_two_retrained_networks_nothing_is_judged():
    none = with_yardstick(tidy("a", ALL, {"target": 1.234}, "nats", "more"))
    assert none["reads"].tolist() == ["target: 1.23 nats, and no retrained network to compare with"]
    assert math.isnan(none["retrained"][0])
    one = with_yardstick(tidy("a", ALL, {"target": 1.234, "retrained": 1.0}, "nats", "more"))
    assert one["reads"][0] == "target: 1.23 nats, against 1 in retrained networks, but it takes a second one to judge"


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"per_class": 3}, "^probes need 4 training images of each class, but '0' has 3$"),
        ({"per_class": 19}, "^shots must be whole numbers from 1 to 19"),
        ({"on": "train"}, "^on must be validation or test, not 'train'"),
        ({"tasks": ("all",)}, "^tasks must be all classes, "),
    ],
)
def test_wrong_input_is_said_before_anything_is_computed(named, tiny_parts, tiny, asked, sentence, monkeypatch):
    monkeypatch.setattr("lirf_kit.evidence.laboratory.read_features", None)
    with pytest.raises(lk.LirfError, match=sentence):
        evidence_table(named, tiny_parts, tiny, **asked)


def test_a_single_deposit_class_is_judged_without_the_task_that_needs_two(tiny_original, tiny_data, tiny):
    parts = lk.split_by_class(tiny_data, (4,))
    with pytest.raises(lk.LirfError, match="^tasks can't include 'deposit classes only' with a single deposit class"):
        evidence_table({"original": tiny_original}, parts, tiny)
    table = evidence_table({"original": tiny_original}, parts, tiny, per_class=40, tasks=(ALL, AGAINST))
    assert ONLY not in set(table["task"]) and len(table) > 20


def test_over_seeds_a_single_deposit_class_is_examined_too(tiny):
    turned = tiny.replace(lambda_cs=0.3)
    given = {"on": "validation", "per_class": 20, "relearning": True, "jobs": 1}
    results = lk.evidence_over_seeds(turned, [0], [(7,)], **given)
    assert set(results["deposit classes"]) == {(7,)} and results["value"].notna().all()
    assert ONLY not in set(results["task"]) and {ALL, AGAINST} <= set(results["task"])
    assert lk.plot_evidence(lk.evidence_summary(results)).axes


@pytest.mark.parametrize("per_class", [3, 4, 19])
def test_over_seeds_too_few_images_are_said_before_any_training(tiny, monkeypatch, per_class):
    monkeypatch.setattr("lirf_kit.evidence.experiments.load_or_train", None)
    sentence = f"^per_class must be at least 20, the most shots of a few-shot test, not {per_class}$"
    for classes in ((7,), (0, 1, 2)):
        with pytest.raises(lk.LirfError, match=sentence):
            lk.evidence_over_seeds(tiny, [0], [classes], per_class=per_class, jobs=1)
    few = tiny.replace(test_fraction=0.9)
    with pytest.raises(lk.LirfError, match="^shots must be whole numbers from 1 to 1[0-9], the number of training"):
        lk.evidence_over_seeds(few, [0], [(0, 1, 2)], jobs=1)


@pytest.fixture(scope="module")
def over_seeds(tmp_path_factory, tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIRF_KIT_HOME", str(tmp_path_factory.mktemp("home")))
        turned = tiny.replace(lambda_cs=0.3)
        first = lk.evidence_over_seeds(turned, [0, 1], [(0, 1, 2)], on="validation", per_class=20, jobs=1)
        patch.setattr("lirf_kit.evidence.laboratory.evidence_table", None)  # measuring again would be a TypeError
        again = lk.evidence_over_seeds(turned, [0, 1], [(0, 1, 2)], on="validation", per_class=20, jobs=1)
        pandas.testing.assert_frame_equal(first, again)
    return first


def test_evidence_over_seeds_has_every_network_for_every_seed(over_seeds):
    networks = [
        "original", "target, output alone", "target", "recovered", "retrained", "retrained, another seed",
        "head masking", "untrained",
    ]  # fmt: skip
    for seed in (0, 1):
        probes = over_seeds[(over_seeds["seed"] == seed) & (over_seeds["test"] == "kNN (10)")]
        assert list(probes[probes["task"] == ALL]["network"]) == networks
    assert set(over_seeds["deposit classes"]) == {(0, 1, 2)}


def test_the_retrained_networks_of_two_seeds_are_two_networks(over_seeds):
    values = over_seeds.set_index(["network", "seed", "test", "task"])["value"].sort_index()
    assert not values["retrained"].equals(values["retrained, another seed"])


def test_without_the_term_there_is_one_target(tiny_original, tiny_data, tiny_parts, tiny, same_weights):
    networks = lk.evidence_networks(tiny_original, tiny_data, tiny_parts, tiny)
    assert "target, output alone" not in networks
    turned = lk.evidence_networks(tiny_original, tiny_data, tiny_parts, tiny.replace(lambda_cs=0.5, lambda_os=0.5))
    assert same_weights(turned["target, output alone"], networks["target"])
    assert not same_weights(turned["target"], networks["target"])
    assert turned["original"] is tiny_original


def test_the_summary_of_runs_is_worked_out_by_hand():
    rows = [
        {
            "seed": seed,
            "test": "kNN (10)",
            "task": ALL,
            "network": name,
            "value": value,
            "unit": "%",
            "higher means": "m",
            "note": "not reached" if value == 66 else "few images" if name == "original" else "",
        }
        for seed, values in enumerate([(100.0, 70.0, 60.0, 64.0), (98.0, 66.0, 62.0, 58.0)])
        for name, value in zip(["original", "target", "retrained", "retrained, another seed"], values)
    ]
    table = lk.evidence_summary(pandas.DataFrame(rows)).set_index("network")
    assert table["value"].to_dict() == {
        "original": 99.0, "target": 68.0, "retrained": 61.0, "retrained, another seed": 61.0,
    }  # fmt: skip
    assert (table["n"] == 2).all() and (table["retrained"] == 61.0).all()
    assert table.loc["target", "spread"] == pytest.approx(math.sqrt((1 + 9 + 1 + 9) / 3))  # of 60, 64, 62 and 58
    assert table.loc["target", "deviation"] == pytest.approx(math.sqrt(8))  # of 70 and 66
    assert table.loc["target", "closed"] == pytest.approx(100 * (99 - 68) / (99 - 61))
    assert table.loc["original", "closed"] == 0
    assert table.loc["target", "note"] == "not reached: 1 of 2 runs" and table.loc["original", "note"] == "few images"
    assert table.loc["retrained", "note"] == ""
    assert table["reads"]["target"].startswith("target: 68 % (not reached: 1 of 2 runs), against 61 in")


def test_the_protocol_says_what_the_tests_learn_from():
    assert protocol("test") == "test part; the tests learn from all training images; without relearning"
    assert protocol("validation", 600, True) == (
        "validation part; the tests learn from at most 600 training images of each class; with relearning"
    )


def test_the_summary_of_runs_is_drawn(over_seeds):
    assert lk.plot_evidence(lk.evidence_summary(over_seeds)).axes


def test_the_laboratory_takes_a_difference_as_well(tiny_original, tiny_data, tiny_parts, tiny):
    turned = tiny.replace(container="difference")
    networks = lk.evidence_networks(tiny_original, tiny_data, tiny_parts, turned)
    table = lk.evidence_table(networks, tiny_parts, turned, per_class=20, relearning=True)
    assert {"recovered", "module alone"} <= set(table["network"]) and table["value"].notna().all()
