"""Weights in a few bits: the uniform quantiser and the bit packing behind the difference container."""

import torch
from torch.nn import functional

SHARES = 19  # scales that `quantise` tries for each channel, from 10 % to 100 % of the one that clips nothing


@torch.no_grad()
def quantise(weight, bits):
    """Round a weight to 2^bits evenly spaced values for each output channel, symmetric about 0.

    A channel's values are scale · (code − (2^bits − 1)/2): ±½ scale for 1 bit, ±½ and ±1½ for 2 bits. The scale is the
    one of 19 that gives the smallest squared error; small scales clip the largest weights.

    Parameters
    ----------
    weight : torch.Tensor
        (C, …), a convolution's or a linear layer's weight; the first axis holds the output channels.
    bits : int
        From 1 to 8.

    Returns
    -------
    codes : torch.Tensor
        uint8, (C, …), from 0 to 2^bits − 1.
    scales : torch.Tensor
        float32, (C,).
    """
    rows = weight.detach().float().flatten(1)  # (C, D)
    top = 2**bits - 1  # the largest code
    widest = 2 * rows.abs().amax(dim=1) / top  # (C,): at this scale the largest weight is the largest value
    best = torch.full_like(widest, torch.inf)
    codes, scales = torch.zeros_like(rows, dtype=torch.uint8), torch.zeros_like(widest)
    for share in torch.linspace(0.1, 1, SHARES):
        scale = share * widest
        step = torch.where(scale > 0, scale, 1)[:, None]  # a channel of zeros has scale 0
        code = (rows / step + top / 2).round().clamp(0, top)  # (C, D)
        error = (scale[:, None] * (code - top / 2) - rows).square().sum(dim=1)  # (C,)
        better = error < best
        best = torch.where(better, error, best)
        codes[better], scales[better] = code[better].to(torch.uint8), scale[better]
    return codes.view(weight.shape), scales


def dequantise(codes, scales, bits):
    """Return the values that codes stand for, float32, (C, …); parameters as `quantise` returns them."""
    centred = codes.float() - (2**bits - 1) / 2
    return centred * scales.view(-1, *[1] * (codes.ndim - 1))


def pack(codes, bits):
    """Write numbers below 2^bits, uint8 (N,), one after the other: eight in `bits` bytes, (⌈N / 8⌉ · bits,)."""
    eights = functional.pad(codes, (0, -len(codes) % 8)).view(-1, 8).long()  # (N / 8, 8)
    words = (eights << _places(bits, codes.device)).sum(dim=1, keepdim=True)  # 64 bits each, of which 8 · bits are used
    return words.view(torch.uint8)[:, :bits].flatten()  # the lowest byte comes first


def unpack(packed, count, bits):
    """Read `count` numbers that `pack` wrote: uint8, (count,)."""
    words = functional.pad(packed.view(-1, bits), (0, 8 - bits)).view(torch.int64)  # (N / 8, 1)
    return ((words >> _places(bits, packed.device)) & (2**bits - 1)).to(torch.uint8).flatten()[:count]


def _places(bits, device):
    """Return where each of eight numbers begins in a word."""
    return bits * torch.arange(8, device=device)
