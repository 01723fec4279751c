import numpy
import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.few_shot import few_shot_table, nearest_mean
from lirf_kit.evidence.readings import ALL, ONLY, Readings


def test_class_means_work_out_by_hand():
    # means: class 3 (0, 0) and (2, 0) → (1, 0); class 5 (6, 2) and (6, 4) → (6, 3); class 7 (0, 9) → itself
    features = numpy.array([[0, 0], [6, 2], [2, 0], [6, 4], [0, 9]], dtype=float)
    labels = numpy.array([3, 5, 3, 5, 7])
    asked = numpy.array([[1, 1], [5, 2], [0, 5], [3, 1]], dtype=float)
    # distances squared of (0, 5): 26, 40, 16; of (3, 1): 5, 13, 73
    assert nearest_mean(features, labels, asked).tolist() == [3, 5, 7, 3]


@pytest.fixture
def toy():
    """Four classes, of which 0 and 1 are deposited, in two networks: corners far apart, and all in one place."""
    labels = torch.arange(4).repeat(30)
    images = torch.zeros(120, 1, 1, 1, dtype=torch.uint8)
    part = lk.ImageData(images, labels, torch.arange(120), tuple("abcd"), (0, 1))
    draw = numpy.random.default_rng(0)
    corners = numpy.array([(0, 0), (0, 9), (9, 0), (9, 9)])[labels]
    apart, blank = corners + draw.normal(0, 1, (120, 2)), draw.normal(0, 1, (120, 2))
    return Readings(part, part, {"apart": [(apart, apart)], "blank": [(blank, blank)]})


def values(table, network):
    return table[table["network"] == network].set_index(["test", "task"])["value"]


def test_a_few_images_are_enough_where_classes_lie_apart_and_tell_nothing_where_they_do_not(toy, config):
    table = few_shot_table(toy, config, shots=(1, 5))
    apart, blank = values(table, "apart"), values(table, "blank")
    assert list(apart.index) == [
        ("class means, 1 a class", ALL),
        ("class means, 1 a class", ONLY),
        ("class means, 5 a class", ALL),
        ("class means, 5 a class", ONLY),
        ("new head, 2% of the data", ALL),
    ]
    assert (apart == 100).all()
    by_chance = numpy.array([25, 50, 25, 50, 25])
    assert (abs(blank - by_chance) < 15).all()


def test_a_thief_scales_first_so_loud_features_drown_nothing(toy, config):
    """The class lies in two features; a third is noise, a thousand times as large."""
    (apart, _), (blank, _) = (toy.features[name][0] for name in ("apart", "blank"))
    hidden = numpy.hstack([apart, 1000 * blank[:, :1]])
    table = few_shot_table(Readings(toy.train, toy.evaluated, {"hidden": [(hidden, hidden)]}), config, shots=(5,))
    assert (table["value"] > 90).all()


def test_the_same_seed_draws_the_same_images(toy, config):
    first, again, other = (few_shot_table(toy, config.replace(seed=seed), (1,)) for seed in (3, 3, 4))
    assert first.equals(again) and not first.equals(other)


def test_the_new_head_sees_each_class_at_least_once(toy, config):
    table = few_shot_table(toy, config, shots=(), share=0.001)  # 0.03 images of each class: one
    assert values(table, "apart").tolist() == [100]
    assert table["test"].unique().tolist() == ["new head, 0.1% of the data"]


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"shots": (31,)}, "^shots must be whole numbers from 1 to 30, the number of training images of 'a', not 31"),
        ({"shots": (0,)}, "^shots must be whole numbers from 1 to 30, .*not 0"),
        ({"share": 0}, "^share must be a number above 0 and at most 1, not 0"),
        ({"share": 1.5}, "^share must be .*not 1.5"),
        ({"tasks": ("deposit against preserved",)}, "^tasks must be all classes or deposit classes only, not"),
        ({"draws": 0}, "^draws must be a whole number of at least 1, not 0"),
    ],
)
def test_wrong_input_is_one_sentence(toy, config, asked, sentence):
    with pytest.raises(lk.LirfError, match=sentence):
        few_shot_table(toy, config, **asked)
