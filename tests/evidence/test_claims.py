import json
import re

import pandas
import pytest

import lirf_kit as lk
from lirf_kit.evidence.claims import PUBLISHED

AS_PUBLISHED = {
    "independent": {"Pre Acc": 92.92, "Dep Acc": 96.61, "Avg Acc": 94.02},
    "original": {"Pre Acc": 93.77, "Dep Acc": 94.60, "Avg Acc": 94.06, "F": 0.0, "H Mean": 0.0},
    "target": {"Pre Acc": 93.41, "Dep Acc": 15.00, "Avg Acc": 69.89, "F": 79.60, "H Mean": 85.95},
    "recovered": {"Pre Acc": 94.56, "Dep Acc": 97.92, "Avg Acc": 95.57},
}  # CIFAR-10


def turned(**changes):
    """The published values with some metrics of some networks moved by so many points."""
    values = {network: dict(metrics) for network, metrics in AS_PUBLISHED.items()}
    for network, moved in changes.items():
        for metric, points in moved.items():
            values[network][metric.replace("_", " ")] += points
    return values


@pytest.fixture
def write(tmp_path):
    """Write a result file as the table command does: the same values for each seed, or a spread around them."""

    def result_file(
        name="cifar10", data="CIFAR-10", preset="cifar10", values=AS_PUBLISHED, seeds=3, spread=0.0, classes=(0, 1, 2)
    ):
        rows = [
            {"seed": seed, "deposit classes": classes, "network": network, "L_at": None}
            | {metric: value + spread * (seed - (seeds - 1) / 2) for metric, value in metrics.items()}
            for seed in range(seeds)
            for network, metrics in values.items()
        ]
        about = {
            "data": data,
            "protocol": "test part, all classes",
            "config": lk.preset(preset).model_dump(),
            "seeds": list(range(seeds)),
            "machine": {"device": "a fast card", "cores": 16},
        }
        file = tmp_path / f"results-{name}-{seeds}-seeds.csv"
        pandas.DataFrame(rows).to_csv(file, index=False)
        file.with_suffix(".json").write_text(json.dumps(about))
        return file

    return result_file


STUDENTS = [row[2:] for row in PUBLISHED if row[0] == "3"]  # network, metric, value: CIFAR-10
TASKS = {"Pre Acc": "preserved images", "Dep Acc": "all classes"}
SIZES = {"ResNet-18": "same size", "CNN": "half the width"}
TEACHERS = {"original": "original", "target without L_at": "target, λ_at = 0", "target with L_at": "target"}


@pytest.fixture
def distil(tmp_path):
    """Write a file as the distillation command does: the published values, with the students' metrics moved."""

    def distillation_file(
        name="cifar10", data="CIFAR-10", preset="cifar10", moved=None, seeds=3, sets=1, seen="all training images",
        share=3, on="test", lambda_at=0.3,
    ):  # fmt: skip
        rows = []
        for network, metric, value in STUDENTS:
            student, teacher, lesson = re.split(" of the |, ", network)
            test, task = f"student by {lesson} and labels, {SIZES[student]}", TASKS[metric]
            value += (moved or {}).get(metric, 0.0)
            rows.append({"test": test, "task": task, "network": TEACHERS[teacher], "value": value})
        of_no_card = [{"test": "student by logits, same size"}, {"network": "retrained"}, {"network": "labels alone"}]
        of_no_card.append({"task": "deposit classes only"})
        rows += [row | {"value": 1.0} | other for row in rows[:2] for other in of_no_card]
        runs = [
            {"seed": seed, "deposit classes": tuple(range(first, first + share))} | row
            for seed in range(seeds)
            for first in range(sets)
            for row in rows
        ]
        about = {
            "data": data,
            "protocol": f"{on} part, all classes; transfer set: {seen}; epochs: 8",
            "config": lk.preset(preset).replace(lambda_at=lambda_at).model_dump(),
            "seeds": list(range(seeds)),
            "machine": {"device": "a fast card", "cores": 16},
        }
        file = tmp_path / f"distillation-{name}-{seeds}-seeds.csv"
        pandas.DataFrame(runs).to_csv(file, index=False)
        file.with_suffix(".json").write_text(json.dumps(about))
        return file

    return distillation_file


def card(folder, network, metric, data="CIFAR-10", table="1"):
    cards = lk.claim_cards(folder)
    (place,) = cards.index[
        (cards["table"] == table)
        & (cards["data"] == data)
        & (cards["network"] == network)
        & (cards["metric"] == metric)
    ]
    return cards.loc[place]


