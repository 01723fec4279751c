import numpy
import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.probes import PROBES, fit_linear, fit_mlp, neighbour_accuracy, probe_table
from lirf_kit.evidence.readings import AGAINST, ALL, ONLY, TASKS, Readings, read_features, untrained_network


def toy_readings(place, each=40, noise=0.1, classes=4, deposit_classes=(0, 1)):
    """Features of each class scattered about its place: `place` maps a class's number to a point, or None for noise."""
    labels = torch.arange(classes).repeat(each)
    images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    names = tuple("abcdefghij"[:classes])
    part = lk.ImageData(images, labels, torch.arange(len(labels)), names, deposit_classes)
    draw = numpy.random.default_rng(0)
    middles = numpy.array([place(number) for number in labels.tolist()], dtype=float)
    first, second = (middles + draw.normal(0, noise, middles.shape) for _ in range(2))
    return Readings(part, part, {"network": [(first, second)]})


CORNERS = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (1, 1)}


def scores(table):
    return {(test.split()[0], task): value for test, task, value in table[["test", "task", "value"]].values}


def test_classes_apart_are_read_by_every_probe(config):
    found = scores(probe_table(toy_readings(CORNERS.get), config))
    assert set(found) == {(probe, task) for probe in PROBES for task in TASKS}
    assert set(found.values()) == {100.0}


def test_classes_in_one_place_are_read_by_chance(config):
    """All classes' means are equal: 25 % of four classes, 50 % of two, and 50 % of two sides."""
    found = scores(probe_table(toy_readings(lambda number: (0, 0), each=400), config))
    for probe in PROBES:
        assert found[probe, ALL] == pytest.approx(25, abs=10)
        assert found[probe, ONLY] == pytest.approx(50, abs=5)
        assert found[probe, AGAINST] == pytest.approx(50, abs=5)


def test_a_linear_probe_does_not_see_what_a_perceptron_does(config):
    """Equal means, unequal shapes: class 0 lies on two opposite corners, class 1 on the two others (XOR)."""
    corners = [[(0, 0), (1, 1)], [(0, 1), (1, 0)], [(5, 5), (5, 5)], [(9, 9), (9, 9)]]
    turn = iter(range(10**6))
    readings = toy_readings(lambda number: corners[number][next(turn) // 4 % 2], each=200)
    found = scores(probe_table(readings, config, tasks=(ONLY,)))
    assert found["linear", ONLY] == pytest.approx(50, abs=10)
    assert found["MLP", ONLY] == 100 and found["kNN", ONLY] == 100


def test_deposit_against_preserved_counts_both_sides_alike(config):
    """Of 40 deposited and 120 preserved images, a probe of constant features gives one answer: 50 %."""
    readings = toy_readings(lambda number: (0, 0), noise=0, deposit_classes=(0,))
    found = scores(probe_table(readings, config, ("linear", "kNN"), tasks=(AGAINST,)))
    assert set(found.values()) == {50.0}


def test_the_linear_probe_reads_after_each_stage(tiny_original, tiny_parts, tiny):
    readings = read_features({"original": tiny_original}, tiny_parts, tiny)
    table = probe_table(readings, tiny, tasks=(ALL,))
    assert table["test"].tolist() == [
        "linear probe, stage 1",
        "linear probe, stage 2",
        "MLP probe, stage 2",
        "kNN (10)",
    ]
    assert probe_table(readings, tiny, ("linear",), (ALL,), "last")["test"].tolist() == ["linear probe, stage 2"]
    assert table["value"].between(0, 100).all() and set(table["unit"]) == {"%"}


def test_the_same_seed_gives_the_same_table(tiny_original, tiny_parts, tiny):
    first, again = (
        probe_table(read_features({"original": tiny_original}, tiny_parts, tiny, per_class=30), tiny) for _ in range(2)
    )
    assert first.equals(again)


def test_what_the_original_knows_beats_what_an_untrained_network_knows(original, parts, config):
    networks = {"original": original, "untrained": untrained_network(parts, config)}
    table = probe_table(read_features(networks, parts, config), config, ("linear", "kNN"), (ALL,), "last")
    values = table.set_index(["test", "network"])["value"].unstack()
    assert (values["original"] > 97).all() and (values["untrained"] < values["original"]).all()


@pytest.mark.parametrize("fit", [fit_linear, fit_mlp])
def test_a_probe_that_does_not_converge_says_so(fit):
    draw = numpy.random.default_rng(0)
    features, labels = draw.normal(size=(200, 30)), numpy.arange(200) % 4
    assert fit(features, labels, seed=0)[1] == ""
    assert fit(features, labels, seed=0, steps=2)[1] == "did not converge in 2 steps"


def test_the_table_notes_and_warns_of_a_probe_that_did_not_converge(monkeypatch, config):
    monkeypatch.setattr("lirf_kit.evidence.probes.MOST_STEPS", 1)
    with pytest.warns(UserWarning, match="^linear probe, stage 1, all classes, network: did not converge in 1 steps"):
        table = probe_table(toy_readings(CORNERS.get), config, ("linear",), (ALL,))
    assert table["note"].tolist() == ["did not converge in 1 steps"]


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"probes": ("SVM",)}, "^probes must be linear, MLP or kNN, not 'SVM'"),
        ({"tasks": ("easy",)}, "^tasks must be all classes, deposit classes only or deposit against preserved, not"),
        ({"stages": "first"}, "^stages must be all or last, not 'first'"),
        (
            {"neighbours": 81},
            "^neighbours must be at most 80, the number of training images for 'deposit classes only', not 81",
        ),
    ],
)
def test_wrong_input_is_one_sentence(asked, sentence, config):
    with pytest.raises(lk.LirfError, match=sentence):
        probe_table(toy_readings(CORNERS.get), config, **asked)


def test_more_neighbours_than_images_are_one_sentence(tiny_original, tiny_parts):
    named, most = {"original": tiny_original}, len(tiny_parts.deposit_set) + len(tiny_parts.preservation_set)
    for wrong in (most + 1, 0, 2.5):
        sentence = f"^neighbours must be a whole number from 1 to {most}, the number of training images, not {wrong}$"
        with pytest.raises(lk.LirfError, match=sentence):
            lk.with_neighbours(pandas.DataFrame(index=["original"]), named, tiny_parts, neighbours=wrong)


def test_neighbours_within_a_picture_are_counted_in_the_smallest_fold():
    labels = torch.arange(12) % 2  # the largest of five folds has 3, so it leaves 9 to learn from
    points = labels[:, None].numpy() + numpy.linspace(0, 0.1, 12)[:, None]
    assert 0 <= neighbour_accuracy(points, labels, 9) <= 1
    with pytest.raises(lk.LirfError, match="^neighbours must be a whole number from 1 to 9, the number of points in 4"):
        neighbour_accuracy(points, labels)
    with pytest.raises(lk.LirfError, match="^labels must have a class of at least 5 points, one for each fold$"):
        neighbour_accuracy(points, torch.arange(12) // 3, 3)


def test_too_few_training_images_are_one_sentence(config):
    with pytest.raises(lk.LirfError, match="^probes need 4 training images of each class, but 'a' has 3$"):
        probe_table(toy_readings(CORNERS.get, each=3), config)


def test_a_single_deposit_class_cannot_be_told_apart(config):
    readings = toy_readings(CORNERS.get, deposit_classes=(2,))
    with pytest.raises(lk.LirfError, match="^tasks can't include 'deposit classes only' with a single deposit class"):
        probe_table(readings, config)
    found = probe_table(readings, config, tasks=(ALL, AGAINST))
    assert set(found["value"]) == {100.0}
