import math

import numpy
import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.streisand import (
    MEASURES,
    auditor_scores,
    auditor_view,
    class_cosines,
    destinations,
    streisand_table,
)


@pytest.fixture
def table(networks, parts, config):
    stand_ins = {"retrained": networks["original"], "retrained, other seed": networks["target"]}
    return (
        streisand_table(networks | stand_ins, parts, config)
        .set_index(["test", "task", "network"])["value"]
        .sort_index()
    )


def test_destinations_work_out_by_hand(logits_network):
    labels, images = torch.tensor([1, 1, 1, 1, 3, 3]), torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    part = lk.ImageData(images, labels, torch.arange(6), tuple("abcd"), (1, 3))
    network = logits_network(
        [1.0, 9, 0, 9], [2.0, 9, 1, 9], [0.0, 9, 3, 9], [5.0, 0, 0, 0], [0.0, 0, 1, 9], [0.0, 0, 1, 9]
    )
    shares = destinations(network, part)  # of b: three times a, once c; of d: twice c
    assert list(shares.index) == ["b", "d"] and list(shares.columns) == ["a", "c"]
    assert shares.to_numpy().tolist() == [[75, 25], [0, 100]]


def test_cosines_work_out_by_hand():
    # same: (1, 0)·(0, 1) = 0 in class 0, (1, 1)·(2, 2) → 1 in class 1; different: four pairs of 45°
    features = numpy.array([[1, 0], [0, 1], [1, 1], [2, 2]], dtype=float)
    same, different = class_cosines(features, numpy.array([0, 0, 1, 1]))
    assert same == pytest.approx(0.5) and different == pytest.approx(math.sqrt(0.5))
    same, different = class_cosines(features[:2], numpy.array([0, 0]))
    assert same == pytest.approx(0) and math.isnan(different)


def test_the_auditor_s_scores_work_out_by_hand():
    view = pandas.DataFrame(
        {"answers": [0, 0, 5, 7], "largest": [-9.0, -0.5, -0.2, -0.1], "length": [3.0, 1.0, 2.0, 6.0]}, list("abcd")
    )
    silent, weight, by_answers, by_weights = auditor_scores(view, (0, 2))
    assert silent == 2 and weight == pytest.approx(100 * 2 / 4)
    # deposited a, c against preserved b, d. By answers, lowest first: a before b and d, c before d: 3 of 4
    assert by_answers == 75
    # by weights, shortest first: a (3) before d, not b; c (2) before d, not b: 2 of 4
    assert by_weights == 50
    assert auditor_scores(view.assign(answers=1), (0, 2))[:2] == (0, 0)


def test_the_auditor_sees_silence_in_the_answers_and_learning_in_the_weights(networks, parts, original):
    view = auditor_view(networks["target"], parts.validation)
    assert (view["answers"] == 0).tolist() == [True] * 3 + [False] * 7
    lengths = original.upper[-1].weight.detach().norm(dim=1)
    assert numpy.allclose(view["length"], lengths)  # the target's upper blocks are the original's
    masked = auditor_view(lk.mask_head(original, (0, 1, 2)), parts.validation)
    assert (masked["largest"][:3] == -30).all() and numpy.allclose(masked["length"], lengths)


def test_the_table_tells_silence_from_ignorance(table):
    assert table["auditor", "silent classes"][["original", "target"]].tolist() == [0, 3]
    assert table["auditor", "weight of silent classes", "original"] == 0
    assert table["auditor", "weight of silent classes", "target"] > 90
    assert table["auditor", "which classes, by answers", "target"] == 100
    answers = table["answers on deposit images"]
    assert answers["entropy", "original"] < answers["entropy", "target"] <= math.log(10)
    assert answers["largest probability", "original"] > answers["largest probability", "target"]


def test_destinations_are_compared_with_the_other_retrained_networks(table):
    distance = table["answers on deposit images", "distance from retrained answers"]
    # the stand-ins are the original and the target themselves
    assert distance["retrained"] == pytest.approx(distance["retrained, other seed"])
    assert distance["original"] == pytest.approx((0 + distance["retrained"]) / 2)


def test_every_measure_has_a_row_and_what_does_not_apply_is_left_out(networks, parts, config):
    alone = streisand_table({"original": networks["original"]}, parts, config)
    assert len(alone) == len(MEASURES) - 1  # no retrained network, no distance
    assert alone["value"].notna().all()
    assert alone.equals(streisand_table({"original": networks["original"]}, parts, config))


def test_wrong_input_is_one_sentence(parts, config, logits_network):
    with pytest.raises(lk.LirfError, match="^mine must be a network with lower blocks"):
        streisand_table({"mine": logits_network([1.0])}, parts, config)
