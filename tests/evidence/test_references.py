import os

import pytest
import torch

import lirf_kit as lk
from lirf_kit.artifacts import fingerprint


@pytest.fixture
def trainings(monkeypatch):
    """What networks were trained on: (training part, validation part), a list that grows."""
    seen = []

    def spy(data, *rest):
        seen.append((data.train, data.validation))
        return lk.train_original(data, *rest)

    monkeypatch.setattr("lirf_kit.method.caching.train_original", spy)
    return seen


def alone(data, train, validation):
    """A data set that has some images and no others at all: not a pixel of the rest is in it."""
    together = torch.cat([train.indices, validation.indices]).sort().values
    places = [torch.searchsorted(together, part.indices) for part in (train, validation)]
    return lk.Dataset(data.everything.select(together), *places, data.test_indices[:0])


def same_images(one, other):
    return fingerprint(one.images, one.labels) == fingerprint(other.images, other.labels)


def test_head_masking_never_answers_a_deposit_class_and_answers_the_rest_alike(original, data):
    masked = lk.mask_head(original, [7, 2])
    with torch.no_grad():
        logits, answers = original(data.images), masked(data.images)
    assert (answers[:, [2, 7]] == -torch.inf).all()
    others = [0, 1, 3, 4, 5, 6, 8, 9]
    assert torch.equal(answers[:, others], logits[:, others])
    assert not torch.isin(answers.argmax(1), torch.tensor([2, 7])).any()
    with torch.no_grad():
        assert torch.equal(masked.features(data.images), original.features(data.images))


def test_head_masking_shares_the_original_s_weights_and_changes_none(tiny_original, tiny_data):
    before = fingerprint(*tiny_original.state_dict().values())
    masked = lk.mask_head(tiny_original, (0, 1, 2))
    assert [id(value) for value in masked.parameters()] == [id(value) for value in tiny_original.parameters()]
    lk.accuracy(masked, tiny_data.test)
    assert fingerprint(*tiny_original.state_dict().values()) == before and not masked.training


def test_head_masking_forgets_by_the_numbers_alone(original, parts):
    table = lk.results_table({"original": original, "head masking": lk.mask_head(original, (0, 1, 2))}, parts)
    assert table.loc["head masking", "Dep Acc"] == 0
    assert table.loc["head masking", "Pre Acc"] == round(lk.accuracy(original, parts.preservation_test, "part"), 2)


def test_retraining_sees_the_preservation_set_and_nothing_else(tiny_data, tiny_parts, tiny, trainings, same_weights):
    retrained = lk.retrain(tiny_data, tiny_parts, tiny)
    ((train, validation),) = trainings
    assert same_images(train, tiny_parts.preservation_set)
    assert same_images(validation, tiny_parts.preservation_validation)
    rest = alone(tiny_data, tiny_parts.preservation_set, tiny_parts.preservation_validation)
    assert not torch.isin(rest.labels, torch.tensor([0, 1, 2])).any()
    expected = lk.train_original(rest, tiny)  # without the deposit classes' images anywhere
    assert same_weights(retrained, expected)
    assert retrained.history[-1]["loss"] == expected.history[-1]["loss"]
    assert retrained.upper[-1].out_features == 10  # a column for each class


def test_retraining_is_done_once(tiny_data, tiny_parts, tiny, trainings, same_weights):
    first, again = (lk.retrain(tiny_data, tiny_parts, tiny) for _ in range(2))
    assert len(trainings) == 1 and same_weights(first, again)
    lk.retrain(tiny_data, lk.split_by_class(tiny_data, (3, 4, 5)), tiny)
    assert len(trainings) == 2


def test_retraining_after_a_split_by_samples_leaves_out_those_samples(tiny_data, tiny, trainings):
    parts = lk.split_by_sample(tiny_data, 0.3)
    lk.retrain(tiny_data, parts, tiny)
    ((train, validation),) = trainings
    assert same_images(train, parts.preservation_set) and same_images(validation, tiny_data.validation)
    assert not torch.isin(train.indices, parts.deposit_set.indices).any()


def test_of_two_independent_networks_each_learns_from_its_own_part_alone(
    tiny_data, tiny_parts, tiny, trainings, same_weights
):
    preserving, depositing = lk.train_independent(tiny_data, tiny_parts, tiny)
    seen = [fingerprint(part.images, part.labels) for both in trainings for part in both]
    expected = ("preservation_set", "preservation_validation", "deposit_set", "deposit_validation")
    assert seen == [fingerprint(part.images, part.labels) for part in (getattr(tiny_parts, name) for name in expected)]
    assert same_weights(preserving, lk.retrain(tiny_data, tiny_parts, tiny)) and len(trainings) == 2
    rest = alone(tiny_data, tiny_parts.deposit_set, tiny_parts.deposit_validation)
    assert same_weights(depositing, lk.train_original(rest, tiny))


def test_the_references_are_those_that_are_named(tiny_original, tiny_data, tiny_parts, tiny, trainings, same_weights):
    made = lk.reference_networks(tiny_original, tiny_data, tiny_parts, tiny)
    assert list(made) == ["retrained", "independent", "head masking"] and len(trainings) == 2
    assert same_weights(made["retrained"], made["independent"][0])
    assert made["head masking"].original is tiny_original
    assert made["head masking"].deposit_classes.tolist() == [0, 1, 2]
    assert list(lk.reference_networks(tiny_original, tiny_data, tiny_parts, tiny, ["head masking"])) == ["head masking"]


@pytest.mark.filterwarnings("ignore:interrupted")
def test_an_interrupted_reference_is_no_reference_and_its_training_goes_on(
    tiny_data, tiny_parts, tiny, monkeypatch, interrupt_at, same_weights
):
    expected = lk.retrain(tiny_data, tiny_parts, tiny)
    monkeypatch.setenv("LIRF_KIT_HOME", os.environ["LIRF_KIT_HOME"] + " elsewhere")
    calls = interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        lk.retrain(tiny_data, tiny_parts, tiny)
    assert same_weights(lk.retrain(tiny_data, tiny_parts, tiny), expected)
    assert len(calls) == 3  # one epoch was kept, the second was begun again
