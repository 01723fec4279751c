"""What the laboratory's tests share: the images, the features, the input checks, and the format of the table.

Because these are the same for every network, any difference between two networks' numbers comes from the networks.
"""

from dataclasses import dataclass

import numpy
import pandas
import torch
from torch import nn

from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.images import ImageData
from lirf_kit.evidence.references import unmasked
from lirf_kit.method.bank import BankNetwork
from lirf_kit.method.networks import PREDICT_BATCH, SplitNetwork, build_network, evaluation_mode
from lirf_kit.method.withdrawing import RecoveredNetwork

COLUMNS = ("test", "task", "network", "value", "unit", "higher means", "note")
YARDSTICK = "retrained"  # names of networks that never saw the deposit classes start with this
ALL, ONLY, AGAINST = TASKS = ("all classes", "deposit classes only", "deposit against preserved")


@dataclass(frozen=True)
class Readings:
    """Features of several networks, for the same images and after the same stages.

    Attributes
    ----------
    train, evaluated : ImageData
        Training images of all classes, which a test may learn from, and unseen images of all classes.
    features : dict of str to list of tuple
        For each network, stage by stage, its features for `train` and for `evaluated`, float32, (N, D).
    """

    train: ImageData
    evaluated: ImageData
    features: dict


def read_features(networks, parts, config, on="validation", per_class=None):
    """Read the pooled features of every network, after each stage up to the last lower block.

    Parameters
    ----------
    networks : dict of str to nn.Module
    parts : Partition
        From a split by class.
    config : Config
        Reads `split_after`, and the seed, which draws the training images.
    on : {"validation", "test"}
        Which unseen images to use.
    per_class : int, optional
        How many training images of each class to use at most; None: all.

    Returns
    -------
    Readings

    Raises
    ------
    LirfError
        If a class has no images, or a network has no lower blocks; see `check_parts` and `pooled_features`.
    """
    check_input(networks, parts, on)
    train, evaluated = training_images(parts, config.seed, per_class), getattr(parts, on)
    features = {
        name: list(zip(*(pooled_features(network, part, config.split_after) for part in (train, evaluated))))
        for name, network in networks.items()
    }
    return Readings(train, evaluated, features)


@torch.no_grad()
def pooled_features(network, part, stages):
    """Return a network's features after each stage, averaged over all positions.

    Parameters
    ----------
    network : SplitNetwork, RecoveredNetwork or HeadMaskedNetwork
        For a recovered network, the target's and the module's features of each image are concatenated. Head masking
        doesn't change features, so a masked network gives its original's.
    part : ImageData
        N images.
    stages : int
        Read after stages 1, 2 and so on up to this one; `config.split_after` is the last lower block.

    Returns
    -------
    list of numpy.ndarray
        For each stage, float32, (N, D).

    Raises
    ------
    LirfError
        If the network has no lower blocks, or fewer stages than that.
    """
    _check_lower_blocks("network", network)
    blocks = nn.ModuleList(lower_blocks(network))
    most = len(blocks[0]) - 5  # normalisation, stem, pooling, flattening and classifier are not stages
    if not 1 <= stages <= most:
        raise LirfError(f"stages must be a whole number from 1 to {most}, not {stages!r}")

    def read(images):
        """Return the pooled features of a batch, (B, D) for each stage."""
        pooled = [[] for _ in range(stages)]
        for layers in blocks:
            features = layers[:2](images)  # normalisation and stem come before the stages
            for place in range(stages):
                features = layers[2 + place](features)  # (B, C, H, W)
                pooled[place].append(features.mean(dim=(2, 3)))
        return [torch.cat(each, dim=1).to("cpu", torch.float32) for each in pooled]

    with evaluation_mode(blocks):
        batches = [read(images) for images in part.images.split(PREDICT_BATCH)]
    return [torch.cat(stage).numpy() for stage in zip(*batches)]


def lower_blocks(network):
    """Return the layers that turn images into features: one network's, or the target's and each module's; if none, [].

    Each is an nn.Sequential of normalisation, stem and stages, followed by the (shared) upper blocks.
    """
    network = unmasked(network)
    if isinstance(network, RecoveredNetwork):
        lowers = network.module_lowers if isinstance(network, BankNetwork) else [network.module_lower]
        return [network.target.layers, *(nn.Sequential(*lower, *network.target.upper) for lower in lowers)]
    return [network.layers] if isinstance(network, SplitNetwork) else []


