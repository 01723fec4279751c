import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.distillation import LABELS_ALONE, distillation_table, train_student
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
    with pytest.raises(lk.LirfError, match="^a student stopped being finite: lower learning_rate, now 1e"):
        distillation_table({"original": tiny_original}, tiny_parts, tiny.replace(learning_rate=1e30), epochs=2)