def student_card(folder, teacher, metric):
    return card(folder, f"ResNet-18 of the {teacher}", metric, table="3")


@pytest.fixture
def published():
    return {tuple(row[:4]): row[4] for row in PUBLISHED}


def test_every_value_of_the_two_tables_has_a_row(published):
    assert len(PUBLISHED) == len(published) == 54
    # table 1: 3 values for independent, 5 for the original, 4 for the target, 3 for the recovered, of two data sets;
    # table 3: two accuracies of two students, two ways to distil and three teachers
    assert sum(row[0] == "1" for row in PUBLISHED) == 2 * (3 + 5 + 4 + 3)
    assert sum(row[0] == "3" for row in PUBLISHED) == 2 * 2 * 2 * 3


@pytest.mark.parametrize("data", ["CIFAR-10", "CUB-200-2011"])
def test_the_published_values_agree_with_the_definitions(published, data):
    def value(network, metric):
        return published["1", data, network, metric]

    forgotten = lk.forgetting(value("original", "Dep Acc"), value("target", "Dep Acc"))
    assert value("target", "F") == pytest.approx(forgotten, abs=0.005)
    assert value("target", "H Mean") == pytest.approx(
        lk.harmonic_mean(value("target", "Pre Acc"), forgotten), abs=0.005
    )
    assert value("original", "F") == value("original", "H Mean") == 0
    for network in ("independent", "original", "recovered"):
        average = 0.7 * value(network, "Pre Acc") + 0.3 * value(network, "Dep Acc")  # 30 % of the classes are deposited
        assert value(network, "Avg Acc") == pytest.approx(average, abs=0.05)


def test_without_a_run_nothing_is_claimed(tmp_path):
    cards = lk.claim_cards(tmp_path)
    assert len(cards) == 54 and set(cards["verdict"]) == {"not run here"}
    assert set(cards[["ours", "protocol", "n", "seeds", "data of ours", "hardware"]].stack()) == {"–"}


def test_the_published_values_themselves_reproduce_the_table(write, tmp_path):
    write()
    cards = lk.claim_cards(tmp_path)
    first = cards[cards["table"].eq("1") & cards["data"].eq("CIFAR-10")]
    assert len(first) == 15 and set(first["verdict"]) == {"reproduced"}
    assert set(cards.drop(first.index)["verdict"]) == {"not run here"}


def test_a_card_says_what_stands_behind_ours(write, tmp_path):
    write(spread=1.0)
    found = card(tmp_path, "target", "Pre Acc")
    assert found["published"] == 93.41
    assert found["ours"] == "93.41 ± 1.00"  # of −1, 0 and +1: √((1 + 0 + 1) / 2)
    assert (found["n"], found["seeds"]) == (3, 3)
    assert found["protocol"] == "test part, all classes"
    assert (found["data of ours"], found["hardware"]) == ("CIFAR-10", "a fast card, 16 cores")


def test_independent_networks_are_asked_about_their_own_part(write, tmp_path):
    write()
    assert card(tmp_path, "independent", "Dep Acc")["protocol"] == "own part's classes"


@pytest.mark.parametrize(
    "network, metric, points, verdict",
    [
        ("recovered", "Pre Acc", 3.0, "reproduced"),  # better
        ("recovered", "Pre Acc", -0.9, "reproduced"),  # within a point
        ("recovered", "Pre Acc", -1.1, "not reproduced"),
        ("original", "Avg Acc", -5.0, "not reproduced"),
        ("target", "Dep Acc", -15.0, "reproduced"),  # for the target, lower is better
        ("target", "Dep Acc", 0.9, "reproduced"),
        ("target", "Dep Acc", 1.1, "not reproduced"),
        ("original", "Dep Acc", 1.1, "reproduced"),  # for the original, higher is
        ("target", "F", -1.1, "not reproduced"),
        ("target", "H Mean", 5.0, "reproduced"),
    ],
)
def test_a_value_is_reproduced_if_it_is_as_good_or_near(write, tmp_path, network, metric, points, verdict):
    write(values=turned(**{network: {metric: points}}))
    assert card(tmp_path, network, metric)["verdict"] == verdict
    other = {"Pre Acc": "Dep Acc", "Dep Acc": "Pre Acc"}.get(metric, "Pre Acc")
    assert card(tmp_path, network, other)["verdict"] == "reproduced"


