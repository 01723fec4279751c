import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence import distillation
from lirf_kit.evidence.distillation import LABELS_ALONE, distillation_over_seeds, distillation_table, train_student
from lirf_kit.evidence.readings import ALL, ONLY, training_images, untrained_network


@pytest.fixture(scope="module")
def table(original, deposited, parts, config):
    teachers = {"original": original, "target": deposited[0]}
    return distillation_table(teachers, parts, config, sizes=("half the width",), epochs=4)


@pytest.fixture
def value(table):
    return table.set_index(["test", "task", "network"])["value"].sort_index()


def test_each_lesson_has_its_rows_and_the_control_where_labels_are_taught(table):
    assert list(table["test"].unique()) == [
        "student by logits and labels, half the width",
        "student by attention and labels, half the width",
        "student by logits, half the width",
    ]
    for test, rows in table.groupby("test"):
        names = (
            ["original", "target"] if test.startswith("student by logits,") else [LABELS_ALONE, "original", "target"]
        )
        assert list(rows["task"].unique()) == [ALL, ONLY, "preserved images"]
        for _, each in rows.groupby("task"):
            assert list(each["network"]) == names
    assert set(table["note"]) == {"transfer set: all classes"} and table["value"].between(0, 100).all()


def test_a_student_of_logits_answers_like_its_teacher(value):
    by_logits = value["student by logits, half the width"]
    assert by_logits[ALL, "original"] > 90 and by_logits[ALL, "target"] < 10
    assert by_logits["preserved images", "target"] > 90


def test_labels_teach_the_deposit_classes_whatever_the_teacher_says(value):
    assert value["student by logits and labels, half the width", ALL, LABELS_ALONE] > 90
    attention = value["student by attention and labels, half the width", ALL]
    assert attention[LABELS_ALONE] == value["student by logits and labels, half the width", ALL, LABELS_ALONE]


def learn(parts, config, taught, lesson):
    images = training_images(parts, 0, 20)
    student = untrained_network(parts, config)
    train_student(student, images, taught, lesson, config, epochs=1, attention_weight=1.0)
    return student


def test_each_lesson_teaches_what_its_name_says(tiny_parts, tiny, same_weights):
    count, wrong = 200, torch.zeros(200, 10)
    logits, maps = torch.eye(10)[torch.arange(count) % 10] * 9, torch.full((count, 16), 0.25)
    labels = learn(tiny_parts, tiny, None, "labels")
    assert same_weights(labels, learn(tiny_parts, tiny, None, "logits and labels"))
    by_logits = learn(tiny_parts, tiny, (logits, maps), "logits")
    assert same_weights(by_logits, learn(tiny_parts, tiny, (logits, 0 * maps), "logits"))  # no attention
    assert not same_weights(by_logits, learn(tiny_parts, tiny, (wrong, maps), "logits"))
    by_maps = learn(tiny_parts, tiny, (logits, maps), "attention and labels")
    assert same_weights(by_maps, learn(tiny_parts, tiny, (wrong, maps), "attention and labels"))  # no logits
    assert not same_weights(by_maps, labels)


def test_the_transfer_set_is_a_choice_and_stated(tiny_original, tiny_deposited, tiny_parts, tiny):
    networks = {"recovered": lk.withdraw(*tiny_deposited), "head masking": lk.mask_head(tiny_original, (0, 1, 2))}
    for transfer in ("preserved classes", "deposit classes"):
        table = distillation_table(networks, tiny_parts, tiny, transfer=transfer, epochs=1, per_class=20)
        assert set(table["note"]) == {f"transfer set: {transfer}"}
        assert len(table) == 2 * 3 * (3 + 3 + 2)
    assert table.equals(distillation_table(networks, tiny_parts, tiny, transfer=transfer, epochs=1, per_class=20))


def test_a_student_has_other_weights_to_begin_with_than_the_original(tiny_parts, tiny, tiny_original):
    from lirf_kit.evidence.distillation import _student

    same, half = (_student(tiny_parts, tiny, divisor) for divisor in (1, 2))
    fresh = untrained_network(tiny_parts, tiny)
    assert not torch.equal(same.upper[-1].weight, fresh.upper[-1].weight)
    assert half.upper[-1].in_features == same.upper[-1].in_features // 2
    _student(tiny_parts, tiny.replace(seed=2**32 - 1), 1)  # the last seed has a next one too


