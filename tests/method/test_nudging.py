import copy

import pytest
import torch
from torch import nn

import lirf_kit as lk
from lirf_kit.method.networks import Normalise, SplitNetwork


@pytest.fixture
def see_saw():
    """A network whose class 2 likes a bright first pixel and a dark second one; the others don't care."""
    classifier = nn.Linear(2, 3, bias=False)
    classifier.weight.data = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]])
    return SplitNetwork(nn.Sequential(Normalise(1)), nn.Sequential(nn.Flatten(), classifier))


def test_a_nudge_moves_each_pixel_by_twelve_levels_and_no_further_than_black_and_white(see_saw, generator):
    images = torch.tensor([[100, 100], [250, 5]], dtype=torch.uint8).view(2, 1, 1, 2)
    nudged = lk.nudge(see_saw, images, [0, 1], generator)
    assert nudged.dtype == torch.uint8 and nudged.flatten(1).tolist() == [[112, 88], [255, 0]]
    away = lk.nudge(see_saw, images, [1, 2], generator)  # towards class 0, which only gains when class 2 loses
    assert away.flatten(1).tolist() == [[88, 112], [238, 17]]


def test_nudged_images_look_to_the_original_like_preserved_ones(original, parts, config, generator):
    images, gone = parts.deposit_set.images, (0, 1, 2)
    nudged = lk.nudge(original, images, gone, generator, reach=50)
    assert (nudged.int() - images.int()).abs().max() <= 50

    def highest(images):
        return lk.select_preserved(original(images), gone).amax(dim=1).mean().item()

    with torch.no_grad():
        assert highest(nudged) > highest(images) + 1


def test_a_nudge_leaves_the_network_as_it_is(tiny_original, tiny_parts, same_weights, generator):
    network = copy.deepcopy(tiny_original).train()
    lk.nudge(network, tiny_parts.deposit_set.images, (0, 1, 2), generator)
    assert network.training and same_weights(network, tiny_original)
    assert all(weight.grad is None for weight in network.parameters())


def test_a_nudge_needs_a_class_to_go_to(see_saw, generator):
    images = torch.zeros(1, 1, 1, 2, dtype=torch.uint8)
    with pytest.raises(lk.LirfError, match="^forgotten must leave at least one class, not name all$"):
        lk.nudge(see_saw, images, [0, 1, 2], generator)