@pytest.mark.parametrize("points, verdict", [(-2.0, "reproduced"), (-3.0, "not reproduced")])
def test_a_value_in_a_wide_interval_of_ours_is_reproduced(write, tmp_path, points, verdict):
    # seeds at −1, 0 and +1: standard error 1 / √3, Student's t with 2 degrees of freedom 4.303: the reach is 2.48
    write(values=turned(recovered={"Pre_Acc": points}), spread=1.0)
    assert card(tmp_path, "recovered", "Pre Acc")["verdict"] == verdict


def test_a_single_seed_has_no_interval_but_the_point_holds(write, tmp_path):
    write(values=turned(recovered={"Pre_Acc": -0.9, "Dep_Acc": -1.1}), seeds=1)
    assert card(tmp_path, "recovered", "Pre Acc")["verdict"] == "reproduced"
    assert card(tmp_path, "recovered", "Dep Acc")["verdict"] == "not reproduced"


@pytest.mark.parametrize(
    "other",
    [
        {"data": "CIFAR-10 (JPEG copy)"},
        {"preset": "cifar10-small"},
        {"classes": (0, 1)},
    ],
)
def test_other_data_another_network_or_another_share_is_a_different_protocol(write, tmp_path, other):
    write(**other)
    found = card(tmp_path, "recovered", "Pre Acc")
    assert found["verdict"] == "different protocol" and found["ours"] == "94.56 ± 0.00"
    assert found["data of ours"] == other.get("data", "CIFAR-10")


def test_another_part_of_the_data_is_a_different_protocol(write, tmp_path):
    beside = write().with_suffix(".json")
    beside.write_text(beside.read_text().replace("test part", "validation part"))
    found = card(tmp_path, "recovered", "Pre Acc")
    assert found["verdict"] == "different protocol" and found["protocol"] == "validation part, all classes"


@pytest.mark.parametrize("data", ["digits", "CIFAR-100", "CIFAR-100 (JPEG copy)"])
def test_data_that_the_paper_does_not_have_stand_for_nothing(write, tmp_path, data):
    write(data=data)
    assert set(lk.claim_cards(tmp_path)["verdict"]) == {"not run here"}


def test_of_two_files_with_as_many_seeds_the_one_with_more_runs_goes_first(write, tmp_path):
    write(name="a", preset="cifar10-small", seeds=2)
    write(name="b", preset="cifar10-small", seeds=2)
    file = tmp_path / "results-b-2-seeds.csv"
    runs = pandas.read_csv(file)
    another = runs.assign(**{"deposit classes": "(3, 4, 5)"})
    pandas.concat([runs, another]).to_csv(file, index=False)
    write(name="c", preset="cifar10-small", seeds=2)
    assert card(tmp_path, "target", "Pre Acc")["n"] == 4


def test_the_paper_s_protocol_goes_before_others_and_more_seeds_before_fewer(write, tmp_path):
    write(name="cifar10-small", data="CIFAR-10 (JPEG copy)", preset="cifar10-small", seeds=9)
    assert card(tmp_path, "target", "Pre Acc")["n"] == 9
    write(seeds=2)
    assert card(tmp_path, "target", "Pre Acc")[["n", "verdict"]].tolist() == [2, "reproduced"]
    write(seeds=10)
    write(seeds=5)  # the last by name
    assert card(tmp_path, "target", "Pre Acc")["n"] == 10


def test_a_network_that_was_left_out_is_not_run(write, tmp_path):
    write(values={name: metrics for name, metrics in AS_PUBLISHED.items() if name != "independent"})
    assert card(tmp_path, "independent", "Pre Acc")["verdict"] == "not run here"
    assert card(tmp_path, "original", "Pre Acc")["verdict"] == "reproduced"


def test_the_birds_are_a_data_set_of_their_own(write, tmp_path):
    write(name="cub200", data="CUB-200-2011", preset="cub200", classes=tuple(range(60)))
    assert card(tmp_path, "target", "Dep Acc", "CUB-200-2011")["verdict"] == "not reproduced"  # 15 against 1.18
    assert card(tmp_path, "target", "Pre Acc", "CUB-200-2011")["verdict"] == "reproduced"
    assert card(tmp_path, "target", "Pre Acc")["verdict"] == "not run here"


