"""What the method is compared with: two references that need data the deposit may not see, and one that needs none.

*Retrained* is what exact unlearning would leave. *Independent* is the paper's: one network for each part. *Head
masking* forgets nothing and only withholds answers, which the tables' numbers alone can't tell from forgetting.
"""

import torch
from torch import nn

from lirf_kit.data.images import Dataset
from lirf_kit.method.caching import load_or_train

REFERENCES = ("retrained", "independent", "head masking")
OUTPUT_ALONE = {"lambda_cs": 0.0, "lambda_os": 0.0}  # the paper's loss forgets there, and not inside
ANSWERS_ONLY = "target, output alone"  # what tables call a target that was made with it
OTHER_SEED = 1000  # added to the seed for a second network of the same kind


class HeadMaskedNetwork(nn.Module):
    """A network that never answers with certain classes: their logits are −∞, and nothing else changes.

    Attributes
    ----------
    original : SplitNetwork
        The network itself, not a copy.
    deposit_classes : torch.Tensor
        int64, (k,), a buffer.
    """

    def __init__(self, original, deposit_classes):
        super().__init__()
        self.original = original
        self.register_buffer("deposit_classes", torch.as_tensor(deposit_classes, device=original.device))

    def forward(self, images):
        """Map uint8 images (N, C, H, W) to logits (N, K), −∞ for the deposit classes."""
        return self.original(images).index_fill(1, self.deposit_classes, -torch.inf)

    def features(self, images):
        """Return the original's final-layer features, (N, D), which masking doesn't change."""
        return self.original.features(images)


def mask_head(original, deposit_classes):
    """Return the original with the deposit classes' logits masked: how forgetting looks when nothing is forgotten.

    Parameters
    ----------
    original : SplitNetwork
    deposit_classes : iterable of int

    Returns
    -------
    HeadMaskedNetwork
        In evaluation mode.
    """
    return HeadMaskedNetwork(original, tuple(deposit_classes)).eval()


def unmasked(network):
    """Return a network without head masking, which a thief or an auditor would spot and remove at once."""
    return network.original if isinstance(network, HeadMaskedNetwork) else network


def another_seed(config):
    """Return the config with another seed, for a second network of the same kind."""
    return config.replace(seed=(config.seed + OTHER_SEED) % 2**32)


def retrain(data, parts, config):
    """Return the same kind of network trained from scratch without the deposit set, or load it from an earlier call.

    Its classifier has an output for every class, so that its answers can be compared with the other networks'.

    Parameters
    ----------
    data : Dataset
    parts : Partition
        A split of this data; the network is trained on its preservation set.
    config : Config
        As for `train_original`.

    Returns
    -------
    SplitNetwork
    """
    return _train_on(data, parts.preservation_set, parts.preservation_validation, config)


def train_independent(data, parts, config):
    """Return two networks trained from scratch, each on one part alone   (Ye et al. 2022, "Independent").

    Evaluate each on its own part only. The first is the retrained network.

    Parameters
    ----------
    data, parts, config
        As for `retrain`, with a split by class.

    Returns
    -------
    preserving, depositing : SplitNetwork
    """
    return retrain(data, parts, config), _train_on(data, parts.deposit_set, parts.deposit_validation, config)


def reference_networks(original, data, parts, config, names=REFERENCES):
    """Return the references to compare an original with, for a split by class.

    Parameters
    ----------
    original : SplitNetwork
    data, parts, config
        As for `retrain`.
    names : sequence of str
        Which of `REFERENCES` to make.

    Returns
    -------
    dict of str to nn.Module
        By name, as `results_table` takes them.
    """
    make = {
        "retrained": lambda: retrain(data, parts, config),
        "independent": lambda: train_independent(data, parts, config),
        "head masking": lambda: mask_head(original, parts.deposit_set.deposit_classes),
    }
    return {name: make[name]() for name in names}


def _train_on(data, train, validation, config):
    """Return a network trained on a subset of the training part, or load it from an earlier call."""
    network = load_or_train(Dataset(data.everything, train.indices, validation.indices, data.test_indices), config)
    if network.checkpoint is not None:
        raise KeyboardInterrupt  # a half-trained network is no reference; the next call resumes the training
    return network
