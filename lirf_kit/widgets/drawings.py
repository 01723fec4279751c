"""The explorer's figures: all of one size, on white, with letters that can be read from the back row.

A figure that has the size of the one before it takes its place without a jump.
"""

import functools
import io

import numpy
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lirf_kit.config import LirfError
from lirf_kit.pictures.charts import plot_confusions
from lirf_kit.pictures.figures import COOL, DPI, INK, PALE, WARM, plot_tsne
from lirf_kit.widgets.exploring import deposited, tsne_part

SIZE = (8.4, 4.0)  # inches
WIDTHS = {"confusion": 10.2, "t-SNE": 9.8}  # inches of what has more in it: the wider, the smaller its letters
REACH = 16  # pixels of the t-SNE figure: how far from a point a click still means it
TERMS = {  # of a deposit's history: what the panel is called, colour, line
    "loss": ("loss, weighted sum", INK, "-"),
    "removal": ("removal L_kr", WARM[0], "-"),
    "attention_distance": ("attention L_at ↑", WARM[1], "--"),
    "preservation": ("preservation L_kp", COOL[0], "-"),
    "recovery": ("recovery L_re", COOL[2], "-"),
    "transfer": ("transfer L_pt", WARM[2], "--"),
}
SHOWN = ("original", "target", "recovered")


def png(figure):
    """Return a figure as the bytes of a PNG."""
    beside = io.BytesIO()
    figure.savefig(beside, format="png", dpi=DPI, facecolor="white")
    return beside.getvalue()


@functools.cache
def blank():
    """Return the PNG that holds a figure's place until it is drawn."""
    figure = Figure(figsize=SIZE, dpi=DPI)
    figure.text(0.5, 0.5, "nothing to see yet", ha="center", fontsize=16, color=PALE)
    return png(figure)


def _new(width=SIZE[0], rows=1):
    """Return an empty figure of the explorer's shape, or of several rows of it."""
    return Figure(figsize=(width, rows * width * SIZE[1] / SIZE[0]), layout="constrained", dpi=DPI)


def _plain(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=12)
    return axes


class GrowingCurves:
    """The deposit's terms over the epochs, one panel each, drawn again and again in the same figure while it runs."""

    def __init__(self, figure=None):
        self.figure = figure or Figure(figsize=SIZE, dpi=DPI)
        if figure is None:  # a layout that is computed costs more than the drawing
            self.figure.subplots_adjust(left=0.07, right=0.985, bottom=0.12, top=0.91, wspace=0.27, hspace=0.45)
        self.lines = {}
        for axes, (name, (title, colour, dashes)) in zip(self.figure.subplots(2, 3).flat, TERMS.items()):
            (self.lines[name],) = axes.plot([], [], dashes, color=colour, marker="o", markersize=4, linewidth=2)
            axes.text(0.5, 0.5, "off (λ = 0)", transform=axes.transAxes, ha="center", fontsize=13)
            axes.set_title(title, fontsize=14, color=INK)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.tick_params(labelsize=11)
            axes.spines[["top", "right"]].set_visible(False)
        self.figure.axes[4].set_xlabel("epoch", fontsize=12, labelpad=0)

    def draw(self, history, epochs):
        """Return the figure with the epochs so far, of so many; a term whose λ is 0 says so."""
        for name, line in self.lines.items():
            there = bool(history) and name in history[0]
            points = [(entry["epoch"], entry[name]) for entry in history] if there else []
            line.set_data([epoch for epoch, _ in points], [value for _, value in points])
            line.axes.texts[0].set_visible(bool(history) and not there)
            line.axes.set_xlim(0.5, max(epochs, 2) + 0.5)
            line.axes.relim()
            line.axes.autoscale_view(scalex=False)
        return self.figure


def plot_terms(run, figure=None):
    """Draw each term of a run's deposit over its epochs."""
    return GrowingCurves(figure).draw(run.history, len(run.history))


