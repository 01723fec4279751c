"""How few labelled images does it take to bring the deposit classes back, without changing the network's features?

This attack is realistic: it needs a handful of labelled images, but no fine-tuning and no hidden data. A network that
never saw the classes sets the standard, because good features work for new classes too.
"""

import numpy
import pandas
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lirf_kit.config import LirfError
from lirf_kit.evidence.probes import MOST_STEPS, check_tasks, fit_and_note, task_part
from lirf_kit.evidence.readings import ALL, ONLY, check_count, drawn_per_class, tidy

SHOTS = (1, 5, 20)  # labelled images per class
DRAWS = 10  # random choices of the labelled images; the table has the mean over them
MEANS = "a few labelled images tell more about the deposit classes"


def few_shot_table(readings, config, shots=SHOTS, share=0.02, tasks=(ALL, ONLY), draws=DRAWS):
    """Measure how well each network's features recognise deposit images, given a few labelled images of each class.

    - *class means*: each class is represented by the mean of its k labelled images, in the features of the last lower
      block, and an image is assigned to the nearest mean (Snell et al. 2017, prototypical networks).
    - *new head*: a logistic regression (C = 1) over all classes, trained on the same share of the training images of
      each class, at least one image of each.

    A scaler, as in the probes, first gives every feature the same spread; it is fitted on all training images, because
    a thief who has images needs no labels for that. On the digits, over seven runs, this helped the thief most with the
    target (five images a class: 58.7 % without it, 66.4 % with it). Fitted on the labelled images alone, it does as
    well with five of them, but worse with one. Every network gets the same images. Each value is the mean accuracy on
    the deposit images over several draws.

    Parameters
    ----------
    readings : Readings
        From `read_features`.
    config : Config
        Reads the seed, which draws the images.
    shots : sequence of int
        The values of k, each at least 1.
    share : float
        The share of the training images that the new head is trained on; above 0 and at most 1.
    tasks : sequence of str
        For the class means: *all classes*, or *deposit classes only*, where the attacker knows that an image is of a
        deposit class.
    draws : int
        How many draws to average over.

    Returns
    -------
    pandas.DataFrame
        Tidy, in percent.

    Raises
    ------
    LirfError
        If a class has fewer training images than k, or if a number is out of its range.
    """
    labels = readings.train.labels.cpu().numpy()
    check_shots(shots, readings.train)
    check_tasks(tasks, readings.train, allowed=(ALL, ONLY))
    check_count("draws", draws)
    if not 0 < share <= 1:
        raise LirfError(f"share must be a number above 0 and at most 1, not {share!r}")
    rows = []
    for shot in shots:
        counts = [shot] * readings.train.num_classes
        chosen = [drawn_per_class(labels, counts, (config.seed, draw)) for draw in range(draws)]
        for task in tasks:
            values = _mean_scores(readings, chosen, task, lambda *given: (nearest_mean(*given), ""))[0]
            rows.append(tidy(f"class means, {shot} a class", task, values, "%", MEANS))
    counts = [max(1, round(share * count)) for count in numpy.bincount(labels)]
    chosen = [drawn_per_class(labels, counts, (config.seed, draw)) for draw in range(draws)]
    values, notes = _mean_scores(readings, chosen, ALL, _new_head)
    rows.append(tidy(f"new head, {100 * share:g}% of the data", ALL, values, "%", MEANS, notes))
    return pandas.concat(rows, ignore_index=True)


def check_shots(shots, part, classes=None):
    """Raise a `LirfError` unless every class, or every one of `classes`, has as many images as `shots` asks for."""
    counts = part.labels.bincount(minlength=part.num_classes).tolist()
    scarce = min(range(part.num_classes) if classes is None else classes, key=lambda number: counts[number])
    for shot in shots:
        if not isinstance(shot, int) or not 1 <= shot <= counts[scarce]:
            raise LirfError(
                f"shots must be whole numbers from 1 to {counts[scarce]}, the number of training images of "
                f"{part.class_names[scarce]!r}, not {shot!r}"
            )


def _mean_scores(readings, chosen, task, answer):
    """Return each network's mean accuracy in percent over the draws, and a note where a fit did not converge."""
    values, notes = {}, {}
    for name, features in readings.features.items():
        scaler = StandardScaler().fit(features[-1][0])
        learnt, unseen = (scaler.transform(each) for each in features[-1])
        asked, truth = task_part(ONLY, unseen, readings.evaluated)
        scores = []
        for places in chosen:
            drawn = readings.train.select(places, readings.train.deposit_classes)
            given, note = answer(*task_part(task, learnt[places], drawn), asked)
            scores.append((given == truth).mean())
            notes[name] = notes.get(name) or note
        values[name] = 100 * float(numpy.mean(scores))
    return values, notes


def nearest_mean(features, labels, asked):
    """Return for each point that is asked, (M, D), the class whose mean is nearest; the features are (N, D)."""
    classes = numpy.unique(labels)
    means = numpy.stack([features[labels == number].mean(axis=0) for number in classes])
    return classes[cdist(asked, means).argmin(axis=1)]


def _new_head(features, labels, asked):
    """Train a linear head on some features; return its answers and a note."""
    head = make_pipeline(LogisticRegression(max_iter=MOST_STEPS))
    fitted, note = fit_and_note(head, features, labels)
    return fitted.predict(asked), note
