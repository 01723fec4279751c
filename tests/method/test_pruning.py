import copy
import math

import numpy
import pytest
import torch
from scipy import integrate, stats
from torch import nn
from torchvision.models.resnet import BasicBlock

import lirf_kit as lk


def blocks_of(lower):
    return [module for module in lower.modules() if isinstance(module, BasicBlock)]


def inner(lower):
    """How many inner channels each block has."""
    return [block.conv1.out_channels for block in blocks_of(lower)]


def images(count=4, channels=1, side=8):
    return torch.randint(256, (count, channels, side, side), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def resnet18(config):
    """The paper's network with the BatchNorm of one that has been trained, and not of a fresh one."""
    four_stages = config.replace(widths=(64, 128, 256, 512), blocks_per_stage=2, split_after=3)
    return stirred(lk.build_network(four_stages, channels=3, num_classes=10))


def stirred(network):
    draw = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value, low in (
                (layer.weight, 0.5),
                (layer.bias, -0.5),
                (layer.running_mean, -1),
                (layer.running_var, 1),
            ):
                value.data = low + torch.rand(len(value), generator=draw)
    return network.eval()


@pytest.fixture
def block():
    """A block of eight channels: 2 · 8·8·9 + 4·8 = 1184 parameters, of which an inner channel has 2 · 72 + 2 = 146."""
    torch.manual_seed(0)
    return stirred(BasicBlock(8, 8))


ONE_LESS = 0.88  # 1184 − 146 = 1038 of 1184 parameters are 0.877


def test_keeping_everything_is_a_copy_bit_by_bit_that_shares_nothing(original, same_weights):
    copied = lk.prune_lower(original.lower, 1.0)
    assert same_weights(copied, original.lower)
    assert str(copied) == str(original.lower)
    held = {value.data_ptr() for value in original.lower.state_dict().values()}
    assert not held & {value.data_ptr() for value in copied.state_dict().values()}


@pytest.mark.parametrize("keep", [0.99, 0.75, 0.5, 0.3, 0.12])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_the_share_of_parameters_is_met_or_undercut_by_as_little_as_can_be(original, after, keep):
    lower = lk.split(original, after).lower
    pruned = lk.prune_lower(lower, keep)
    total, widths, counts = lk.count_parameters(lower), inner(lower), inner(pruned)
    # a channel of a block a→b has 9a + 9b weights and a BatchNorm's 2
    costs = [9 * block.conv1.in_channels + 9 * block.conv2.out_channels + 2 for block in blocks_of(lower)]
    gone = sum((width - count) * cost for width, count, cost in zip(widths, counts, costs))
    assert lk.count_parameters(pruned) == total - gone <= keep * total
    # one channel more of the block that comes next, and of all others the same share
    share = min((count + 1) / width for count, width in zip(counts, widths))
    more = [max(1, math.floor(share * width + 1e-9)) for width in widths]
    assert total - sum((width - count) * cost for width, count, cost in zip(widths, more, costs)) > keep * total
    assert all(abs(count / width - counts[-1] / widths[-1]) <= 1 / width for count, width in zip(counts, widths))


@pytest.mark.parametrize("keep", [0.75, 0.5, 0.1])
def test_a_resnet18_keeps_the_shape_of_its_features_and_loses_parameters(resnet18, keep):
    pruned = lk.prune_lower(resnet18.lower, keep)
    assert len(blocks_of(pruned)) == 6
    assert lk.count_parameters(pruned) <= keep * lk.count_parameters(resnet18.lower)
    shares = [count / width for count, width in zip(inner(pruned), inner(resnet18.lower))]
    assert max(shares) - min(shares) < 1 / 64  # the same share of each, but for the part of a channel
    with torch.no_grad():
        features = pruned(images(2, 3, 32))
    assert features.shape == (2, 256, 8, 8) and features.isfinite().all()
    assert 0 < features.std() < 100


def test_what_stays_is_a_smaller_network_and_not_a_mask(original):
    pruned = lk.prune_lower(original.lower, 0.5)
    assert [name for name, _ in pruned.named_modules()] == [name for name, _ in original.lower.named_modules()]
    for block, old, count in zip(blocks_of(pruned), blocks_of(original.lower), inner(pruned)):
        width = old.conv2.out_channels
        assert count < width
        assert block.conv1.weight.shape == (count, old.conv1.in_channels, 3, 3)
        assert block.conv2.weight.shape == (width, count, 3, 3)
        assert all(value.shape == (count,) for name, value in block.bn1.state_dict().items() if "tracked" not in name)
        assert block.bn1.num_features == block.conv2.in_channels == count and block.bn2.num_features == width
        assert block.conv1.stride == old.conv1.stride and block.conv1.bias is block.conv2.bias is None
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in pruned.parameters())


def test_a_channel_s_importance_works_out_by_hand():
    # channel 0: filter 3, BatchNorm's scale 4, slice 12: √(9 + 16 + 144) = 13; channel 1: 1, shift 2, slice 2: √9 = 3
    toy = BasicBlock(2, 2)
    for parameter in toy.parameters():
        parameter.data.zero_()
    toy.conv1.weight.data[0, 1, 2, 0], toy.conv1.weight.data[1, 0, 0, 0] = 3.0, -1.0
    toy.bn1.weight.data[0], toy.bn1.bias.data[1] = 4.0, -2.0
    toy.conv2.weight.data[1, 0, 1, 1], toy.conv2.weight.data[0, 1, 2, 2] = -12.0, 2.0
    toy.bn2.weight.data[0] = 100.0  # an outer channel's: it says nothing of the inner ones
    assert lk.channel_importance(toy).tolist() == [13.0, 3.0]


