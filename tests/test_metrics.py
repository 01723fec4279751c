import pytest
import torch
from sklearn.metrics import accuracy_score

import lirf_kit as lk


class Answers(torch.nn.Module):
    """Answers the image whose pixel is i with the class answers[i]."""

    def __init__(self, *answers):
        super().__init__()
        self.logits = torch.nn.functional.one_hot(torch.tensor(answers), 3).float()

    def forward(self, images):
        return self.logits[images.flatten().long()]


@pytest.fixture
def toy():
    """Nine images of three classes, of which class 2 is deposited: the pixel is the image's number."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2, 2])
    images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1)
    whole = lk.ImageData(images, labels, torch.arange(9), ("a", "b", "c"), (2,))
    deposit, preserved = whole.select(labels == 2, (2,)), whole.select(labels != 2, (2,))
    return lk.Partition(deposit, preserved, deposit, preserved, whole, deposit, preserved, whole)


def test_the_table_works_out_by_hand(toy):
    # original:  0 0 1 2 | 2 2 2 2 0   Pre 3/4 (a 2 counts, as wrong, over all classes), Dep 4/5, Avg 7/9
    # target:    0 0 1 1 | 0 1 1 0 2   Pre 4/4, Dep 1/5, Avg 5/9, F = 80 − 20 = 60, H = 2·100·60/160 = 75
    # recovered: 0 0 1 1 | 2 2 2 2 2   Pre 4/4, Dep 5/5, Avg 9/9, F = 80 − 100 = −20, so H = 0
    networks = {
        "original": Answers(0, 0, 1, 2, 2, 2, 2, 2, 0),
        "target": Answers(0, 0, 1, 1, 0, 1, 1, 0, 2),
        "recovered": Answers(0, 0, 1, 1, 2, 2, 2, 2, 2),
    }
    table = lk.results_table(networks, toy)
    assert list(table.columns) == ["Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean"]
    assert list(table.index) == ["original", "target", "recovered"]
    assert table.loc["original"].tolist() == [75.0, 80.0, 77.78, 0.0, 0.0]
    assert table.loc["target"].tolist() == [100.0, 20.0, 55.56, 60.0, 75.0]
    assert table.loc["recovered"].tolist() == [100.0, 100.0, 100.0, -20.0, 0.0]


def test_the_average_is_the_accuracy_on_the_whole_part(networks, parts):
    table = lk.results_table(networks, parts)
    for name, network in networks.items():
        assert table.loc[name, "Avg Acc"] == pytest.approx(lk.accuracy(network, parts.test), abs=0.005)


def test_the_table_reads_the_part_that_is_asked_for(networks, parts):
    table = lk.results_table(networks, parts, on="validation")
    expected = lk.accuracy(networks["target"], parts.preservation_validation)
    assert table.loc["target", "Pre Acc"] == pytest.approx(expected, abs=0.005)
    assert "validation" in table.index.name and "test" in lk.results_table(networks, parts).index.name
    with pytest.raises(lk.LirfError, match="^on must be test or validation, not 'train'"):
        lk.results_table(networks, parts, on="train")


def test_accuracy_is_scikit_learn_s(networks, parts):
    for network in networks.values():
        for part in (parts.test, parts.deposit_test, parts.preservation_test):
            with torch.no_grad():
                answers = network(part.images).argmax(1)
            assert lk.accuracy(network, part) == pytest.approx(100 * accuracy_score(part.labels, answers))


def test_accuracy_reads_in_evaluation_mode_and_leaves_the_mode_as_it_was(tiny_original, tiny_data):
    expected = lk.accuracy(tiny_original, tiny_data.test)
    before = {name: value.clone() for name, value in tiny_original.state_dict().items()}
    tiny_original.train()
    assert lk.accuracy(tiny_original, tiny_data.test) == expected
    assert tiny_original.training
    tiny_original.eval()
    assert all(torch.equal(value, before[name]) for name, value in tiny_original.state_dict().items())


def test_the_harmonic_mean_works_out_by_hand():
    assert lk.harmonic_mean(90.0, 60.0) == 72.0  # 2 · 90 · 60 / 150
    assert lk.harmonic_mean(93.41, 79.60) == pytest.approx(85.95, abs=0.01)  # the paper's CIFAR-10 row
    assert lk.harmonic_mean(51.64, 47.42) == pytest.approx(49.44, abs=0.01)  # and its CUB-200-2011 row


def test_the_harmonic_mean_is_zero_where_nothing_is_forgotten():
    assert lk.harmonic_mean(99.0, 0.0) == lk.harmonic_mean(99.0, -5.0) == lk.harmonic_mean(0.0, 0.0) == 0


def test_forgetting_is_what_the_deposit_part_lost():
    assert lk.forgetting(94.60, 15.00) == pytest.approx(79.60)  # the paper's CIFAR-10 row


def test_an_empty_part_is_refused(toy):
    with pytest.raises(lk.LirfError, match="at least one image, not an empty one"):
        lk.accuracy(Answers(0), toy.test.select(slice(0)))


def test_a_table_without_the_original_is_refused(toy):
    with pytest.raises(lk.LirfError, match=r"^networks must include 'original', not only \['target'\]"):
        lk.results_table({"target": Answers(0)}, toy)
