"""The paper's metrics and those that belong beside them, all computed the same way for every network and part."""

import math

import pandas
import torch
from sklearn.metrics import confusion_matrix

from lirf_kit.config import LirfError, check_choice
from lirf_kit.method.losses import attention_distance, attention_map
from lirf_kit.method.networks import SplitNetwork, accuracy, answers, check_not_empty, evaluation_mode, predict, split
from lirf_kit.method.withdrawing import RecoveredNetwork

PROTOCOLS = {"all": "all classes", "part": "own part's classes"}  # what tables call the classes the arg max runs over


def forgetting(original_accuracy, target_accuracy):
    """F = Dep Acc(original) − Dep Acc(target), in points: how much was forgotten   (Ye et al. 2022)."""
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
        High only if a network both preserves and forgets.
    """
    if forgotten <= 0:
        return 0.0
    return 2 * preserved_accuracy * forgotten / (preserved_accuracy + forgotten)


def results_table(networks, parts, on="test", among="all"):
    """Return the paper's metrics for some networks.

    Parameters
    ----------
    networks : dict of str to nn.Module
        The networks by name. ``"original"`` must be one of them; forgetting is measured against it. A pair, as
        `train_independent` returns it, is evaluated by part: the first network on the preserved part and the second on
        the deposited one, each among that part's classes only, regardless of `among`.
    parts : Partition
        From a split by class.
    on : {"test", "validation"}
        Which part of the data to evaluate on.
    among : {"all", "part"}
        Which classes the arg max runs over, as for `accuracy`.

    Returns
    -------
    pandas.DataFrame
        One row per network. The columns are Pre Acc, Dep Acc and Avg Acc in percent, F in points, H Mean, and L_at, the
        `attention_distance` between the network's lower blocks and the original's on the deposited part. A value that
        doesn't apply is NaN: F and H Mean of a network with nothing to forget, L_at of one without lower blocks.

    Raises
    ------
    LirfError
        If there is no original, or if a part lacks images of one of its classes, as after a split by samples.
    """
    if "original" not in networks:
        raise LirfError(f"networks must include 'original', not only {list(networks)}")
    preserved, deposited = _both_parts(parts, on)
    original, rows = networks["original"], {}
    for name, network in networks.items():
        pair = network if isinstance(network, tuple) else (network, network)
        rule = "part" if isinstance(network, tuple) else among
        pre, dep = (accuracy(asked, part, rule) for asked, part in zip(pair, (preserved, deposited)))
        forgetful = not isinstance(network, (tuple, RecoveredNetwork))
        forgotten = forgetting(accuracy(original, deposited, among), dep) if forgetful else math.nan
        rows[name] = {
            "Pre Acc": pre,
            "Dep Acc": dep,
            "Avg Acc": (pre * len(preserved) + dep * len(deposited)) / (len(preserved) + len(deposited)),
            "F": forgotten,
            "H Mean": harmonic_mean(pre, forgotten),
            "L_at": attention_drift(network, original, deposited) if isinstance(network, SplitNetwork) else math.nan,
        }
    table = pandas.DataFrame.from_dict(rows, orient="index").round(2)
    table.index.name = f"{on} part, {PROTOCOLS[among]}"
    return table


def _both_parts(parts, on):
    """Return the preserved and the deposited images; raise a `LirfError` if either lacks one of its classes."""
    check_choice("on", on, ("test", "validation"))
    preserved, deposited = getattr(parts, f"preservation_{on}"), getattr(parts, f"deposit_{on}")
    if not len(preserved) or not len(deposited):
        raise LirfError(
            f"parts must have preserved and deposited {on} images, not {len(preserved)} and {len(deposited)}; for a "
            "split by samples, which deposits none of them, use sample_table"
        )
    depositing = set(deposited.deposit_classes)
    _check_classes(f"{on} images of every class", preserved, set(range(preserved.num_classes)) - depositing)
    _check_classes(f"{on} images of every class", deposited, depositing)
    return preserved, deposited


def _check_classes(needed, part, classes, hint=""):
    """Raise a `LirfError` if a part lacks images of some of these classes."""
    missing = [repr(part.class_names[number]) for number in sorted(classes) if number not in part.labels]
    if missing:
        raise LirfError(f"parts must have {needed}, but there are none of {' or '.join(missing)}{hint}")


def sample_table(networks, parts, on="test"):
    """Return what networks know about a deposit set of samples whose classes the preservation set has too.

    Parameters
    ----------
    networks : dict of str to nn.Module
        The networks by name.
    parts : Partition
        From a split by samples.
    on : {"test", "validation"}
        Which part of the data to use as unseen images.

    Returns
    -------
    pandas.DataFrame
        One row per network, accuracies in percent with the arg max over all classes: on the deposited training samples,
        on the preserved ones of the same classes, on unseen images of the same classes, and on all unseen images. The
        gap, in points, is that on the deposited samples minus that on unseen images of the same classes: about 0 for a
        network that was never trained on the samples.

    Raises
    ------
    LirfError
        If the deposit set is empty, or if one of its classes has no preserved or no unseen images.
    """
    check_choice("on", on, ("test", "validation"))
    check_not_empty("sample_table", parts.deposit_set)
    classes, unseen = parts.deposit_set.labels.unique(), getattr(parts, on)
    hint = "; for classes that are deposited as a whole, use split_by_class and results_table"
    whose = "images of every class of the deposit set"
    _check_classes(f"preserved training {whose}", parts.preservation_set, classes.tolist(), hint)
    _check_classes(f"{on} {whose}", unseen, classes.tolist())
    preserved, same = (part.select(torch.isin(part.labels, classes)) for part in (parts.preservation_set, unseen))
    rows = {}
    for name, network in networks.items():
        read = [accuracy(network, part) for part in (parts.deposit_set, preserved, same, unseen)]
        columns = ("deposited samples", "preserved samples", f"{on}, same classes", f"{on}, all classes")
        rows[name] = dict(zip(columns, read)) | {"gap": read[0] - read[2]}
    return pandas.DataFrame.from_dict(rows, orient="index").round(2)


def attention_drift(network, original, part):
    """Return L_at between a network's lower blocks and the original's on a part's images, in [0, 2]."""
    cut = split(original, len(network.lower) - 2)  # normalisation and stem come before the stages
    with evaluation_mode(network), evaluation_mode(original):
        own = predict(lambda images: attention_map(network.lower(images)), part.images)
        return attention_distance(own, predict(lambda images: attention_map(cut.lower(images)), part.images)).item()


