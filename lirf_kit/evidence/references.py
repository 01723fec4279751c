"""What the method is compared with: networks that the custody rule forbids, and one that anybody can make.

*Retrained* is what exact unlearning would leave. *Independent* is the paper's: one network a part. *Head masking*
forgets nothing and only keeps silent: what the tables' numbers alone can't tell from forgetting.
"""

import torch
from torch import nn

from lirf_kit.data.images import Dataset
from lirf_kit.method.caching import load_or_train

REFERENCES = ("retrained", "independent", "head masking")


class HeadMaskedNetwork(nn.Module):
    """A network that never answers with some classes: their logits are −∞, and nothing else is changed.

    Attributes
    ----------
    original : SplitNetwork
        As it was given, not copied.
    deposit_classes : torch.Tensor
        int64, (k,), a buffer.
    """

    def __init__(self, original, deposit_classes):
        super().__init__()
        self.original = original
        self.register_buffer("deposit_classes", torch.as_tensor(deposit_classes, device=original.device))

    def forward(self, images):
        """uint8 images (N, C, H, W) to logits (N, K), −∞ for the deposit classes."""
        return self.original(images).index_fill(1, self.deposit_classes, -torch.inf)

    def features(self, images):
        """Return the original's final-layer features, (N, D): masking leaves them as they are."""
        return self.original.features(images)


def mask_head(original, deposit_classes):
    """Return the original with the deposit classes' logits removed: what forgetting costs when nothing is forgotten.

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


def retrain(data, parts, config):
    """Return the same network trained from scratch without the deposit set; loaded if that was done before.

    Its classifier keeps a column for each class, so that its answers can be compared with the other networks'.

    Parameters
    ----------
    data : Dataset
    parts : Partition
        Of this data; its preservation set is what the network learns from.
    config : Config
        As for `train_original`.

    Returns
    -------
    SplitNetwork
    """
    return _train_on(data, parts.preservation_set, parts.preservation_validation, config)


def train_independent(data, parts, config):
    """Return two networks trained from scratch, one on each part alone   (Ye et al. 2022, "Independent").

    Each is to be asked about its own part only. The first is the retrained network.

    Parameters
    ----------
    data, parts, config
        As for `retrain`; the data was split by class.

    Returns
    -------
    preserving, depositing : SplitNetwork
    """
    return retrain(data, parts, config), _train_on(data, parts.deposit_set, parts.deposit_validation, config)


def reference_networks(original, data, parts, config, names=REFERENCES):
    """Return the references beside an original, for a split by class.

    Parameters
    ----------
    original : SplitNetwork
    data, parts, config
        As for `retrain`.
    names : sequence of str
        Which of `REFERENCES`.

    Returns
    -------
    dict of str to nn.Module
        As `results_table` takes them.
    """
    make = {
        "retrained": lambda: retrain(data, parts, config),
        "independent": lambda: train_independent(data, parts, config),
        "head masking": lambda: mask_head(original, parts.deposit_set.deposit_classes),
    }
    return {name: make[name]() for name in names}


def _train_on(data, train, validation, config):
    """Train on a part of the training part, or load what an earlier call made of it."""
    network = load_or_train(Dataset(data.everything, train.indices, validation.indices, data.test_indices), config)
    if network.checkpoint is not None:
        raise KeyboardInterrupt  # half-trained it is no reference; the next call goes on
    return network
