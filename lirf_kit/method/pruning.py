"""A smaller copy of a network's lower blocks, whose output keeps its shape.

Whole channels are taken out of the inside of each residual block, between its two convolutions; what the blocks pass
on, and with it the shared upper blocks, stays as wide as it was. Nothing is masked: the copy is a smaller network.
"""

import copy
import math
import numbers

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from lirf_kit.config import LirfError


def prune_lower(lower, keep):
    """Return a copy of lower blocks with the least important channels taken out of the inside of each residual block.

    A channel's importance is the length (L2) of all the weights that go if it goes: its filter in the first
    convolution, its BatchNorm's scale and shift, and its slice of the second convolution (group magnitude; Fang et
    al. 2023, DepGraph). Each block keeps the same share of its inner channels, as many as `keep` allows. What a lost
    channel contributed on average, by its BatchNorm's scale and shift, stays: it moves into the next BatchNorm.

    Parameters
    ----------
    lower : nn.Sequential
        `SplitNetwork.lower`; left as it is.
    keep : float
        The share of the parameters that may stay, in (0, 1]; met or undercut. At 1 the copy is exact.

    Returns
    -------
    nn.Sequential
        Same input and output shapes.

    Raises
    ------
    LirfError
        If `keep` is outside its range, or so small that a block would lose all of its inner channels.
    """
    if not isinstance(keep, numbers.Real) or isinstance(keep, bool) or not 0 < keep <= 1:
        raise LirfError(f"keep must be a number above 0 and at most 1, not {keep!r}")
    pruned = copy.deepcopy(lower)
    blocks = [module for module in pruned.modules() if isinstance(module, BasicBlock)]
    for block, count in zip(blocks, _inner_channels(pruned, blocks, keep)):
        if count < block.conv1.out_channels:
            _narrow(block, channel_importance(block).topk(count).indices.sort().values)
    return pruned


def channel_importance(block):
    """Return the importance of each inner channel of a residual block, (C,): the L2 norm of the weights it stands for.

    Parameters
    ----------
    block : torchvision.models.resnet.BasicBlock
    """
    into, out = block.conv1.weight.detach(), block.conv2.weight.detach()  # (C, C_in, 3, 3), (C_out, C, 3, 3)
    squares = into.square().sum((1, 2, 3)) + out.square().sum((0, 2, 3))
    return (squares + block.bn1.weight.detach().square() + block.bn1.bias.detach().square()).sqrt()


def count_parameters(module):
    """Return how many parameters a module has (BatchNorm's running statistics are not parameters)."""
    return sum(parameter.numel() for parameter in module.parameters())


def _inner_channels(lower, blocks, keep):
    """Return how many inner channels each block keeps: the same share of each, the largest that `keep` allows."""
    widths = [block.conv1.out_channels for block in blocks]
    costs = [block.conv1.weight[0].numel() + block.conv2.weight[:, 0].numel() + 2 for block in blocks]  # of a channel
    budget = math.floor(keep * count_parameters(lower))
    rest = count_parameters(lower) - sum(width * cost for width, cost in zip(widths, costs))
    shares = sorted({count / width for width in set(widths) for count in range(1, width + 1)}, reverse=True)
    for share in shares:
        counts = [max(1, math.floor(share * width + 1e-9)) for width in widths]
        if rest + sum(count * cost for count, cost in zip(counts, costs)) <= budget:
            return counts
    least = math.ceil(1000 * (rest + sum(costs)) / count_parameters(lower)) / 1000  # rounded down it would be refused
    raise LirfError(f"keep must leave each block a channel, at least {least:.3f} of these lower blocks, not {keep}")


@torch.no_grad()
def _narrow(block, kept):
    """Take all inner channels but the kept ones out of a block, in place; the lost ones' mean contribution stays."""
    old, count = block.bn1, len(kept)
    lost = torch.ones(old.num_features, dtype=torch.bool, device=kept.device)
    lost[kept] = False
    # mean of max(0, x) for normal x, as BatchNorm leaves it: β·Φ(β/|γ|) + |γ|·φ(β/|γ|)
    normal = torch.distributions.Normal(old.bias[lost], old.weight[lost].abs().clamp_min(1e-6))
    zero = torch.zeros_like(normal.loc)
    active = normal.loc * (1 - normal.cdf(zero)) + normal.variance * normal.log_prob(zero).exp()
    block.bn2.running_mean -= block.conv2.weight[:, lost].sum((2, 3)) @ active
    first, second = block.conv1, block.conv2
    block.conv1 = nn.Conv2d(first.in_channels, count, 3, first.stride, 1, bias=False, device="meta")  # draws no weights
    block.bn1 = nn.BatchNorm2d(count)
    block.conv2 = nn.Conv2d(count, second.out_channels, 3, 1, 1, bias=False, device="meta")
    block.conv1.weight = nn.Parameter(first.weight[kept])
    block.conv2.weight = nn.Parameter(second.weight[:, kept])
    block.bn1.load_state_dict({name: value[kept] if value.ndim else value for name, value in old.state_dict().items()})
    block.to(first.weight.device).train(block.training)
