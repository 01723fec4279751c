"""The paper's numbers, in percent; arg max over all classes, the same computation for every network and part."""

import math

import pandas

from lirf_kit.config import LirfError, check_choice
from lirf_kit.networks import evaluation_mode, predict
from lirf_kit.withdrawing import RecoveredNetwork


def accuracy(network, part):
    """Return the share of right answers, arg max over all classes.

    Parameters
    ----------
    network : nn.Module
        uint8 images to logits (N, K): an original, a target or a recovered network alike. Evaluated in evaluation
        mode and left in the mode it was in.
    part : ImageData
        At least one image.

    Returns
    -------
    float
        In percent.
    """
    if not len(part):
        raise LirfError("accuracy needs a part with at least one image, not an empty one")
    with evaluation_mode(network):
        answers = predict(lambda images: network(images).argmax(dim=1), part.images)
    return 100 * (answers == part.labels).sum().item() / len(part)


def forgetting(original_accuracy, target_accuracy):
    """F = Dep Acc(original) − Dep Acc(target), in points: how much was forgotten."""
    return original_accuracy - target_accuracy


def harmonic_mean(preserved_accuracy, forgotten):
    """H Mean = 2·Pre·F / (Pre + F), 0 if F ≤ 0   (Shibata et al. 2021).

    Parameters
    ----------
    preserved_accuracy : float
        Pre Acc, in percent.
    forgotten : float
        F, in points.

    Returns
    -------
    float
        High only where a network both preserves and forgets.
    """
    if forgotten <= 0:
        return 0.0
    return 2 * preserved_accuracy * forgotten / (preserved_accuracy + forgotten)


def results_table(networks, parts, on="test"):
    """Return the paper's metrics for some networks, arg max over all classes.

    Parameters
    ----------
    networks : dict of str to nn.Module
        Names and networks, among them ``"original"``, which forgetting is measured against.
    parts : Partition
    on : {"test", "validation"}
        Which part of the data is read.

    Returns
    -------
    pandas.DataFrame
        One row a network; the columns Pre Acc, Dep Acc and Avg Acc in percent, F in points, and H Mean, to two
        decimals. What has nothing to forget, a recovered network, has no F and H Mean (NaN).

    Raises
    ------
    LirfError
        If there is no original, or if a part is empty, as after a split by samples.
    """
    check_choice("on", on, ("test", "validation"))
    if "original" not in networks:
        raise LirfError(f"networks must include 'original', not only {list(networks)}")
    preserved, deposited = getattr(parts, f"preservation_{on}"), getattr(parts, f"deposit_{on}")
    if not len(preserved) or not len(deposited):
        raise LirfError(
            f"parts must have preserved and deposited {on} images, not {len(preserved)} and {len(deposited)}; a split "
            "by samples deposits none of them"
        )
    original_deposited = accuracy(networks["original"], deposited)
    rows = {}
    for name, network in networks.items():
        pre, dep = accuracy(network, preserved), accuracy(network, deposited)
        forgotten = math.nan if isinstance(network, RecoveredNetwork) else forgetting(original_deposited, dep)
        rows[name] = {
            "Pre Acc": pre,
            "Dep Acc": dep,
            "Avg Acc": (pre * len(preserved) + dep * len(deposited)) / (len(preserved) + len(deposited)),
            "F": forgotten,
            "H Mean": harmonic_mean(pre, forgotten),
        }
    table = pandas.DataFrame.from_dict(rows, orient="index").round(2)
    table.index.name = f"{on} part, all classes"
    return table
