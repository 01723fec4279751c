import numpy
import pytest
import torch
from sklearn.metrics import roc_auc_score

import lirf_kit as lk
from lirf_kit.evidence.membership import attack, log_probabilities, membership_table, true_positives


class Remembers(torch.nn.Module):
    """Logits of two classes from the pixel: images up to `known` are answered with a margin, the others with none."""

    def __init__(self, known, margin):
        super().__init__()
        self.known, self.margin = known, margin

    def forward(self, images):
        pixel = images.flatten().float()
        return torch.stack([self.margin * (pixel <= self.known), torch.zeros_like(pixel)], dim=1)


@pytest.fixture
def toy():
    """Class 0 is deposited: pixels 0 to 99 are members, 100 to 199 unseen; class 1 is there because it must be."""

    def part(pixels, label, deposit_classes=(0,)):
        images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1)
        labels = torch.full((len(pixels),), label)
        return lk.ImageData(images, labels, torch.arange(len(pixels)), ("a", "b"), deposit_classes)

    members, unseen, other = part(range(100), 0), part(range(100, 200), 0), part(range(200, 220), 1)
    return lk.Partition(members, other, unseen, other, unseen, unseen, other, unseen)


def test_true_positives_at_a_rate_work_out_by_hand():
    truth = numpy.array([True] * 4 + [False] * 10)
    scores = numpy.array([9, 7, 5, 1, 8, 6, 4, 4, 3, 3, 2, 2, 0, 0])
    # above 8 stands one member, no other: 1/4; above 6 two members and one other (1/10); above 4 three and two (2/10)
    assert true_positives(truth, scores, 0.01) == 0.25
    assert true_positives(truth, scores, 0.1) == 0.5
    assert true_positives(truth, scores, 0.2) == 0.75
    assert roc_auc_score(truth, scores) == pytest.approx((10 + 9 + 8 + 2) / 40)


@pytest.mark.parametrize("margin", [5.0, -5.0])
def test_planted_members_are_found_whether_they_are_answered_better_or_worse(toy, config, margin):
    table = membership_table({"leaks": Remembers(99, margin)}, toy, config)
    assert set(table["value"]) == {100.0} and set(table["unit"]) == {"%"}
    assert table["test"].unique().tolist() == ["membership by loss", "membership by probabilities"]


def test_half_of_the_members_planted_are_found_without_a_false_alarm(toy, config):
    table = membership_table({"leaks": Remembers(49, 5.0)}, toy, config).set_index("task")["value"]
    assert table["area under the curve"].tolist() == pytest.approx([75, 75])  # 50 sure, and a coin for the others
    assert table["found at 1% false alarms"].tolist() == table["found at 10% false alarms"].tolist() == [50, 50]


def test_a_network_that_treats_all_alike_gives_nothing_away(toy, config):
    table = membership_table({"blank": Remembers(255, 5.0)}, toy, config).set_index("task")["value"]
    assert table["area under the curve"].tolist() == [50, 50]
    assert table["found at 1% false alarms"].tolist() == [0, 0]


def test_the_attack_is_judged_on_images_that_it_never_learnt_from():
    """300 columns of noise for 100 images: learnt by heart they would give 100 %."""
    draw = numpy.random.default_rng(0)
    truth = numpy.arange(100) < 50
    area, scores, note = attack(draw.normal(size=(100, 300)), truth, 0)
    assert note == ""
    assert area == pytest.approx(0.5, abs=0.15) and roc_auc_score(truth, scores) == pytest.approx(0.5, abs=0.15)


def test_an_attack_that_does_not_converge_says_so(toy, config, monkeypatch):
    monkeypatch.setattr("lirf_kit.evidence.membership.MOST_STEPS", 1)
    table = membership_table({"leaks": Remembers(49, 5.0)}, toy, config)
    assert (table["note"] == "did not converge in 1 steps").all()


def test_a_masked_class_stays_finite(original, parts):
    masked = lk.mask_head(original, parts.deposit_set.deposit_classes)
    logs = log_probabilities(masked, parts.deposit_validation)
    assert (logs[:, :3] == -30).all() and numpy.isfinite(logs).all()


def test_few_unseen_images_are_noted(networks, parts, config):
    table = membership_table(networks, parts, config)
    fine = table[table["task"] == "found at 1% false alarms"]
    assert set(fine["note"]) == {"with 57 unseen images the lowest rate above 0 is 1.8%"}
    assert set(table[table["task"] == "found at 10% false alarms"]["note"]) == {""}
    assert table.equals(membership_table(networks, parts, config))


def test_a_split_by_samples_is_attacked_too(tiny_original, tiny_data, tiny):
    table = membership_table({"original": tiny_original}, lk.split_by_sample(tiny_data, 0.1), tiny)
    assert len(table) == 6 and table["value"].between(0, 100).all()


def test_too_few_images_are_one_sentence(toy, config):
    places = torch.arange(4)
    few = lk.Partition(toy.deposit_set.select(places), *list(vars(toy).values())[1:])
    with pytest.raises(
        lk.LirfError, match="^parts must have at least 5 deposited images of the deposit classes, not 4"
    ):
        membership_table({"leaks": Remembers(99, 5.0)}, few, config)
    with pytest.raises(lk.LirfError, match="^on must be validation or test, not 'train'"):
        membership_table({"leaks": Remembers(99, 5.0)}, toy, config, on="train")
