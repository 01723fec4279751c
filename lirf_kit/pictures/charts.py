"""Tables as pictures: variants side by side, curves over a knob, the round trip of each class, confusion matrices."""

import matplotlib
import numpy
import pandas
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lirf_kit.config import LirfError, check_choice
from lirf_kit.evidence.experiments import DIFFERENCES, METRICS, with_differences
from lirf_kit.pictures.figures import COOL, DPI, INK, MARKERS, MOST_NAMED, PALE, STYLE, WARM, kilobytes_on

UNITS = dict.fromkeys(METRICS, "%") | {"F": "points", "L_at": "from 0 to 2"}
UNITS |= dict.fromkeys(DIFFERENCES, "points relative to the original")


@matplotlib.rc_context(STYLE)
def plot_variants(results, shown=(("target", "Dep Acc"), ("target", "ΔPre"), ("recovered", "ΔAvg")), marked=None):
    """Draw the variants of a sweep side by side.

    Each run is a small dot, the mean of the runs a diamond; that of one variant is orange.

    Parameters
    ----------
    results : pandas.DataFrame
        As returned by `sweep`.
    shown : sequence of tuple of str
        The network and the metric of each panel.
    marked : str, optional
        The variant that is orange; by default the first one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If `results` or `shown` is empty, or if there is no such network, metric or variant.
    """
    if not len(shown):
        raise LirfError("shown must name at least one network and metric, not none")
    for network, metric in shown:
        _check_runs(results, network, [metric])
    results = with_differences(results)
    variants = list(results["variant"].unique())
    if marked not in (None, *variants):
        raise LirfError(f"marked must be one of the variants, {', '.join(map(str, variants))}, not {marked!r}")
    height = 0.42 * len(variants) + 1.1
    figure = Figure(figsize=(3.3 * len(shown) + 1.6, height), layout="constrained", dpi=DPI)
    for axes, (network, metric) in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown):
        rows = results[results["network"] == network]
        for place, variant in enumerate(variants):
            values = rows.loc[rows["variant"] == variant, metric]
            colour = WARM[0] if variant == (marked or variants[0]) else COOL[0]
            axes.plot(values.mean(), place, "D", color=colour, markersize=9, markeredgecolor=INK)
            axes.plot(values, [place] * len(values), "o", color=INK, markersize=4, alpha=0.4, markeredgewidth=0)
        if metric.startswith("Δ"):
            axes.axvline(0, color=PALE, zorder=0)
        axes.set(title=f"{network}: {metric}", xlabel=UNITS[metric])
        axes.set_yticks(range(len(variants)), variants, fontsize=13)
        axes.grid(axis="y", color=PALE, linewidth=0.5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="x", labelsize=12)
        axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    return figure