def test_distilled_students_are_not_run_without_a_file_of_theirs(write, tmp_path):
    write()
    cards = lk.claim_cards(tmp_path)
    assert set(cards.loc[cards["table"] == "3", "verdict"]) == {"not run here"}


def test_the_published_students_themselves_reproduce_the_table_but_for_the_unknown_cnn(distil, tmp_path):
    distil()
    cards = lk.claim_cards(tmp_path)
    third = cards[cards["table"] == "3"]
    assert set(cards.drop(third.index)["verdict"]) == {"not run here"}
    for student, verdict in {"ResNet-18": "reproduced", "CNN": "different protocol"}.items():
        rows = third[third["network"].str.startswith(student)]
        assert len(rows) == 12 and set(rows["verdict"]) == {verdict}
    assert (third["ours"] == third["published"].map("{:.2f} ± 0.00".format)).all()


def test_a_student_s_card_says_what_its_student_saw(distil, tmp_path):
    distil(sets=2)
    found = student_card(tmp_path, "target with L_at, logits", "Dep Acc")
    assert (found["published"], found["n"], found["seeds"]) == (91.49, 6, 3)
    assert found["protocol"] == "test part, all classes; transfer set: all training images; epochs: 8"
    assert (found["data of ours"], found["hardware"]) == ("CIFAR-10", "a fast card, 16 cores")


@pytest.mark.parametrize("how", ["logits", "attention"])
@pytest.mark.parametrize(
    "teacher, metric, points, verdict",
    [
        ("original", "Pre Acc", -1.1, "not reproduced"),
        ("original", "Dep Acc", -0.9, "reproduced"),  # within a point
        ("original", "Dep Acc", -1.1, "not reproduced"),  # higher is better
        ("original", "Dep Acc", 5.0, "reproduced"),
        ("target without L_at", "Dep Acc", 1.1, "not reproduced"),  # lower is better
        ("target with L_at", "Dep Acc", 1.1, "not reproduced"),
        ("target with L_at", "Dep Acc", 0.9, "reproduced"),
        ("target with L_at", "Dep Acc", -20.0, "reproduced"),
        ("target with L_at", "Pre Acc", -1.1, "not reproduced"),
    ],
)
def test_a_student_is_judged_by_the_same_rules(distil, tmp_path, teacher, metric, points, verdict, how):
    distil(moved={metric: points})
    assert student_card(tmp_path, f"{teacher}, {how}", metric)["verdict"] == verdict
    other = {"Pre Acc": "Dep Acc", "Dep Acc": "Pre Acc"}[metric]
    assert student_card(tmp_path, f"{teacher}, {how}", other)["verdict"] == "reproduced"


@pytest.mark.parametrize(
    "other",
    [
        {"data": "CIFAR-10 (JPEG copy)"},
        {"preset": "cifar10-small"},
        {"share": 2},
        {"on": "validation"},
        {"seen": "at most 900 training images of each class"},
    ],
)
def test_students_of_other_data_networks_or_images_are_a_different_protocol(distil, tmp_path, other):
    distil(**other)
    for teacher in TEACHERS:
        found = student_card(tmp_path, f"{teacher}, logits", "Pre Acc")
        assert found["verdict"] == "different protocol" and found["ours"] != "–"


@pytest.mark.parametrize("data", ["digits", "CIFAR-100"])
def test_students_on_data_that_the_paper_does_not_have_stand_for_nothing(distil, tmp_path, data):
    distil(data=data)
    assert set(lk.claim_cards(tmp_path)["verdict"]) == {"not run here"}


def test_a_target_made_without_l_at_is_not_the_one_with_it(distil, tmp_path):
    distil(lambda_at=0.0)
    assert student_card(tmp_path, "target with L_at, logits", "Dep Acc")["verdict"] == "not run here"
    assert student_card(tmp_path, "original, logits", "Dep Acc")["verdict"] == "reproduced"


def test_a_file_without_any_of_the_paper_s_students_fills_no_card(distil, tmp_path):
    file = distil()
    runs = pandas.read_csv(file)
    runs[runs["test"] == "student by logits, same size"].to_csv(file, index=False)
    assert set(lk.claim_cards(tmp_path)["verdict"]) == {"not run here"}