@pytest.mark.parametrize("lessons, controls", [(("logits",), 0), (("logits", "logits and labels"), 2)])
def test_the_control_is_trained_only_beside_students_of_labels(
    tiny_original, tiny_parts, tiny, monkeypatch, lessons, controls
):
    taught, train = [], distillation.train_student
    monkeypatch.setattr(
        distillation, "train_student", lambda *given: (taught.append(given[2] is not None), train(*given))
    )
    table = distillation_table({"original": tiny_original}, tiny_parts, tiny, lessons=lessons, epochs=1)
    assert (taught.count(False), taught.count(True)) == (controls, 2 * len(lessons))  # of two sizes
    assert (LABELS_ALONE in set(table["network"])) == bool(controls)


def over_seeds(config, **given):
    asked = {"seeds": 1, "deposit_sets": [(0, 1, 2)], "on": "validation", "per_class": 20, "epochs": 1, "jobs": 1}
    return distillation_over_seeds(config, **asked | given)


def test_over_seeds_every_teacher_teaches_every_lesson_to_both_sizes(tiny, monkeypatch):
    config = tiny.replace(lambda_cs=0.3)
    results = over_seeds(config, deposit_sets=2)
    names = ["original", "target", "target, λ_at = 0", "target, output alone", "retrained"]
    for (test, *_), rows in results.groupby(["test", "task", "deposit classes"]):
        assert rows["network"].tolist() == ([LABELS_ALONE] if "labels" in test else []) + names
    assert results.groupby("deposit classes").size().tolist() == [2 * 3 * (6 + 6 + 5)] * 2
    assert results["test"].nunique() == 6 and set(results["note"]) == {"transfer set: all classes"}
    monkeypatch.setattr(distillation, "_measure", None)  # a run that is on disk is not measured again
    assert over_seeds(config, deposit_sets=2).equals(results)


def test_over_seeds_gives_what_the_table_of_these_networks_gives(tiny, tiny_data, tiny_parts, tiny_original):
    results = over_seeds(tiny)  # its λ_cs is 0
    assert results["network"].unique().tolist()[1:] == ["original", "target", "target, λ_at = 0", "retrained"]
    teachers = {
        "original": tiny_original,
        "target": lk.deposit(tiny_original, tiny_parts.deposit_set, tiny)[0],
        "target, λ_at = 0": lk.deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(lambda_at=0.0))[0],
        "retrained": lk.reference_networks(tiny_original, tiny_data, tiny_parts, tiny, ("retrained",))["retrained"],
    }
    table = distillation_table(teachers, tiny_parts, tiny, epochs=1, per_class=20)
    assert results.drop(columns=["seed", "deposit classes"]).equals(table)


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"on": "train"}, "^on must be validation or test, not 'train'"),
        ({"per_class": 0}, "^per_class must be a whole number at least 1, or None for all, not 0"),
        ({"epochs": 0}, "^epochs must be a whole number of at least 1, not 0"),
    ],
)
def test_over_seeds_checks_its_input_before_any_training(tiny, monkeypatch, asked, sentence):
    monkeypatch.setattr("lirf_kit.evidence.experiments.load_or_train", None)
    with pytest.raises(lk.LirfError, match=sentence):
        over_seeds(tiny, **asked)


def test_the_protocol_names_the_transfer_set():
    assert distillation.protocol("test") == ("test part, all classes; transfer set: all training images; epochs: 8")
    assert distillation.protocol("validation", 900, 2) == (
        "validation part, all classes; transfer set: at most 900 training images of each class; epochs: 2"
    )


def test_a_single_deposit_class_has_nothing_to_be_told_apart(tiny_data, tiny_original, tiny):
    parts = lk.split_by_class(tiny_data, (4,))
    table = distillation_table({"original": tiny_original}, parts, tiny, lessons=("logits",), epochs=1)
    assert table["task"].tolist() == [ALL, "preserved images"] * 2


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"lessons": ("talk",)}, "^lessons must be logits and labels, attention and labels or logits, not 'talk'"),
        ({"sizes": ("huge",)}, "^sizes must be same size or half the width, not 'huge'"),
        ({"transfer": "none"}, "^transfer must be all classes, preserved classes or deposit classes, not 'none'"),
        ({"epochs": 0}, "^epochs must be a whole number of at least 1, not 0"),
    ],
)
def test_wrong_input_is_one_sentence(tiny_original, tiny_parts, tiny, asked, sentence):
    with pytest.raises(lk.LirfError, match=sentence):
        distillation_table({"original": tiny_original}, tiny_parts, tiny, **asked)


def test_a_student_that_diverges_says_which_knob_to_turn(tiny_original, tiny_parts, tiny):
    with pytest.raises(
        lk.LirfError, match="^a student stopped being finite: lower learning_rate, now 1000000000000000"
    ):
        distillation_table({"original": tiny_original}, tiny_parts, tiny.replace(learning_rate=1e15), epochs=2)