@matplotlib.rc_context(STYLE)
def plot_curve(results, knob, metrics=("ΔPre", "ΔDep", "ΔAvg"), network="recovered"):
    """Draw metrics over the values of a knob: the mean of the runs as a line, their standard deviation as a band.

    Parameters
    ----------
    results : pandas.DataFrame
        As returned by `sweep`, with the knob's values as variants, or as written by ``python -m lirf_kit sweep``.
    knob : str
        The label of the horizontal axis.
    metrics : sequence of str
        One line each.
    network : str
        The network whose metrics are drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If `results` or `metrics` is empty, if there is no such network or metric, or if a variant isn't a number.
    """
    if not len(metrics):
        raise LirfError("metrics must name at least one, not none")
    _check_runs(results, network, metrics)
    runs = with_differences(results)
    values = pandas.to_numeric(runs["variant"], errors="coerce")
    if values.isna().any():
        raise LirfError(f"results must have numbers as variants, not {runs.loc[values.isna(), 'variant'].iloc[0]!r}")
    groups = runs.assign(value=values)[runs["network"] == network].groupby("value")
    figure = Figure(figsize=(7, 3.8), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    if metrics[0].startswith("Δ"):
        axes.axhline(0, color=PALE, zorder=0)
    for metric, colour, marker in zip(metrics, (COOL[2], WARM[0], COOL[0], WARM[2]), "osD^"):
        mean, spread = groups[metric].mean(), groups[metric].std().fillna(0)
        axes.plot(mean.index, mean, marker=marker, color=colour, label=metric, markersize=7)
        axes.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    title = f"{network.capitalize()}: mean ± standard deviation of the runs"
    axes.set(title=title, xlabel=knob, ylabel=UNITS[metrics[0]])
    axes.legend()
    axes.tick_params(labelsize=12)
    return figure


@matplotlib.rc_context(STYLE)
def plot_round_trip(accuracies, deposit_classes=()):
    """Draw each class's accuracy from network to network: for a deposit class it falls and then rises again.

    Parameters
    ----------
    accuracies : pandas.DataFrame
        As returned by `class_accuracies`; its columns are drawn from left to right.
    deposit_classes : iterable of int
        Drawn in warm colours, each with its own marker, and slightly apart so that they don't hide one another.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If `accuracies` is empty.
    """
    if accuracies.empty:
        raise LirfError("accuracies must have at least one class and one network, not none")
    figure = Figure(figsize=(1.9 * len(accuracies.columns) + 1.5, 4.4), layout="constrained", dpi=DPI)
    axes, deposited = figure.subplots(), [int(number) for number in deposit_classes]
    stations, lines = numpy.arange(len(accuracies.columns)), {}
    for place, number in enumerate(deposited):
        aside = 0.24 * ((place + 0.5) / len(deposited) - 0.5)
        (lines[accuracies.index[number]],) = axes.plot(
            stations + aside, accuracies.iloc[number], color=WARM[place % len(WARM)], zorder=3,
            marker=MARKERS[place % len(MARKERS)], markersize=10, markeredgecolor=INK,
        )  # fmt: skip
    if len(deposited) > MOST_NAMED:
        lines = dict(list(lines.items())[:MOST_NAMED])
        lines[f"… {len(deposited) - MOST_NAMED} more"] = Line2D([], [], linestyle="")
    for number in set(range(len(accuracies))) - set(deposited):
        (lines["the preserved classes"],) = axes.plot(
            stations, accuracies.iloc[number], color=COOL[0], marker="o", markersize=5, alpha=0.6
        )
    axes.set_xticks(stations, accuracies.columns, fontsize=14)
    axes.set(ylabel="accuracy in %", ylim=(-4, 104))
    axes.tick_params(axis="y", labelsize=12)
    axes.legend(lines.values(), lines, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@matplotlib.rc_context(STYLE)
def plot_bank(accuracies, places):
    """Draw what a knowledge bank knows in each of its states, and above it where its modules are.

    Parameters
    ----------
    accuracies : pandas.DataFrame
        As returned by `class_accuracies`: one row per class, one column per state, from left to right.
    places : pandas.DataFrame
        One row per deposit, the same columns: ``"bank"``, ``"network"`` (withdrawn), or ``""`` before the deposit.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If the two have different columns, or a place is anything else.
    """
    if list(accuracies.columns) != list(places.columns):
        raise LirfError(
            f"places must have the columns of accuracies, {list(accuracies.columns)}, not {list(places.columns)}"
        )
    odd = set(places.to_numpy().ravel()) - {"bank", "network", ""}
    if odd:
        raise LirfError(f"places must hold 'bank', 'network' or '', not {sorted(odd)[0]!r}")
    (classes, states), deposits = accuracies.shape, len(places)
    figure = Figure(figsize=(1.25 * states + 2, 0.4 * (classes + deposits) + 2), layout="constrained", dpi=DPI)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[deposits, classes])
    for row, line in enumerate(places.to_numpy()):
        colour = WARM[row % len(WARM)]
        held = [column for column, place in enumerate(line) if place]
        above.plot(held, [row] * len(held), color=colour, zorder=1)
        for column in held:
            face = colour if line[column] == "bank" else "white"
            above.plot(column, row, marker="s", markersize=13, color=colour, markerfacecolor=face, markeredgewidth=2)
    above.set_yticks(range(deposits), places.index, fontsize=12)
    above.set_ylim(deposits - 0.4, -0.6)
    above.set_title("filled: the module is in the bank; hollow: it is plugged in", fontsize=12)
    below.imshow(
        accuracies, cmap=LinearSegmentedColormap.from_list("", ("white", COOL[0])), vmin=0, vmax=130, aspect="auto"
    )
    for row in range(classes):
        for column in range(states):
            below.text(column, row, f"{accuracies.iloc[row, column]:.0f}", ha="center", va="center", fontsize=12)
    below.set_xticks(range(states), accuracies.columns, fontsize=12)
    below.set_yticks(range(classes), accuracies.index, fontsize=12)
    below.set_ylabel("accuracy on each class, %")
    for axes in (above, below):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return figure


@matplotlib.rc_context(STYLE)
def plot_bank_depth(results):
    """Draw what one deposit after the other costs the classes that stay, and what comes back in the end.

    Parameters
    ----------
    results : pandas.DataFrame
        From `bank_over_seeds`, with "sizes", perhaps of banks of different depths.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(8, 4), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    depths = sorted(results["sizes"].unique(), key=len)
    deepest = results[results["sizes"] == depths[-1]]
    after = deepest[deepest["state"].str.startswith("deposit")].groupby("state", sort=False)["kept"]
    mean, spread, steps = after.mean(), after.std().fillna(0), range(1, len(after) + 1)
    axes.plot(steps, mean, color=COOL[0], marker="o", label="target: the classes that stay")
    axes.fill_between(steps, mean - spread, mean + spread, color=COOL[0], alpha=0.15, linewidth=0)
    for sizes in depths:
        runs, depth = results[results["sizes"] == sizes], sizes.count(",") + 1
        back = runs[runs["state"] == f"{depth} back"]["known"]
        label = "everything withdrawn: all classes" if sizes == depths[0] else None
        axes.errorbar(depth, back.mean(), back.std(), color=WARM[0], marker="D", markersize=9, capsize=4, label=label)
    axes.axhline(0, color=PALE, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="deposits of one class each", ylabel="points relative to the original")
    axes.tick_params(labelsize=12)
    axes.legend(loc="lower left")
    return figure


@matplotlib.rc_context(STYLE)
def plot_sizes(found, level):
    """Draw accuracy against bytes on disk, a line for each kind of container.

    Parameters
    ----------
    found : dict of str to dict
        For each line, by the bits of a weight: bytes, and accuracy in percent.
    level : float
        The original's accuracy, drawn as a line.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    axes.axhline(level, color=INK, linewidth=1, linestyle=":", label="original")
    for (name, points), colour, marker, above in zip(found.items(), (*COOL, *WARM), MARKERS, (0, 1) * len(found)):
        sizes, accuracies = zip(*points.values())
        axes.plot(numpy.array(sizes) / 1000, accuracies, color=colour, marker=marker, markersize=8, label=name)
        for bits, (size, accuracy) in points.items():
            beside = {"xytext": (0, 7 if above else -15), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{bits}", (size / 1000, accuracy), **beside, fontsize=9, color=colour)
    kilobytes_on(axes)
    axes.set(xlabel="kilobytes on disk; the numbers are bits a weight", ylabel="recovered network, accuracy in %")
    axes.tick_params(labelsize=11)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_confusions(confusions, figure=None):
    """Draw confusion matrices side by side, each row in percent of its class's images.

    With up to twelve classes, the cells show the rounded percentages and the axes name the classes. The colour scale is
    stretched at the low end, so that even a few wrong answers are visible.

    Parameters
    ----------
    confusions : dict of str to pandas.DataFrame
        As returned by `confusion`, by the networks' names.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If there is no matrix.
    """
    if not confusions:
        raise LirfError("confusions must hold at least one matrix, not none")
    names = list(next(iter(confusions.values())).index)
    named, upright = len(names) <= MOST_NAMED, max(len(str(name)) for name in names) <= 2
    size = (4 * len(confusions) + 0.9, 4.4 if upright else 5.3)
    figure = figure or Figure(figsize=size, layout="constrained", dpi=DPI)
    panels = figure.subplots(1, len(confusions), sharey=True, squeeze=False)[0]
    for axes, (title, counts) in zip(panels, confusions.items()):
        shares = 100 * counts.to_numpy() / numpy.maximum(counts.to_numpy().sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, norm=PowerNorm(0.5, 0, 100), cmap="Blues")
        axes.set_title(title.capitalize(), fontsize=15, color=INK)
        axes.set_xlabel("answer", fontsize=14)
        axes.tick_params(labelsize=12)
        if not named:
            continue
        axes.set_xticks(range(len(names)), names, rotation=0 if upright else 90)
        axes.set_yticks(range(len(names)), names)
        for row, column in numpy.argwhere(shares >= 0.5):
            share = shares[row, column]
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color="white" if share > 30 else INK)
    panels[0].set_ylabel("true class", fontsize=14)
    bar = figure.colorbar(image, ax=panels, ticks=[0, 5, 25, 50, 100], shrink=0.8)
    bar.set_label("% of the class", size=13)
    bar.ax.tick_params(labelsize=12)
    return figure


def _check_runs(results, network, metrics):
    """Raise a `LirfError` unless a sweep's results have runs of a network, and the metrics exist."""
    if not len(results):
        raise LirfError("results must have at least one run, not none")
    if "variant" not in results:
        raise LirfError("results must have a column 'variant', as those of sweep do")
    check_choice("network", network, list(results["network"].unique()))
    for metric in metrics:
        check_choice("metric", metric, (*METRICS, *DIFFERENCES))
