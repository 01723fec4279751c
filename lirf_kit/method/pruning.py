"""A smaller copy of a network's lower blocks, whose output has the same shape.

Whole channels are removed inside each residual block, between its two convolutions. The output of each block stays as
wide as before, so the shared upper blocks still fit. Nothing is masked: the copy is a smaller network.
"""

import copy
import math
import numbers

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from lirf_kit.config import LirfError


def prune_lower(lower, keep):
    """Return a smaller copy of lower blocks, without the least important inner channels of each residual block.

    A channel's importance is the length (L2) of all the weights that are removed with it: its filter in the first
    convolution, its BatchNorm's scale and shift, and its slice of the second convolution (group magnitude; Fang et
    al. 2023, DepGraph). Each block keeps the same share of its inner channels, as many as `keep` allows. The average
    contribution of a removed channel, which follows from its BatchNorm's scale and shift, is kept: it moves into the
    next BatchNorm.

    Parameters
    ----------
    lower : nn.Sequential
        `SplitNetwork.lower`; it isn't changed.
    keep : float
        The largest share of the parameters that the copy may have, in (0, 1]. At 1 the copy is exact.

    Returns
    -------
    nn.Sequential
        Same input and output shapes.

    Raises
    ------
    LirfError
        If `keep` is outside its range, or so small that a block would lose all its inner channels.
    """
    if not isinstance(keep, numbers.Real) or isinstance(keep, bool) or not 0 < keep <= 1:
        raise LirfError(f"keep must be a number above 0 and at most 1, not {keep!r}")
    pruned = copy.deepcopy(lower)
    blocks = [module for module in pruned.modules() if isinstance(module, BasicBlock)]
    for block, count in zip(blocks, _inner_channels(pruned, blocks, keep)):
        if count < block.conv1.out_channels:
            # topk orders the channels by importance; sorted again, those that stay keep their places
            _narrow(block, channel_importance(block).topk(count).indices.sort().values)
    return pruned


def channel_importance(block):
    """Return the importance of each inner channel of a residual block, (C,): the L2 norm of all its weights.

    Parameters
    ----------
    block : torchvision.models.resnet.BasicBlock
    """
    into, out = block.conv1.weight.detach(), block.conv2.weight.detach()  # (C, C_in, 3, 3), (C_out, C, 3, 3)
    squares = into.square().sum((1, 2, 3)) + out.square().sum((0, 2, 3))  # (C,)
    return (squares + block.bn1.weight.detach().square() + block.bn1.bias.detach().square()).sqrt()


def count_parameters(module):
    """Return how many parameters a module has (BatchNorm's running statistics don't count as parameters)."""
    return sum(parameter.numel() for parameter in module.parameters())


def _inner_channels(lower, blocks, keep):
    """Return how many inner channels each block keeps: the same share in each, the largest that `keep` allows."""
    widths = [block.conv1.out_channels for block in blocks]
    # parameters of one channel: its filter, its slice of the second convolution, BatchNorm's scale and shift
    costs = [block.conv1.weight[0].numel() + block.conv2.weight[:, 0].numel() + 2 for block in blocks]
    budget = math.floor(keep * count_parameters(lower))
    # what can't be pruned: the stem, the shortcuts and each block's second BatchNorm
    rest = count_parameters(lower) - sum(width * cost for width, cost in zip(widths, costs))
    # only at these shares does a block gain or lose a whole channel
    shares = sorted({count / width for width in set(widths) for count in range(1, width + 1)}, reverse=True)
    for share in shares:
        # 1e-9 because rounding can leave a product just below a whole number: 15/22 · 22 is less than 15
        counts = [max(1, math.floor(share * width + 1e-9)) for width in widths]
        if rest + sum(count * cost for count, cost in zip(counts, costs)) <= budget:
            return counts
    least = math.ceil(1000 * (rest + sum(costs)) / count_parameters(lower)) / 1000  # rounded up, so that it is accepted
    raise LirfError(
        f"keep must leave each block a channel, at least {least:.3f} of these lower blocks' parameters, not {keep}"
    )


@torch.no_grad()
def _narrow(block, kept):
    """Remove all inner channels of a block but the kept ones, in place. The others' mean contribution stays."""
    old, count = block.bn1, len(kept)
    lost = torch.ones(old.num_features, dtype=torch.bool, device=kept.device)  # (C,), True for a removed channel
    lost[kept] = False
    # BatchNorm leaves each channel with mean β and deviation |γ|. If x is normal, the mean of ReLU's max(0, x) is
    # β·Φ(β/|γ|) + |γ|·φ(β/|γ|)
    normal = torch.distributions.Normal(old.bias[lost], old.weight[lost].abs().clamp_min(1e-6))
    zero = torch.zeros_like(normal.loc)
    active = normal.loc * (1 - normal.cdf(zero)) + normal.variance * normal.log_prob(zero).exp()
    # the second convolution's output lacks this mean from now on, so the BatchNorm behind it subtracts that much less
    block.bn2.running_mean -= block.conv2.weight[:, lost].sum((2, 3)) @ active  # (C_out, lost) @ (lost,)
    first, second = block.conv1, block.conv2
    block.conv1 = nn.Conv2d(first.in_channels, count, 3, first.stride, 1, bias=False, device="meta")  # draws no weights
    block.bn1 = nn.BatchNorm2d(count)
    block.conv2 = nn.Conv2d(count, second.out_channels, 3, 1, 1, bias=False, device="meta")
    block.conv1.weight = nn.Parameter(first.weight[kept])
    block.conv2.weight = nn.Parameter(second.weight[:, kept])
    # the scale, shift and statistics are (C,), the count of batches has no axis
    block.bn1.load_state_dict({name: value[kept] if value.ndim else value for name, value in old.state_dict().items()})
    block.to(first.weight.device).train(block.training)
