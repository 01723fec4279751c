import pytest
import torch

import lirf_kit as lk


def pixels(part):
    """The images of a part as a sorted list: the same for the same images in any order."""
    return sorted(bytes(image.flatten().tolist()) for image in part.images)


PARTS = ("deposit_set", "preservation_set", "deposit_validation", "preservation_validation", "deposit_test",
         "preservation_test")  # fmt: skip


def test_the_split_does_not_depend_on_the_order_of_the_samples(data, parts, generator):
    order = torch.randperm(len(data.labels), generator=generator)
    place = order.argsort()  # where each sample went
    everything = lk.ImageData(data.images[order], data.labels[order], torch.arange(len(order)), data.class_names)
    shuffled = lk.Dataset(
        everything, place[data.train_indices], place[data.validation_indices], place[data.test_indices]
    )
    again = lk.split_by_class(shuffled, [0, 1, 2])
    for name in PARTS:
        assert pixels(getattr(again, name)) == pixels(getattr(parts, name)), name


def test_deposit_parts_hold_the_deposit_classes_and_preservation_parts_the_others(parts):
    for name in PARTS:
        expected = {0, 1, 2} if name.startswith("deposit") else {3, 4, 5, 6, 7, 8, 9}
        assert set(getattr(parts, name).labels.tolist()) == expected, name


def test_parts_are_disjoint_and_complete(data, parts):
    for whole, name in ((data.train, "set"), (data.validation, "validation"), (data.test, "test")):
        both = [getattr(parts, f"deposit_{name}").indices, getattr(parts, f"preservation_{name}").indices]
        assert torch.cat(both).sort().values.tolist() == whole.indices.sort().values.tolist()
    assert torch.equal(parts.test.indices, data.test.indices)
    assert torch.equal(parts.validation.indices, data.validation.indices)


def test_every_part_remembers_the_deposit_classes_in_order(data):
    parts = lk.split_by_class(data, [7, 2])
    assert {getattr(parts, name).deposit_classes for name in PARTS} == {(2, 7)}
    assert parts.test.deposit_classes == (2, 7)


def test_the_classes_may_come_as_any_integers(data):
    assert lk.split_by_class(data, torch.tensor([1, 0])).deposit_set.deposit_classes == (0, 1)
    assert lk.split_by_class(data, range(2)).deposit_set.deposit_classes == (0, 1)


@pytest.mark.parametrize(
    "classes, sentence",
    [
        ([0, 10], "deposit_classes must be class numbers from 0 to 9, not 10"),
        ([-1], "deposit_classes must be class numbers from 0 to 9, not -1"),
        ([3, 5, 3], "deposit_classes must name each class once, not 3 twice"),
        ([], "deposit_classes must name at least one class, not none"),
        (range(10), "deposit_classes must leave at least one class preserved, not name all 10"),
        (3, "deposit_classes must be a list of whole class numbers, not 3"),
        (["airplane"], r"deposit_classes must be a list of whole class numbers, not \['airplane'\]"),
        ([1.5], r"deposit_classes must be .*1\.5"),  # not silently class 1
    ],
)
def test_wrong_deposit_classes_are_refused_in_one_sentence(data, classes, sentence):
    with pytest.raises(lk.LirfError, match=f"^{sentence}"):
        lk.split_by_class(data, classes)


def test_a_split_by_samples_is_stratified(data):
    parts = lk.split_by_sample(data, fraction=0.25)
    expected = torch.bincount(data.train.labels) * 0.25
    assert (torch.bincount(parts.deposit_set.labels) - expected).abs().max() <= 1
    assert parts.deposit_set.deposit_classes is None


def test_a_split_by_samples_is_disjoint_and_complete_and_leaves_evaluation_whole(data):
    parts = lk.split_by_sample(data, fraction=0.25)
    both = torch.cat([parts.deposit_set.indices, parts.preservation_set.indices])
    assert both.sort().values.tolist() == data.train_indices.tolist()
    assert len(parts.deposit_test) == len(parts.deposit_validation) == 0
    assert torch.equal(parts.preservation_test.indices, data.test_indices)
    assert torch.equal(parts.preservation_validation.indices, data.validation_indices)


def test_a_split_by_samples_follows_its_seed(data):
    first, again, other = (
        set(lk.split_by_sample(data, fraction=0.1, seed=seed).deposit_set.indices.tolist()) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_split_by_indices_deposits_exactly_these(data):
    indices = data.train_indices[[5, 2, 9]]
    parts = lk.split_by_sample(data, indices=indices.tolist())
    assert sorted(parts.deposit_set.indices.tolist()) == sorted(indices.tolist())
    assert len(parts.preservation_set) == len(data.train) - 3


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), "half"])
def test_a_fraction_outside_0_to_1_is_refused(data, fraction):
    with pytest.raises(lk.LirfError, match=f"^fraction must be a number above 0 and below 1, not {fraction!r}"):
        lk.split_by_sample(data, fraction=fraction)


def test_a_fraction_that_leaves_a_class_without_samples_is_refused(data):
    with pytest.raises(
        lk.LirfError,
        match="^fraction must leave samples of each class in both parts, but 0.001 of 1068 samples doesn't",
    ):
        lk.split_by_sample(data, fraction=0.001)


def test_wrong_indices_are_refused(data):
    train, tested = data.train_indices.tolist(), int(data.test_indices[0])
    for indices, sentence in [
        ([], "at least one whole number"),
        ([0.5], "at least one whole number"),
        ([train[0], train[0]], "indices must name each sample once"),
        ([tested], f"indices must be positions of training samples, not {tested}"),
        ([-1], "indices must be positions of training samples, not -1"),
        (train, "indices must leave at least one training sample preserved"),
    ]:
        with pytest.raises(lk.LirfError, match=sentence):
            lk.split_by_sample(data, indices=indices)


def test_a_split_by_samples_takes_fraction_or_indices(data):
    with pytest.raises(lk.LirfError, match="either fraction or indices"):
        lk.split_by_sample(data)
    with pytest.raises(lk.LirfError, match="either fraction or indices"):
        lk.split_by_sample(data, fraction=0.1, indices=[0])
