"""Does forgetting draw attention to what was forgotten?

If a network has no preference among its answers where one that never saw the classes would have one, that gives away
that something was removed (the Streisand effect; Golatkar et al. 2020). So the target should treat deposit images as
the retrained network does: with no more and no less confidence.
"""

import math

import numpy
import pandas
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

from lirf_kit.evidence.membership import log_probabilities
from lirf_kit.evidence.readings import YARDSTICK, check_input, lower_blocks, pooled_features, tidy

ANSWERS, FEATURES, AUDITOR = "answers on deposit images", "features of deposit images", "auditor"
MEASURES = {
    (ANSWERS, "entropy"): ("nats", "answers are more uncertain"),
    (ANSWERS, "largest probability"): ("%", "answers are more confident"),
    (ANSWERS, "most common answer's share"): ("%", "images of a class get the same answer more often"),
    (ANSWERS, "distance from retrained answers"): ("%", "answers differ more often from retrained networks'"),
    (FEATURES, "cosine, same class"): ("cosine", "images of a class look more alike to the network"),
    (FEATURES, "cosine, different classes"): ("cosine", "images of different classes look more alike to the network"),
    (AUDITOR, "silent classes"): ("classes", "the answers give more away"),
    (AUDITOR, "weight of silent classes"): ("%", "the silent classes look more as if they had once been learnt"),
    (AUDITOR, "which classes, by answers"): ("%", "the answers tell more about which classes were deposited"),
    (AUDITOR, "which classes, by weights"): ("%", "the weights tell more about which classes were deposited"),
}


def streisand_table(networks, parts, config, on="validation"):
    """Measure how each network treats the deposit images, and what an auditor who sees only that network can tell.

    - *Answers on deposit images*: the entropy of the probabilities; the largest probability; the share of a class's
      images that get its most common preserved answer; and how far the answers are from the retrained networks' (total
      variation of `destinations`, the mean over classes and retrained networks).
    - *Features of deposit images*: the mean cosine similarity of two images, of the same class and of different ones.
    - *Auditor*: how many classes are never the answer, which shows *that* something is missing; how long the
      classifier's weight vectors for those silent classes are, in percent of the others' (about 100: once learnt, then
      silenced; 0 if no class is silent); and whether the auditor can tell *what* is missing by ranking the classes, by
      the largest probability that a class ever gets or by the length of its weights. The ranking's score is its area
      under the ROC curve: 100 identifies the deposit classes, 50 is a guess.

    Parameters
    ----------
    networks : dict of str to nn.Module
        With lower blocks. Answers are compared with those of the networks whose names begin with "retrained".
    parts : Partition
        From a split by class.
    config : Config
        Reads `split_after`.
    on : {"validation", "test"}
        Which images to use; the auditor has all of them, without labels.

    Returns
    -------
    pandas.DataFrame
        Tidy; measures that don't apply to a network are left out.

    Raises
    ------
    LirfError
        If a class has no images, or a network has no lower blocks.
    """
    check_input(networks, parts, on)
    deposited, everything = getattr(parts, f"deposit_{on}"), getattr(parts, on)
    going = {name: destinations(network, deposited) for name, network in networks.items()}
    found = {}
    for name, network in networks.items():
        probabilities = numpy.exp(log_probabilities(network, deposited))  # (N, K)
        features = pooled_features(network, deposited, config.split_after)[-1]  # (N, D)
        same, different = class_cosines(features, deposited.labels.cpu().numpy())
        measured = [
            entropy(probabilities, axis=1).mean(),
            100 * probabilities.max(axis=1).mean(),
            going[name].max(axis=1).mean(),
            _from_retrained(name, going),
            same,
            different,
            *auditor_scores(auditor_view(network, everything), deposited.deposit_classes),
        ]
        found[name] = dict(zip(MEASURES, measured, strict=True))
    rows = [
        tidy(*measure, {name: values[measure] for name, values in found.items()}, *words)
        for measure, words in MEASURES.items()
    ]
    return pandas.concat(rows, ignore_index=True).dropna(subset="value", ignore_index=True)


def destinations(network, part):
    """Return where a network sends deposit images: the share of each class's images that each preserved class gets.

    Parameters
    ----------
    network : nn.Module
    part : ImageData
        From a split by class; images of the deposit classes.

    Returns
    -------
    pandas.DataFrame
        In percent, arg max over the preserved classes; one row per deposit class, one column per preserved class.
    """
    preserved = [number for number in range(part.num_classes) if number not in part.deposit_classes]
    labels, best = part.labels.cpu().numpy(), log_probabilities(network, part)[:, preserved].argmax(axis=1)
    names = numpy.array(part.class_names)
    shares = {
        names[number]: 100 * numpy.bincount(best[labels == number], minlength=len(preserved)) / (labels == number).sum()
        for number in part.deposit_classes
    }
    return pandas.DataFrame.from_dict(shares, orient="index", columns=names[preserved])


def _from_retrained(name, going):
    """Return how far a network's destinations are from the (other) retrained networks', in percent; NaN if none."""
    others = [shares for other, shares in going.items() if other.startswith(YARDSTICK) and other != name]
    distances = [(going[name] - shares).abs().sum(axis=1).mean() / 2 for shares in others]
    return float(numpy.mean(distances)) if distances else math.nan


def class_cosines(features, labels):
    """Return the mean cosine similarity of two different images of the same class, and of two of different classes.

    Features are (N, D), labels (N,). A value is NaN where there is no such pair.
    """
    cosines, same = cosine_similarity(features), labels[:, None] == labels
    pairs = ~numpy.eye(len(labels), dtype=bool)
    return tuple(
        float(cosines[chosen].mean()) if chosen.any() else math.nan for chosen in (pairs & same, pairs & ~same)
    )


def auditor_view(network, part):
    """Return what an auditor notes about each class, without labels and without another network to compare with.

    Parameters
    ----------
    network : nn.Module
        With lower blocks; head masking is removed, because an auditor would spot it at once.
    part : ImageData
        Any images that the auditor has.

    Returns
    -------
    pandas.DataFrame
        One row per class: how many images it is the answer for, the largest log-probability that it ever gets, and the
        length of its weight vector in the classifier.
    """
    logs = log_probabilities(network, part)
    classifier = lower_blocks(network)[0][-1]
    counts = numpy.bincount(logs.argmax(axis=1), minlength=part.num_classes)
    length = classifier.weight.detach().norm(dim=1).cpu().numpy()
    return pandas.DataFrame({"answers": counts, "largest": logs.max(axis=0), "length": length}, part.class_names)


def auditor_scores(view, deposit_classes):
    """Return what an auditor's view reveals: silent classes, their weight, and both rankings, as in `streisand_table`.

    `view` is from `auditor_view`; the deposit classes are the right answer for the rankings.
    """
    silent = (view["answers"] == 0).to_numpy()
    length, weight = view["length"].to_numpy(), 0.0
    if silent.any():
        weight = 100 * length[silent].mean() / length[~silent].mean()
    truth = numpy.isin(numpy.arange(len(view)), deposit_classes)
    areas = [100 * roc_auc_score(truth, -view[column]) for column in ("largest", "length")]
    return silent.sum(), weight, *areas
