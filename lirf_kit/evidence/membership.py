"""Can an attacker tell which images a network was trained on?

Membership inference (Shokri et al. 2017): if the target treats the deposited training images differently from unseen
images of the same classes, an attacker learns that they were once in the training set. The score to aim for is the
retrained network's, not 50: an unusually low score gives something away too.
"""

import numpy
import pandas
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lirf_kit.config import LirfError, check_choice
from lirf_kit.evidence.probes import MOST_STEPS, fit_and_note
from lirf_kit.evidence.readings import tidy
from lirf_kit.method.networks import evaluation_mode, predict

FOLDS = 5
FALSE_POSITIVES = (0.01, 0.1)
MEANS = "training images are recognised more often"
LEAST = -30.0  # log-probabilities are clamped to this, so that a masked class's −∞ becomes finite


def membership_table(networks, parts, config, on="validation"):
    """Attack every network: which are the deposited training images, and which are unseen images of the same classes?

    There are two attacks, both a scaler and a logistic regression, five-fold cross-validated: one sees the loss (as in
    Yeom et al. 2018), the other all log-probabilities and the loss. Besides the area under the ROC curve, the table has
    the true-positive rate at low false-positive rates, because an average hides an attack that is sure about a few
    images (Carlini et al. 2022, whose stronger attack needs many shadow networks and is not run here).

    Parameters
    ----------
    networks : dict of str to nn.Module
        Each maps uint8 images to logits (N, K).
    parts : Partition
        From a split by class or by samples.
    config : Config
        Reads the seed, which draws the folds.
    on : {"validation", "test"}
        Which unseen images to use.

    Returns
    -------
    pandas.DataFrame
        Tidy, in percent; an area of 50 is a guess. If an attack's regression did not converge, its note says so.

    Raises
    ------
    LirfError
        If there are fewer deposited or unseen images than folds.
    """
    members, unseen = members_and_unseen(parts, on)
    truth = numpy.repeat([True, False], [len(members), len(unseen)])
    scores = {}
    for name, network in networks.items():
        seen = numpy.concatenate([log_probabilities(network, part) for part in (members, unseen)])  # (N, K)
        labels = torch.cat([members.labels, unseen.labels]).cpu().numpy()
        loss = -seen[numpy.arange(len(seen)), labels][:, None]  # (N, 1)
        scores["loss", name] = attack(loss, truth, config.seed)
        scores["probabilities", name] = attack(numpy.hstack([seen, loss]), truth, config.seed)
    finest = 1 / len(unseen)
    rows = []
    for kind in ("loss", "probabilities"):
        each = {name: scores[kind, name] for name in networks}
        areas = {name: 100 * area for name, (area, *_) in each.items()}
        notes = {name: note for name, (*_, note) in each.items()}
        rows.append(tidy(f"membership by {kind}", "area under the curve", areas, "%", MEANS, notes))
        for rate in FALSE_POSITIVES:
            found = {name: 100 * true_positives(truth, score, rate) for name, (_, score, _) in each.items()}
            rough = f"with {len(unseen)} unseen images the lowest rate above 0 is {finest:.1%}" if finest > rate else ""
            task = f"found at {rate:.0%} false alarms"
            both = {name: "; ".join(filter(None, (note, rough))) for name, note in notes.items()}
            rows.append(tidy(f"membership by {kind}", task, found, "%", MEANS, both))
    return pandas.concat(rows, ignore_index=True)


def members_and_unseen(parts, on):
    """Return the deposited training images and the unseen ones of their classes; raise a `LirfError` if too few."""
    check_choice("on", on, ("validation", "test"))
    members, unseen = parts.deposit_set, getattr(parts, on)
    unseen = unseen.select(torch.isin(unseen.labels, members.labels.unique()))
    for where, part in {"deposited": members, f"unseen {on}": unseen}.items():
        if len(part) < FOLDS:
            raise LirfError(f"parts must have at least {FOLDS} {where} images of the deposit classes, not {len(part)}")
    return members, unseen


def log_probabilities(network, part):
    """Return the logarithm of every class's probability, float64, (N, K), at least `LEAST`."""
    with evaluation_mode(network):
        found = predict(lambda images: network(images).cpu().double().log_softmax(dim=1), part.images)
    return found.clamp_min(LEAST).numpy()


def attack(seen, truth, seed):
    """Score each image by a regression that wasn't trained on it; a higher score means a likelier member.

    The attacker sees (N, D) numbers; `truth`, bool (N,), says which images are members, and the seed draws the folds.
    Returns the area under the ROC curve, in [0, 1], averaged over the folds; the scores, (N,); and a note, empty if
    the regression converged in every fold.
    """
    attacker = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=MOST_STEPS))
    scores, areas, notes = numpy.empty(len(truth)), [], []
    for learnt, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(seen, truth):
        fitted, note = fit_and_note(attacker, seen[learnt], truth[learnt])
        scores[judged] = fitted.decision_function(seen[judged])
        areas.append(roc_auc_score(truth[judged], scores[judged]))
        notes.append(note)
    return float(numpy.mean(areas)), scores, max(notes)


def true_positives(truth, scores, rate):
    """Return the largest share of members that a threshold finds with a false-positive rate of at most `rate`."""
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(true[false <= rate].max())
