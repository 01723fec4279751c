import copy

import pytest
import torch
from torch import nn

import lirf_kit as lk


@pytest.fixture(scope="module")
def images(tiny_parts):
    return tiny_parts.preservation_set.images[:256]


def test_new_statistics_are_those_of_the_images_and_no_weight_changes(tiny_original, images):
    fresh = lk.recalibrated(tiny_original, images)
    pixels = tiny_original.lower[0](images)
    stem = tiny_original.lower[1]
    made = nn.functional.conv2d(pixels, stem[0].weight, padding=1)  # what the first BatchNorm sees
    assert torch.allclose(fresh.lower[1][1].running_mean, made.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(fresh.lower[1][1].running_var, made.var((0, 2, 3)), rtol=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(fresh.parameters(), tiny_original.parameters()))
    assert not fresh.training


def test_the_network_stays_as_it_is(tiny_original, images, same_weights):
    before = copy.deepcopy(tiny_original)
    lk.recalibrated(tiny_original, images)
    assert same_weights(before, tiny_original)


def test_a_network_that_hides_behind_its_statistics_is_found_out(original, parts, config):
    hidden = copy.deepcopy(original)
    for layer in hidden.lower.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean += 3 * layer.running_var.sqrt()  # everything is shifted: it answers next to nothing
    networks = {"original": original, "hidden": hidden, "head masking": lk.mask_head(original, (0, 1, 2))}
    assert lk.accuracy(hidden, parts.deposit_validation) < 60
    table = lk.recalibration_table(networks, parts, config).set_index("network")["value"]
    assert table["hidden"] == pytest.approx(table["original"]) and table["head masking"] == table["original"] > 90


def test_the_same_seed_draws_the_same_images(tiny_original, tiny_parts, tiny):
    first, again = (lk.recalibration_table({"n": tiny_original}, tiny_parts, tiny, per_class=20) for _ in range(2))
    assert first.equals(again)