def check_input(networks, parts, on):
    """Raise a `LirfError` unless each network has lower blocks, there is at least one, and `check_parts` passes."""
    check_parts(parts, on)
    if not networks:
        raise LirfError("networks must hold at least one, not none")
    for name, network in networks.items():
        _check_lower_blocks(name, network)


def _check_lower_blocks(name, network):
    """Raise a `LirfError` if a network has no lower blocks to read features from."""
    if not lower_blocks(network):
        raise LirfError(
            f"{name} must be a network with lower blocks, as lirf_kit builds them, not a {type(network).__name__}"
        )


def untrained_network(parts, config):
    """Return a network that has learnt nothing: fresh weights, and the training images' normalisation.

    Whatever a test finds in it comes from the images and the architecture alone.

    Parameters
    ----------
    parts : Partition
    config : Config
        As for `build_network`.

    Returns
    -------
    SplitNetwork
        In evaluation mode.
    """
    train = training_images(parts, config.seed)
    network = build_network(config, train.images.shape[1], train.num_classes)
    network.lower[0].fit(train.images)
    return network.eval()


def training_images(parts, seed, per_class=None):
    """Return the deposited and the preserved training images together.

    `per_class`: how many of each class to use at most, drawn at random with the seed; None: all.
    """
    both = parts.deposit_set, parts.preservation_set
    joined = [torch.cat([getattr(part, field) for part in both]) for field in ("images", "labels", "indices")]
    return limited(ImageData(*joined, both[0].class_names, both[0].deposit_classes), seed, per_class)


def limited(part, seed, per_class=None):
    """Return a part's images, or some of them.

    `per_class`: how many of each class to use at most, drawn at random with the seed; None: all.
    """
    if per_class is None:
        return part
    check_per_class(per_class)
    chosen = drawn_per_class(part.labels.cpu().numpy(), [per_class] * part.num_classes, seed)
    return part.select(torch.from_numpy(numpy.sort(chosen)), part.deposit_classes)


def drawn_per_class(labels, counts, seed):
    """Return the places of randomly drawn images, class by class; `counts` says how many of each at most."""
    draw = numpy.random.default_rng(seed)
    members = [draw.permutation(numpy.flatnonzero(labels == number))[:count] for number, count in enumerate(counts)]
    return numpy.concatenate(members)


def check_per_class(per_class):
    """Raise a `LirfError` unless the number of images of a class is None or at least 1."""
    if per_class is not None:
        check_count("per_class", per_class, "a whole number at least 1, or None for all")


def check_count(name, number, allowed="a whole number of at least 1"):
    """Raise a `LirfError` unless a parameter is a whole number of at least 1; `allowed` says so in the sentence."""
    if not isinstance(number, int) or number < 1:
        raise LirfError(f"{name} must be {allowed}, not {number!r}")


def check_parts(parts, on):
    """Raise a `LirfError` unless the data was split by class, and each class has training and unseen images."""
    check_choice("on", on, ("validation", "test"))
    if parts.deposit_set.deposit_classes is None:
        raise LirfError("parts must come from split_by_class; for a split by samples, see membership_table")
    train = torch.cat([parts.deposit_set.labels, parts.preservation_set.labels])
    for where, labels in {"training": train, on: getattr(parts, on).labels}.items():
        lacking = [name for number, name in enumerate(parts.deposit_set.class_names) if number not in labels]
        if lacking:
            raise LirfError(f"parts must have {where} images of every class, but {lacking[0]!r} has none")


def tidy(test, task, values, unit, higher_means, notes=None):
    """Return one row per network, with the columns `COLUMNS`, from the values by the networks' names.

    `notes` says, for some or all of the networks, what is unusual about a value.
    """
    notes = notes or {}
    rows = [(test, task, name, value, unit, higher_means, notes.get(name, "")) for name, value in values.items()]
    return pandas.DataFrame(rows, columns=COLUMNS)