def test_of_the_students_files_the_paper_s_protocol_and_then_the_most_runs_go_first(distil, tmp_path):
    distil(name="cifar10-small", preset="cifar10-small", seeds=9)
    assert student_card(tmp_path, "original, logits", "Dep Acc")[["n", "verdict"]].tolist() == [9, "different protocol"]
    distil(name="a", seeds=2)
    distil(name="b", seeds=2, sets=3)
    distil(name="c", seeds=2)
    assert student_card(tmp_path, "original, logits", "Dep Acc")[["n", "verdict"]].tolist() == [6, "reproduced"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2 - 3],
        lambda content: content.replace(b"94.26", b"much"),
        lambda content: content.replace(b"value", b"number"),
    ],
)
def test_a_damaged_distillation_file_is_named(distil, tmp_path, damage):
    file = distil()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(lk.LirfError, match="distillation-cifar10-3-seeds.json is damaged, make both again"):
        lk.claim_cards(tmp_path)


def test_what_the_distillation_command_writes_is_read_back(tiny, tmp_path, monkeypatch):
    from lirf_kit import cli

    monkeypatch.setitem(lk.config._PRESETS, "digits", tiny)
    options = ["--deposit-sets", "1", "--jobs", "1", "--epochs", "1", "--data-name", "CIFAR-10", "--device", "cpu"]
    assert cli.main(["distillation", *options, "--out", str(tmp_path)]) == 0
    cards = lk.claim_cards(tmp_path)
    third = cards[cards["table"] == "3"]
    assert set(third["verdict"]) == {"different protocol"} and set(third["n"]) == {1}  # a different network
    runs = pandas.read_csv(tmp_path / "distillation-digits-1-seeds.csv")
    chosen = runs[runs["test"].eq("student by attention and labels, same size") & runs["task"].eq("all classes")]
    value = chosen.set_index("network")["value"]["target, λ_at = 0"]
    assert student_card(tmp_path, "target without L_at, attention", "Dep Acc")["ours"] == f"{value:.2f}"


def test_what_the_table_command_writes_is_read_back(tiny, tmp_path, monkeypatch):
    from lirf_kit import cli

    monkeypatch.setattr(lk, "preset", lambda name: tiny)
    options = ["--seeds", "1", "--deposit-sets", "1", "--references", "--jobs", "1", "--out", str(tmp_path)]
    assert cli.main(["table", *options]) == 0
    ((results, about),) = lk.read_results(tmp_path)
    assert results["network"].tolist() == ["original", "target", "recovered"]
    assert results["deposit classes"].iloc[0] == lk.random_deposit_sets(10, 1, seed=0)[0]
    assert about["data"] == "digits" and about["config"]["widths"] == [4, 8]
    assert lk.summary(results)["n"].tolist() == [1, 1, 1]


def test_result_files_are_read_by_name_and_other_files_are_left_alone(write, tmp_path):
    write(name="digits", data="digits", preset="digits")
    write()
    (tmp_path / "ablation-digits.csv").write_text("something else")
    (tmp_path / "results-digits.csv").write_text("a single run")
    assert [about["data"] for _, about in lk.read_results(tmp_path)] == ["CIFAR-10", "digits"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(lk.LirfError, match="^folder must hold result files, but there is no folder '.*nowhere'"):
        lk.claim_cards(tmp_path / "nowhere")


def test_a_result_file_without_what_stands_beside_it_is_named(write, tmp_path):
    write().with_suffix(".json").unlink()
    with pytest.raises(lk.LirfError, match=r"results-cifar10-3-seeds\.csv must have results-cifar10-3-seeds\.json"):
        lk.claim_cards(tmp_path)


@pytest.mark.parametrize("ending", [".csv", ".json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2 - 3],
        lambda content: b"",
        lambda content: b"\xff\xfe\x00 not a text",
        lambda content: content.replace(b"Dep Acc", b"other").replace(b'"machine"', b'"other"'),
        lambda content: content.replace(b"93.41", b"much").replace(b'"device"', b'"other"'),
        lambda content: content.replace(b"deposit classes", b"classes").replace(b'"data":', b'"other":'),
        lambda content: content.replace(b"(0, 1, 2)", b"(0, 1").replace(b"{", b"[", 1),
        lambda content: content.splitlines()[0] if b"," in content.splitlines()[0][:6] else b"[]",
    ],
)
def test_a_damaged_result_file_is_named(write, tmp_path, ending, damage):
    file = write().with_suffix(ending)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(lk.LirfError) as caught:
        lk.read_results(tmp_path)
    assert "results-cifar10-3-seeds.csv or results-cifar10-3-seeds.json is damaged, make both again" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
