"""The explorer's results in words: the headline of a run, and the description of every picture for screen readers."""

import math

import torch

from lirf_kit.widgets.exploring import deposited, named, tsne_part

NUMBERS = {  # the main metrics of a run
    "classes": (
        "target: Pre Acc", "target: Dep Acc", "target: H Mean", "recovered: Pre Acc", "recovered: Dep Acc",
    ),
    "samples": ("target: deposited samples", "target: gap", "recovered: deposited samples"),
}  # fmt: skip
SHOWN = {
    "story": "Three columns, original, target and recovered network: six images and what each network answers, bars of "
    "Pre and Dep Acc, and a map of the features",
    "map": "A point is one of {points} validation images, close to those that it resembles; preserved classes are dots "
    "in cool colours, deposit classes markers in warm ones",
    "curves": "Curves of the deposit's loss and its terms over {epochs} epochs",
    "classes": "Bars: each class's accuracy in original, target and recovered network",
    "confusion": "Confusion matrices of original, target and recovered network",
    "t-SNE": "Three panels: the features of {points} validation images in original, target and recovered network, by "
    "t-SNE; a point is an image, preserved classes are dots in cool colours, deposit classes markers in warm ones",
}


def numbers(metrics, fraction, shape="{:.1f}"):
    """Return a run's main numbers as one line, each formatted like `shape`; a network is named once."""
    said, before = [], None
    for name in NUMBERS["classes" if fraction is None else "samples"]:
        network, column = name.split(": ")
        value = f"{column.removesuffix(' Acc')} {shape.format(metrics.get(name, math.nan))}"
        said.append(value if network == before else f"{network} {value}")
        before = network
    return " · ".join(said)


def headline(number, run):
    """Return the message about a finished run, as HTML."""
    return f"run {number} in {run.seconds:.1f} s: {numbers(run.metrics, run.fraction, '<b>{:.1f}</b>')}"


def of_run(name, run):
    """Describe one of a run's figures: its kind, what was deposited, and the main numbers in percent."""
    shown = SHOWN[name].format(epochs=len(run.history), points=len(tsne_part(run.parts)))
    kind = "" if run.fraction else "class " if len(run.config.deposit_classes) == 1 else "classes "
    given = kind + deposited(run.config, run.fraction)
    return f"{shown}. Deposited: {given}. On the validation part, in percent: {numbers(run.metrics, run.fraction)}."


def of_curves(history, epochs):
    """Describe the curves of a deposit that is still running."""
    return f"Curves of the deposit's terms, epoch {len(history)} of {epochs}: loss {history[-1]['loss']:.3g}."


def one_image(labels, deposit_classes):
    """Return how many points a single image of a part, with these labels, is of each accuracy: H Mean's at most."""
    given = int(torch.isin(labels.cpu(), torch.tensor(deposit_classes)).sum())
    preserved, deposited = 100 / max(len(labels) - given, 1), 100 / max(given, 1)
    return {
        "Pre Acc": preserved, "Dep Acc": deposited, "Avg Acc": 100 / len(labels), "H Mean": max(preserved, deposited)
    }  # fmt: skip


def grain(run):
    """Say how much a single image counts in a run's table."""
    labels = run.parts.validation.labels
    if run.fraction is not None:
        return (
            f"One of the {len(labels)} validation images is {100 / len(labels):.1f} points. The gap is “deposited "
            "samples” minus “validation, same classes”: about 0 for a network that never saw these samples."
        )
    one = one_image(labels, run.config.deposit_classes)
    return "One image is {:.1f} points of Pre Acc and {:.1f} of Dep Acc.".format(one["Pre Acc"], one["Dep Acc"])


def of_maps(maps):
    """Say what the attention maps show."""
    height, width = maps["original"].shape
    return f"A map has {height}×{width} positions, drawn over the image: brighter where the activations are larger."


def of_journey(run, place, probabilities):
    """Describe the figure that follows one image through the networks."""
    part = run.parts.validation
    name = part.class_names[int(part.labels[place])]
    shares = ", ".join(f"{network} {share:.0f} %" for network, share in probabilities.loc[name].items())
    answers = ", ".join(f"{network} {answer}" for network, answer in probabilities.idxmax().items())
    return (
        f"Validation image {place}, of class {name}; the attention maps of original, target, deposit module and "
        f"recovered network; and bars of each class's probability. Of its own class: {shares}. Answers: {answers}."
    )


def of_surface(points, metric):
    """Describe a surface: where the metric was measured, and where it is lowest and highest."""
    names = list(points.columns[:-1])
    ends = points.sort_values("value").iloc[[0, -1]]
    lowest, highest = (
        f"{row['value']:.1f} at " + ", ".join(f"{named(name)} {row[name]:g}" for name in names)
        for _, row in ends.iterrows()
    )
    over = " and ".join(map(named, names))
    return f"{metric} over {over}: {len(points)} measured points, from {lowest} to {highest}."