def test_the_least_important_channels_go_and_the_others_stay_in_order(block):
    block.conv1.weight.data[[1, 6]] *= 0.01
    block.conv2.weight.data[:, [1, 6]] *= 0.01
    block.bn1.weight.data[[1, 6]] = 0.1
    block.bn1.bias.data[[1, 6]] = 0.0
    kept = [0, 2, 3, 4, 5, 7]
    (pruned,) = lk.prune_lower(nn.Sequential(block), 0.76)  # 1184 − 2 · 146 = 892 of 1184 are 0.753
    assert torch.equal(pruned.conv1.weight, block.conv1.weight[kept])
    assert torch.equal(pruned.conv2.weight, block.conv2.weight[:, kept])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(pruned.bn1, name), getattr(block.bn1, name)[kept]), name
    for name in ("weight", "bias", "running_var"):
        assert torch.equal(getattr(pruned.bn2, name), getattr(block.bn2, name)), name


@pytest.mark.parametrize("shift", [0.3, -0.3])
def test_a_channel_that_is_always_the_same_can_go_unnoticed(block, shift):
    # a scale of 0: the channel is max(0, shift) everywhere; the zeros around an image cut its sum short at the border
    block.conv1.weight.data[3] *= 0.1
    block.bn1.weight.data[3], block.bn1.bias.data[3] = 0.0, shift
    lower = nn.Sequential(block)
    pruned = lk.prune_lower(lower, ONE_LESS)
    inputs = torch.randn(5, 8, 6, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before, after = lower(inputs), pruned(inputs)
    assert inner(pruned) == [7] and lk.channel_importance(block).argmin() == 3
    torch.testing.assert_close(after[..., 1:-1, 1:-1], before[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)
    assert torch.allclose(after, before, atol=1e-5) == (shift < 0)  # below zero there is nothing to cut short


def test_the_mean_of_a_lost_channel_moves_into_the_next_batchnorm(block):
    scale, shift = -0.4, 0.1  # what BatchNorm leaves is normal: its mean above zero by numeric integration
    block.conv1.weight.data[3] *= 0.1
    block.bn1.weight.data[3], block.bn1.bias.data[3] = scale, shift
    (pruned,) = lk.prune_lower(nn.Sequential(block), ONE_LESS)
    assert lk.channel_importance(block).argmin() == 3
    active, _ = integrate.quad(lambda z: max(0, scale * z + shift) * stats.norm.pdf(z), -8, 8, points=[0.25])
    expected = block.bn2.running_mean - active * block.conv2.weight[:, 3].sum((1, 2)).detach()
    numpy.testing.assert_allclose(pruned.bn2.running_mean, expected, atol=1e-6)


def test_pruning_leaves_the_original_and_torch_s_random_numbers_as_they_are(original, same_weights):
    before, drawn = copy.deepcopy(original.lower), torch.get_rng_state()
    first, again = (lk.prune_lower(original.lower, 0.5) for _ in range(2))
    assert same_weights(original.lower, before) and same_weights(first, again)
    assert torch.equal(torch.get_rng_state(), drawn)
    for value in first.parameters():
        value.data.fill_(0)
    assert same_weights(original.lower, before)


@pytest.mark.parametrize("training", [True, False])
def test_the_copy_is_in_the_mode_of_the_original(tiny, training):
    lower = lk.build_network(tiny, 1, 10).lower.train(training)
    assert all(module.training == training for module in lk.prune_lower(lower, 0.5).modules())


@pytest.mark.parametrize("keep", [0, -0.1, 1.1, float("nan"), float("inf"), True, "half", None])
def test_a_share_outside_0_to_1_is_refused(tiny_original, keep):
    with pytest.raises(lk.LirfError, match=f"^keep must be a number above 0 and at most 1, not {keep!r}$"):
        lk.prune_lower(tiny_original.lower, keep)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_share_that_leaves_a_block_without_channels_is_refused_and_the_least_one_named_works(original, after):
    lower = lk.split(original, after).lower
    with pytest.raises(
        lk.LirfError, match=r"^keep must .*at least 0\.\d+ of these lower blocks' parameters, not 0.001$"
    ) as refusal:
        lk.prune_lower(lower, 0.001)
    least = float(str(refusal.value).split("at least ")[1].split()[0])
    assert inner(lk.prune_lower(lower, least)) == [1] * after
    with pytest.raises(lk.LirfError, match="^keep must leave each block a channel"):
        lk.prune_lower(lower, least - 0.002)


def test_a_pruned_deposit_comes_back_from_the_disk(tiny_original, tiny_parts, tiny, same_weights, monkeypatch):
    turned = tiny.replace(keep=0.3)
    made = lk.load_or_deposit(tiny_original, tiny_parts.deposit_set, turned)
    monkeypatch.setattr("lirf_kit.method.caching.finish_deposit", None)
    loaded = lk.load_or_deposit(tiny_original, tiny_parts.deposit_set, turned)
    assert inner(loaded[1].lower) < inner(tiny_original.lower)
    assert all(same_weights(one, other) for one, other in zip(made, loaded))
    with torch.no_grad():
        before, after = (lk.withdraw(*both)(tiny_parts.test.images) for both in (made, loaded))
    assert torch.equal(before, after)
    with pytest.raises(TypeError):  # another share is another deposit
        lk.load_or_deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(keep=0.6))
