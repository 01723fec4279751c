"""What features reveal to nearest neighbours, a linear probe and a small multilayer perceptron.

A probe is a classifier trained on frozen features (Alain & Bengio 2017). It shows what a network still knows, whatever
its own classifier answers. A network that never saw the deposit classes sets the standard: its features tell them
apart too, only less well.
"""

import warnings

import numpy
import pandas
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lirf_kit.config import LirfError, check_choice
from lirf_kit.evidence.readings import AGAINST, ALL, ONLY, TASKS, check_parts, tidy, training_images
from lirf_kit.method.networks import extract_features

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # values of C to try; the best on a split of the training features is used
MOST_STEPS = 1000  # that a probe's solver may take
FEWEST = 4  # training images of a class; a quarter of them choose C
PROBES = ("linear", "MLP", "kNN")
NEIGHBOURS = 10  # neighbours that vote
FOLDS = 5  # of `neighbour_accuracy`


def neighbour_accuracy(points, labels, neighbours=10):
    """Return how often a point's nearest neighbours predict its class: kNN accuracy, five-fold cross-validated.

    Parameters
    ----------
    points : numpy.ndarray
        (N, any), an embedding or features.
    labels : torch.Tensor
        (N,).
    neighbours : int
        How many neighbours vote.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    LirfError
        If a fold has fewer points to learn from than neighbours, or no class has five points.
    """
    _check_neighbours(neighbours, len(points) - -(-len(points) // FOLDS), f"points in {FOLDS - 1} of {FOLDS} folds")
    if labels.bincount().max() < FOLDS:
        raise LirfError(f"labels must have a class of at least {FOLDS} points, one for each fold")
    return float(cross_val_score(KNeighborsClassifier(neighbours), points, labels.cpu().numpy(), cv=FOLDS).mean())


def _check_neighbours(neighbours, most, of):
    """Raise a `LirfError` unless there are at least as many points to learn from as neighbours that vote."""
    if not isinstance(neighbours, int) or not 1 <= neighbours <= most:
        raise LirfError(f"neighbours must be a whole number from 1 to {most}, the number of {of}, not {neighbours!r}")


def with_neighbours(table, networks, parts, on="test", neighbours=NEIGHBOURS):
    """Add the column "kNN" to a results table: how often the nearest training images predict a deposit image's class.

    Parameters
    ----------
    table : pandas.DataFrame
        From `results_table`.
    networks : dict of str to nn.Module
        Networks with `features`, named like the rows of the table; rows without a network get NaN.
    parts : Partition
        From a split by class.
    on : {"test", "validation"}
        Which deposit images to use.
    neighbours : int
        How many training images vote: the nearest ones of all classes, in the final layer's features.

    Returns
    -------
    pandas.DataFrame
        "kNN" is an accuracy in percent.

    Raises
    ------
    LirfError
        If a class has no images, or if there are fewer training images than neighbours.
    """
    check_parts(parts, on)
    train, deposited = training_images(parts, 0), getattr(parts, f"deposit_{on}")
    _check_neighbours(neighbours, len(train), "training images")
    found = {}
    for name, network in networks.items():
        learnt, asked = (extract_features(network, part) for part in (train, deposited))
        voting = KNeighborsClassifier(neighbours).fit(learnt, train.labels.cpu().numpy())
        found[name] = 100 * voting.score(asked, deposited.labels.cpu().numpy())
    return table.assign(kNN=pandas.Series(found).round(2))


def probe_table(readings, config, probes=PROBES, tasks=TASKS, stages="all", neighbours=NEIGHBOURS):
    """Train probes on every network's features, to see what they reveal of the deposit classes.

    - *all classes*: learns all classes; accuracy on the deposit images.
    - *deposit classes only*: learns the deposit classes; accuracy on the deposit images.
    - *deposit against preserved*: learns to tell the two apart; balanced accuracy on all images, so that chance is 50.

    The linear probe and the MLP see features scaled to mean 0 and standard deviation 1; kNN sees them unscaled, as
    t-SNE does.

    Parameters
    ----------
    readings : Readings
        From `read_features`.
    config : Config
        Reads the seed.
    probes : sequence of str
        Any of ``"linear"`` (after each stage), ``"MLP"`` and ``"kNN"`` (after the last lower block). Linear probes
        alone are not enough, because features can be protected against just those (Belrose et al. 2023).
    tasks : sequence of str
        As above.
    stages : {"all", "last"}
        After which stages to train the linear probe.
    neighbours : int
        How many neighbours vote in kNN.

    Returns
    -------
    pandas.DataFrame
        Tidy, in percent. If a probe did not converge, its note says so, and there is a warning.

    Raises
    ------
    LirfError
        If *deposit classes only* is asked with a single deposit class, or if there are fewer training images than
        neighbours.
    """
    check_choice("stages", stages, ("all", "last"))
    for probe in probes:
        check_choice("probes", probe, PROBES)
    check_tasks(tasks, readings.train, neighbours if "kNN" in probes else 0)
    last = len(next(iter(readings.features.values())))
    rows = []
    for probe in probes:
        for stage in range(1, last + 1) if probe == "linear" and stages == "all" else [last]:
            for task in tasks:
                values, notes = {}, {}
                for name, features in readings.features.items():
                    values[name], notes[name] = _ask(probe, task, features[stage - 1], readings, config, neighbours)
                    if notes[name]:
                        warnings.warn(f"{probe} probe, stage {stage}, {task}, {name}: {notes[name]}", stacklevel=2)
                test = f"{probe} probe, stage {stage}" if probe != "kNN" else f"kNN ({neighbours})"
                rows.append(tidy(test, task, values, "%", "the features reveal more about the deposit classes", notes))
    return pandas.concat(rows, ignore_index=True)


def _ask(probe, task, features, readings, config, neighbours):
    """Return a probe's score on one task in percent, and a note if the probe did not converge."""
    train, evaluated = readings.train, readings.evaluated
    learnt, labels = task_part(task, features[0], train)
    asked, truth = task_part(ONLY if task == ALL else task, features[1], evaluated)
    note = ""
    if probe == "kNN":
        fitted = KNeighborsClassifier(neighbours).fit(learnt, labels)
    else:
        fitted, note = (fit_linear if probe == "linear" else fit_mlp)(learnt, labels, config.seed)
    score = balanced_accuracy_score if task == AGAINST else accuracy_score
    return 100 * score(truth, fitted.predict(asked)), note


def fit_linear(features, labels, seed, steps=None):
    """Fit a scaler and a logistic regression to training features, (N, D); return the pipeline, and a note.

    C is chosen by its log-loss on a held-out quarter, which the seed draws; the final fit is on all features. The note
    says if the solver didn't converge in so many steps (`MOST_STEPS` unless given); otherwise it is empty.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=steps or MOST_STEPS, class_weight="balanced"))
    halves = StratifiedShuffleSplit(1, test_size=0.25, random_state=seed)
    search = GridSearchCV(probe, {"logisticregression__C": STRENGTHS}, cv=halves, scoring="neg_log_loss")
    return fit_and_note(search, features, labels)


def fit_mlp(features, labels, seed, steps=None):
    """Fit a scaler and a perceptron with one hidden layer of 64; arguments and results as for `fit_linear`."""
    learning = {"alpha": 1.0, "learning_rate_init": 0.01, "tol": 1e-3, "max_iter": steps or MOST_STEPS}
    perceptron = MLPClassifier((64,), random_state=seed, **learning)
    return fit_and_note(make_pipeline(StandardScaler(), perceptron), features, labels)


def fit_and_note(probe, features, labels):
    """Fit a probe and say whether it converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = probe.fit(features, labels)
    fitted = getattr(fitted, "best_estimator_", fitted)
    failed = [warning for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    for warning in caught:
        if warning not in failed:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return fitted, f"did not converge in {fitted[-1].max_iter} steps" if failed else ""


def task_part(task, features, part):
    """Return the features and labels that a task is about."""
    labels = part.labels.cpu().numpy()
    deposited = numpy.isin(labels, part.deposit_classes)
    if task == AGAINST:
        return features, deposited
    return (features[deposited], labels[deposited]) if task == ONLY else (features, labels)


def check_tasks(tasks, train, neighbours=0, allowed=TASKS):
    """Raise a `LirfError` if a task is impossible with these training images and this many neighbours."""
    counts = train.labels.bincount(minlength=train.num_classes).tolist()
    if min(counts) < FEWEST:
        scarce = train.class_names[counts.index(min(counts))]
        raise LirfError(f"probes need {FEWEST} training images of each class, but {scarce!r} has {min(counts)}")
    deposited = sum(counts[number] for number in train.deposit_classes)
    for task in tasks:
        check_choice("tasks", task, allowed)
        if task == ONLY and len(train.deposit_classes) == 1:
            raise LirfError(f"tasks can't include {ONLY!r} with a single deposit class: there is nothing to tell apart")
        learnt = deposited if task == ONLY else len(train)
        if learnt < neighbours:
            raise LirfError(
                f"neighbours must be at most {learnt}, the number of training images for {task!r}, not {neighbours}"
            )