def plot_classes(run, figure=None):
    """Draw each class's accuracy in original, target and recovered network; deposit classes are shaded and named."""
    figure = figure or _new()
    axes = _plain(figure.subplots())
    given = run.parts.deposit_set.deposit_classes or ()
    names, places = list(run.classes.index), numpy.arange(len(run.classes))
    for offset, (name, colour) in enumerate(zip(SHOWN, (PALE, WARM[0], COOL[0]))):
        bars = axes.bar(
            places + 0.28 * (offset - 1), run.classes[name], 0.26, color=colour, edgecolor=INK, linewidth=0.6,
            label=name, hatch=("", "//", "..")[offset],
        )  # fmt: skip
        for bar, height in zip(bars, run.classes[name]):
            if height < 0.5:
                axes.annotate("0", (bar.get_x() + bar.get_width() / 2, 0), ha="center", va="bottom", fontsize=11)
    for number in given:
        axes.axvspan(number - 0.46, number + 0.46, color=WARM[1], alpha=0.18, linewidth=0, zorder=0)
    if len(names) <= 20:
        axes.set_xticks(places, [f"{name}\ndeposit" if at in given else name for at, name in enumerate(names)])
    axes.set_ylabel("accuracy in %", fontsize=14)
    axes.set_ylim(0, 104)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="x", labelsize=13, length=0)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=14)
    return figure


def plot_run_confusions(run, figure=None):
    """Draw the confusion matrices of original, target and recovered network."""
    figure = plot_confusions(run.confusions, figure or _new(WIDTHS["confusion"]))
    for axes in figure.axes:
        for text in axes.texts:
            text.set_fontsize(8)
    return figure


def plot_run_tsne(run, figure=None, place=None):
    """Draw the three networks' t-SNE embeddings, with a ring around one validation image if it is among the points."""
    if not run.embeddings:
        raise LirfError("this run has no t-SNE yet")
    part, table = tsne_part(run), run.table if run.fraction is None else None
    figure = plot_tsne(run.embeddings, part, table, figure or _new(WIDTHS["t-SNE"]))
    if place is not None:
        for at in (part.indices == run.parts.validation.indices[place]).nonzero().flatten().tolist():
            for axes, points in zip(figure.axes, run.embeddings.values()):
                axes.scatter(*points[at], s=320, facecolors="none", edgecolors=INK, linewidths=2.5)
    return figure


def clicked_image(run, x, y):
    """Return which image was meant by a click on a run's t-SNE figure.

    Parameters
    ----------
    run : Run
    x, y : float
        Shares of the figure from its top left.

    Returns
    -------
    int or None
        The place in the validation part of the nearest point of the panel that was clicked; None if none is near.
    """
    figure = plot_run_tsne(run)
    figure.draw_without_rendering()  # only then the panels have their places
    pixel = numpy.array([x, 1 - y]) * figure.bbox.size  # from the bottom left
    for axes, points in zip(figure.axes, run.embeddings.values()):
        if axes.bbox.contains(*pixel):
            distances = numpy.linalg.norm(axes.transData.transform(points) - pixel, axis=1)
            if distances.min() <= REACH:
                clicked = tsne_part(run).indices[distances.argmin()]
                return int((run.parts.validation.indices == clicked).nonzero())
    return None