def class_accuracies(networks, part):
    """Return each network's accuracy on each class, in percent, arg max over all classes.

    Parameters
    ----------
    networks : dict of str to nn.Module
    part : ImageData

    Returns
    -------
    pandas.DataFrame
        One row per class, one column per network; NaN for a class that the part has no images of.
    """
    columns = {}
    for name, network in networks.items():
        counts = confusion(network, part)
        columns[name] = 100 * pandas.Series(counts.values.diagonal(), counts.index) / counts.sum(axis=1)
    return pandas.DataFrame(columns)


def confusion(network, part):
    """Return how many images of each class (rows) a network gave each class (columns), arg max over all classes.

    Parameters
    ----------
    network : nn.Module
    part : ImageData

    Returns
    -------
    pandas.DataFrame
        (K, K), with the class names on both axes.
    """
    labels, given = part.labels.cpu().numpy(), answers(network, part).cpu().numpy()
    counts = confusion_matrix(labels, given, labels=range(part.num_classes))
    return pandas.DataFrame(counts, part.class_names, part.class_names)


def activation_distance(network, retrained, part):
    """Return the mean over the images of ‖softmax(z) − softmax(z_retrained)‖₂, in [0, √2]   (Golatkar et al. 2021).

    Parameters
    ----------
    network, retrained : nn.Module
        uint8 images to logits (N, K).
    part : ImageData
        At least one image.
    """
    check_not_empty("activation_distance", part)
    first, second = (_probabilities(asked, part) for asked in (network, retrained))
    return (first - second).norm(dim=1).mean().item()


def js_divergence(network, retrained, part):
    """Return the Jensen–Shannon divergence ½KL(p‖m) + ½KL(q‖m), m = ½(p + q), as the mean over the images.

    Parameters
    ----------
    network, retrained : nn.Module
        uint8 images to logits (N, K), whose softmax gives p and q.
    part : ImageData
        At least one image.

    Returns
    -------
    float
        In nats, in [0, ln 2].
    """
    check_not_empty("js_divergence", part)
    first, second = (_probabilities(asked, part) for asked in (network, retrained))
    middle = (first + second) / 2
    halves = [torch.xlogy(own, own) - torch.xlogy(own, middle) for own in (first, second)]  # 0·log 0 counts as 0
    return (sum(halves).sum(dim=1) / 2).mean().item()


def _probabilities(network, part):
    with evaluation_mode(network):
        return predict(lambda images: network(images).cpu().double().softmax(dim=1), part.images)  # MPS has no float64


def distance_table(networks, retrained, parts, on="test"):
    """Return how far networks' answers are from the retrained network's, on the preserved and the deposited part.

    Parameters
    ----------
    networks : dict of str to nn.Module
        The networks by name.
    retrained : nn.Module
        As returned by `retrain`.
    parts : Partition
        From a split by class.
    on : {"test", "validation"}
        Which part of the data to evaluate on.

    Returns
    -------
    pandas.DataFrame
        One row per network, with the `activation_distance` and the `js_divergence` (in nats) on both parts.

    Raises
    ------
    LirfError
        If a part lacks images of one of its classes.
    """
    both = dict(zip(("preserved", "deposited"), _both_parts(parts, on)))
    measures = {"activation distance": activation_distance, "JS divergence": js_divergence}
    rows = {
        name: {
            f"{measure}, {where}": of(network, retrained, part)
            for measure, of in measures.items()
            for where, part in both.items()
        }
        for name, network in networks.items()
    }
    return pandas.DataFrame.from_dict(rows, orient="index").round(3)
