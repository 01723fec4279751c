"""Adversarial images: deposit images, nudged until the original sees preserved classes in them."""

import torch
from torch.nn import functional

from lirf_kit.config import LirfError
from lirf_kit.method.networks import PREDICT_BATCH, evaluation_mode


def nudge(network, images, forgotten, generator, reach=12):
    """Nudge each image towards a random preserved class: one step of the fast gradient sign method, targeted.

    Goodfellow et al. 2015; towards a class: Kurakin et al. 2017. An image looks to us nearly as before, but the
    network's preserved logits are higher, as for images of the preserved classes, which a deposit never sees. To hold
    these logits, too, holds the preserved classes better. (Heo et al. 2019 distil decision boundaries by such images.)

    Parameters
    ----------
    network : SplitNetwork
        Left as it is.
    images : torch.Tensor
        uint8, (N, C, H, W).
    forgotten : iterable of int, or torch.Tensor
        The classes that aren't preserved.
    generator : torch.Generator
        Draws the classes, on its own device.
    reach : float
        Grey levels, of 255, that each pixel moves by.

    Returns
    -------
    torch.Tensor
        uint8, (N, C, H, W), on the images' device.

    Raises
    ------
    LirfError
        If no class is left to nudge towards.
    """
    preserved = sorted({*range(network.upper[-1].out_features)} - {int(number) for number in forgotten})
    if not preserved:
        raise LirfError("forgotten must leave at least one class, not name all")
    drawn = torch.randint(len(preserved), (len(images),), generator=generator, device=generator.device)
    towards = torch.tensor(preserved, device=drawn.device)[drawn]  # (N,)
    normalise, lower = network.lower[0], network.lower[1:]
    nudged = []
    with evaluation_mode(network):
        for part, classes in zip(images.split(PREDICT_BATCH), towards.split(PREDICT_BATCH)):
            with torch.enable_grad():
                seen = normalise(part).requires_grad_()
                loss = functional.cross_entropy(network.upper(lower(seen)), classes.to(seen.device))
                (slope,) = torch.autograd.grad(loss, seen)  # of the same sign as the slope in grey levels
            step = reach * slope.sign().to(part.device)
            nudged.append((part.float() - step).clamp(0, 255).to(torch.uint8))
    return torch.cat(nudged)
