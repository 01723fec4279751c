"""What the explorer's figures show, in words: the headline of a run, and the alternative text of every picture."""

from lirf_kit.widgets.exploring import deposited, tsne_part

NUMBERS = {  # what is said of a run: the network, what its number is called, and its metric
    "classes": [
        ("target", "Pre", "Pre Acc"), ("target", "Dep", "Dep Acc"), ("target", "H Mean", "H Mean"),
        ("recovered", "Pre", "Pre Acc"), ("recovered", "Dep", "Dep Acc"),
    ],
    "samples": [
        ("target", "deposited samples", "deposited samples"), ("target", "gap", "gap"),
        ("recovered", "deposited samples", "deposited samples"),
    ],
}  # fmt: skip
SHOWN = {
    "curves": "Curves of the deposit's loss and its terms over {epochs} epochs",
    "classes": "Bars: each class's accuracy in original, target and recovered network",
    "confusion": "Confusion matrices of original, target and recovered network",
    "t-SNE": "Three panels: the features of {points} validation images in original, target and recovered network, by "
    "t-SNE; a point is an image, preserved classes are dots in cool colours, deposit classes markers in warm ones",
}


def numbers(run, shape="{:.1f}"):
    """Return a run's main numbers as one line, each in a shape."""
    said, before = [], None
    for network, short, column in NUMBERS["classes" if run.fraction is None else "samples"]:
        value = shape.format(run.metrics[f"{network}: {column}"])
        said.append(f"{short} {value}" if network == before else f"{network} {short} {value}")
        before = network
    return " · ".join(said)


def headline(number, run):
    """Return what the message says of a run, as HTML."""
    return f"run {number} in {run.seconds:.1f} s: {numbers(run, '<b>{:.1f}</b>')}"


def of_run(name, run):
    """Say what a run's figure shows: what kind it is, what was deposited, and the main numbers in percent."""
    shown = SHOWN[name].format(epochs=len(run.history), points=len(tsne_part(run)))
    kind = "" if run.fraction else "class " if len(run.config.deposit_classes) == 1 else "classes "
    given = kind + deposited(run.config, run.fraction)
    return f"{shown}. Deposited: {given}. On the validation part, in percent: {numbers(run)}."


def of_curves(history, epochs):
    """Say what the growing curves show."""
    return f"Curves of the deposit's terms, epoch {len(history)} of {epochs}: loss {history[-1]['loss']:.3g}."


def of_ring(run, place):
    """Say what a t-SNE figure with a ring shows."""
    part = run.parts.validation
    there = bool((tsne_part(run).indices == part.indices[place]).any())
    name = part.class_names[int(part.labels[place])]
    ring = f"A ring marks image {place}, of class {name}" if there else f"Image {place} is not among them"
    return f"{of_run('t-SNE', run)} {ring}."


def of_journey(run, place, probabilities):
    """Say what the figure of one image's journey shows."""
    part = run.parts.validation
    name = part.class_names[int(part.labels[place])]
    shares = ", ".join(f"{network} {share:.0f} %" for network, share in probabilities.loc[name].items())
    answers = ", ".join(f"{network} {answer}" for network, answer in probabilities.idxmax().items())
    return (
        f"Validation image {place}, of class {name}; the attention maps of original, target, deposit module and "
        f"recovered network; and bars of each class's probability. Of its own class: {shares}. Answers: {answers}."
    )


def of_surface(points, metric):
    """Say where a metric was measured, and where it is lowest and highest."""
    names = list(points.columns[:-1])
    ends = points.sort_values("value").iloc[[0, -1]]
    lowest, highest = (
        f"{row['value']:.1f} at " + ", ".join(f"{name} {row[name]:g}" for name in names) for _, row in ends.iterrows()
    )
    return f"{metric} over {' and '.join(names)}: {len(points)} measured points, from {lowest} to {highest}."
