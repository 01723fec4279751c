"""What the laboratory's tests look at: the same images, the same features and one tidy table for every network.

The images, the features and the checks of the input are shared, so that two networks' numbers differ because the
networks do, and for no other reason.
"""

from dataclasses import dataclass

import numpy
import pandas
import torch
from torch import nn

from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.images import ImageData
from lirf_kit.evidence.references import HeadMaskedNetwork
from lirf_kit.method.networks import PREDICT_BATCH, SplitNetwork, build_network, evaluation_mode
from lirf_kit.method.withdrawing import RecoveredNetwork

COLUMNS = ("test", "task", "network", "value", "unit", "higher means", "note")
YARDSTICK = "retrained"  # how the names of networks begin that never saw the deposit classes
ALL, ONLY, AGAINST = TASKS = ("all classes", "deposit classes only", "deposit against preserved")


@dataclass(frozen=True)
class Readings:
    """The features of some networks, each after the same stages and of the same images.

    Attributes
    ----------
    train, evaluated : ImageData
        Training images of all classes, from which a test may learn, and unseen images of all classes.
    features : dict of str to list of tuple
        For each network, stage by stage: its features of `train` and of `evaluated`, float32, (N, D).
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
        Of a split by class.
    config : Config
        Reads `split_after`, and the seed, which draws the training images.
    on : {"validation", "test"}
        Which unseen images are read.
    per_class : int, optional
        At most so many training images of each class; else all of them.

    Returns
    -------
    Readings

    Raises
    ------
    LirfError
        If a class has no images, or a network no lower blocks; see `check_parts` and `pooled_features`.
    """
    check_parts(parts, on)
    check_networks(networks)
    train, evaluated = training_images(parts, config.seed, per_class), getattr(parts, on)
    features = {
        name: list(zip(*(pooled_features(network, part, config.split_after) for part in (train, evaluated))))
        for name, network in networks.items()
    }
    return Readings(train, evaluated, features)


@torch.no_grad()
def pooled_features(network, part, stages):
    """Return a network's features after each stage, averaged over the positions.

    Parameters
    ----------
    network : SplitNetwork, RecoveredNetwork or HeadMaskedNetwork
        A recovered network gives its target's and its module's features side by side, both of every image; head
        masking changes no features, so a masked network gives its original's.
    part : ImageData
        N images.
    stages : int
        Read after stage 1, 2 and so on up to this one; `config.split_after` is the last lower block.

    Returns
    -------
    list of numpy.ndarray
        For each stage, float32, (N, D).

    Raises
    ------
    LirfError
        If the network has no lower blocks, or not so many stages.
    """
    _check_lower_blocks("network", network)
    blocks = nn.ModuleList(lower_blocks(network))
    most = len(blocks[0]) - 5  # normalisation, stem, pooling, flattening and classifier are no stages
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
    """Return the layers that turn images into features: one network's, or target's and module's; else an empty list.

    Each is an nn.Sequential of normalisation, stem and stages, and goes on through the (shared) upper blocks.
    """
    if isinstance(network, HeadMaskedNetwork):
        network = network.original
    if isinstance(network, RecoveredNetwork):
        return [network.target.layers, nn.Sequential(*network.deposit_module.lower, *network.target.upper)]
    return [network.layers] if isinstance(network, SplitNetwork) else []


def check_networks(networks):
    """Raise a `LirfError` unless there are networks, and each has lower blocks."""
    if not networks:
        raise LirfError("networks must hold at least one, not none")
    for name, network in networks.items():
        _check_lower_blocks(name, network)


def _check_lower_blocks(name, network):
    """Raise a `LirfError` if a network has no features to look into."""
    if not lower_blocks(network):
        raise LirfError(
            f"{name} must be a network with lower blocks, as lirf_kit builds them, not a {type(network).__name__}"
        )


def untrained_network(parts, config):
    """Return a network that has learnt nothing: fresh weights, and the training images' normalisation.

    What a test reads from it comes from the images and the architecture alone.

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
    """Return the deposited and the preserved training images together, or so many of each class, drawn by a seed."""
    both = parts.deposit_set, parts.preservation_set
    joined = [torch.cat([getattr(part, field) for part in both]) for field in ("images", "labels", "indices")]
    return limited(ImageData(*joined, both[0].class_names, both[0].deposit_classes), seed, per_class)


def limited(part, seed, per_class=None):
    """Return at most so many images of each class, drawn by a seed; all of them for None."""
    if per_class is None:
        return part
    check_per_class(per_class)
    draw, labels = numpy.random.default_rng(seed), part.labels.cpu().numpy()
    chosen = [draw.permutation(numpy.flatnonzero(labels == number))[:per_class] for number in range(part.num_classes)]
    return part.select(torch.from_numpy(numpy.sort(numpy.concatenate(chosen))), part.deposit_classes)


def check_per_class(per_class):
    """Raise a `LirfError` unless the number of images of a class is None or at least 1."""
    if per_class is not None and (not isinstance(per_class, int) or per_class < 1):
        raise LirfError(f"per_class must be a whole number at least 1, or None for all, not {per_class!r}")


def check_parts(parts, on):
    """Raise a `LirfError` unless the data was split by class, and each class has training and unseen images."""
    check_choice("on", on, ("validation", "test"))
    if parts.deposit_set.deposit_classes is None:
        raise LirfError("parts must come from split_by_class; for a split by samples, see membership_table")
    train = torch.cat([parts.deposit_set.labels, parts.preservation_set.labels])
    for where, labels in {"training": train, on: getattr(parts, on).labels}.items():
        lacking = [name for number, name in enumerate(parts.deposit_set.class_names) if number not in labels]
        if lacking:
            raise LirfError(f"parts must have {where} images of every class, but of {lacking[0]!r} there are none")


def tidy(test, task, values, unit, higher_means, notes=None):
    """Return one row a network, with the columns `COLUMNS`; a note says what is out of the ordinary.

    Parameters
    ----------
    test, task, unit, higher_means : str
    values : dict of str to float
        By the networks' names.
    notes : dict of str to str, optional
        For some or all of the networks.
    """
    notes = notes or {}
    rows = [(test, task, name, value, unit, higher_means, notes.get(name, "")) for name, value in values.items()]
    return pandas.DataFrame(rows, columns=COLUMNS)