def plot_journey(run, place, probabilities, maps):
    """Draw one image, its attention maps, and the probabilities that each network gives each class."""
    figure = _new()
    grid = figure.add_gridspec(2, 1 + len(maps), height_ratios=[1, 1.25])
    part = run.parts.validation
    image = part.images[place].cpu().permute(1, 2, 0).numpy()
    pictures = {f"image: {part.class_names[int(part.labels[place])]}": image.squeeze()} | maps
    for column, (name, picture) in enumerate(pictures.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(picture, cmap="gray" if column == 0 else "viridis", vmin=0, vmax=255 if column == 0 else None)
        axes.set_axis_off()
        axes.set_title(name if column == 0 else f"attention,\n{name}", fontsize=13, color=INK)
    axes, most = _plain(figure.add_subplot(grid[1, :])), probabilities.max(axis=1).nlargest(12).index
    shown = probabilities.loc[[name for name in probabilities.index if name in most]]
    for offset, (name, colour, hatch) in enumerate(zip(SHOWN, (PALE, WARM[0], COOL[0]), ("", "//", ".."))):
        axes.bar(
            numpy.arange(len(shown)) + 0.28 * (offset - 1), shown[name], 0.26, color=colour, edgecolor=INK, hatch=hatch,
            linewidth=0.6, label=name,
        )  # fmt: skip
    axes.set_xticks(range(len(shown)), shown.index, fontsize=13)
    axes.set_ylim(0, 104)
    axes.set_ylabel("probability, %", fontsize=13)
    axes.legend(ncols=3, frameon=False, fontsize=13, loc="upper center", bbox_to_anchor=(0.5, 1.22))
    return figure


def plot_surface(points, metric):
    """Draw a metric over one or two knobs: measured points as dots, what lies between pale and only a guess.

    Parameters
    ----------
    points : pandas.DataFrame
        Of `surface_points`. The axes are in steps, one a measured value, so that λ from 0 to 1000 fit.
    metric : str
    """
    names = list(points.columns[:-1])
    figure = _new()
    axes = _plain(figure.subplots())
    steps = {name: sorted(points[name].unique()) for name in names}
    across = [steps[names[0]].index(value) for value in points[names[0]]]
    axes.set_xticks(range(len(steps[names[0]])), [_short(value) for value in steps[names[0]]])
    axes.set_xlabel(names[0], fontsize=14)
    if len(names) == 1:
        axes.plot(across, points["value"], ":", color=PALE, linewidth=2)
        axes.plot(across, points["value"], "o", color=COOL[0], markersize=11, markeredgecolor=INK)
        axes.set_ylabel(metric, fontsize=14)
        if points["value"].max() <= 100:
            axes.set_ylim(top=min(axes.get_ylim()[1], 101))  # no share is larger
    else:
        up = [steps[names[1]].index(value) for value in points[names[1]]]
        places = numpy.array([across, up], dtype=float)
        if numpy.linalg.matrix_rank(places - places.mean(axis=1, keepdims=True)) == 2:  # not all on one line
            axes.tricontourf(across, up, points["value"], levels=12, cmap="viridis", alpha=0.35)
        dots = axes.scatter(across, up, c=points["value"], s=420, cmap="viridis", edgecolors=INK, linewidths=1.2)
        for x, y, value in zip(across, up, points["value"]):
            axes.annotate(f"{value:.0f}", (x, y), (0, 17), textcoords="offset points", ha="center", fontsize=12)
        axes.set_yticks(range(len(steps[names[1]])), [_short(value) for value in steps[names[1]]])
        axes.set_ylabel(names[1], fontsize=14)
        axes.set_xlim(-0.5, len(steps[names[0]]) - 0.5)
        axes.set_ylim(-0.5, len(steps[names[1]]) - 0.3)
        figure.colorbar(dots, ax=axes).set_label(metric, size=14)
    axes.set_title("dots are measured, what lies between is not", fontsize=13, color=INK)
    return figure


def _short(value):
    return str(value) if isinstance(value, str) else f"{value:g}"


FIGURES = {  # a tab's name, and what draws a run there
    "curves": plot_terms,
    "classes": plot_classes,
    "confusion": plot_run_confusions,
    "t-SNE": plot_run_tsne,
}


def plot_pair(name, pair):
    """Draw the same kind of figure of two runs, one above the other.

    Parameters
    ----------
    name : str
        One of `FIGURES`.
    pair : dict of str to tuple of int and Run
        By "A" and "B": a run's number, and the run.
    """
    figure = _new(WIDTHS.get(name, SIZE[0]), rows=2)
    strips = figure.subfigures(4, 1, height_ratios=[1, 12, 1, 12])
    for title, half, (letter, (number, run)) in zip(strips[::2], strips[1::2], pair.items()):
        FIGURES[name](run, half)
        said = f"{letter}: run {number}, deposit {deposited(run.config, run.fraction)}"
        title.text(0.01, 0.5, said, fontsize=15, color=INK, weight="bold", va="center")
    return figure
