"""Do deposit classes come back without training, when BatchNorm's statistics are recomputed from preserved images?

The deposit keeps the original's running statistics, and only sees deposit images. So a target may hide the deposit
classes in a shift that the old statistics let through and new ones remove. This attack needs preserved images, but no
labels, no gradients and no deposit images.
"""

import copy

import torch
from torch import nn

from lirf_kit.config import LirfError
from lirf_kit.evidence.readings import ALL, check_input, limited, tidy
from lirf_kit.evidence.references import unmasked
from lirf_kit.method.networks import accuracy

BATCH = 256  # images at a time; their statistics are averaged over the batches


def recalibration_table(networks, parts, config, on="validation", per_class=None):
    """Measure how often networks recognise deposit images once BatchNorm's statistics come from preserved images.

    A retrained network scores 0 or close to it.

    Parameters
    ----------
    networks : dict of str to nn.Module
        With lower blocks; not changed.
    parts : Partition
        From a split by class.
    config : Config
        Reads the seed, which draws and shuffles the preserved training images.
    on : {"validation", "test"}
        Which deposit images to use.
    per_class : int, optional
        How many preserved training images of each class to use at most; None: all.

    Returns
    -------
    pandas.DataFrame
        Tidy, accuracy on the deposit images in percent, arg max over all classes.

    Raises
    ------
    LirfError
        If a class has no images, or a network has no lower blocks.
    """
    check_input(networks, parts, on)
    preserved = limited(parts.preservation_set, config.seed, per_class).images
    order = torch.randperm(len(preserved), generator=torch.Generator().manual_seed(config.seed))
    images, deposited = preserved[order.to(preserved.device)], getattr(parts, f"deposit_{on}")
    values = {name: accuracy(recalibrated(network, images), deposited) for name, network in networks.items()}
    meaning = "deposit images are recognised more often, without any training"
    return tidy("own answers, new statistics", ALL, values, "%", meaning)


@torch.no_grad()
def recalibrated(network, images):
    """Return a copy of a network with its BatchNorm statistics recomputed from some images; no weights change.

    Parameters
    ----------
    network : nn.Module
        Head masking is removed, because a thief would spot it at once.
    images : torch.Tensor
        uint8, (N, C, H, W), in random order; at least two. A last batch of a single image is left out.

    Returns
    -------
    nn.Module
        In evaluation mode.

    Raises
    ------
    LirfError
        If there are fewer than two images.
    """
    if len(images) < 2:
        raise LirfError(f"images must be at least two, not {len(images)}: one has no statistics")
    fresh = copy.deepcopy(unmasked(network))
    for layer in fresh.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
    fresh.train()
    for batch in images.split(BATCH):
        if len(batch) > 1:
            fresh(batch)
    return fresh.eval()
