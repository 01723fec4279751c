"""The explorer's figures, on white, with letters that can be read from the back row.

All figures of a kind have the same size, so a new one replaces the old one without a jump.
"""

import io
import re

import numpy
import PIL.Image
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lirf_kit.config import LirfError
from lirf_kit.pictures.charts import plot_confusions
from lirf_kit.pictures.figures import COOL, DPI, INK, PALE, WARM, plot_tsne
from lirf_kit.widgets.exploring import NETWORKS, deposited, named, tsne_part
from lirf_kit.widgets.small_views import image_pixels

SIZE = (8.4, 4.0)  # inches
SPAN = 10.0  # points that a surface's colours span at least, so that an image or two don't look like structure
WIDTHS = {"confusion": 10.2, "t-SNE": 9.8}  # inches; wider figures have room for more, but smaller letters
TERMS = (  # of a deposit's history: its key, the curve's title, colour and dashes
    ("loss", "loss, weighted sum", INK, ""),
    ("removal", "forget · L_kr", WARM[0], ""),
    ("attention_distance", "look elsewhere · L_at ↑", WARM[1], "7 4"),
    ("class_scatter", "forget inside · L_cs", COOL[1], ""),
    ("preservation", "hold the rest · L_kp", COOL[0], ""),
    ("own_statistics", "own statistics · L_os", COOL[0], "7 4"),
    ("adversarial_preservation", "hold the unseen · L_ap", COOL[1], "7 4"),
    ("recovery", "recover · L_re", COOL[2], ""),
    ("transfer", "transfer · L_pt", WARM[2], "7 4"),
)


def png(figure):
    """Return a figure as the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white")
    return file.getvalue()


def _new(width=SIZE[0], rows=1):
    """Return an empty figure of the explorer's proportions, high enough for some rows."""
    return Figure(figsize=(width, rows * width * SIZE[1] / SIZE[0]), layout="constrained", dpi=DPI)


def _symbols(text):
    """Write a name's symbol, such as λ_at, with an index."""
    return re.sub(r"(\w)_(\w+)", r"$\1_{\\mathrm{\2}}$", text)


def _plain(axes, labelsize=12):
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=labelsize)
    return axes


def _bars(axes, table):
    """Draw a bar for each of the three networks beside each other in each row of a table."""
    for offset, (name, colour, hatch) in enumerate(zip(NETWORKS, (PALE, WARM[0], COOL[0]), ("", "//", ".."))):
        axes.bar(
            numpy.arange(len(table)) + 0.28 * (offset - 1), table[name], 0.26, color=colour, edgecolor=INK, hatch=hatch,
            linewidth=0.6, label=name,
        )  # fmt: skip


def moving(figures, seconds, still=-1):
    """Return figures of one size as an animated PNG, in bytes: it plays twice and stays at the end.

    `seconds` says how long each is shown; `still` is the place of the one that is seen where pictures don't move.
    """
    pictures = [PIL.Image.open(io.BytesIO(png(figure))).convert("RGB") for figure in figures]
    colours = pictures[still].quantize(256, PIL.Image.Quantize.FASTOCTREE)  # the same for all: a small file
    frames = [picture.quantize(palette=colours, dither=PIL.Image.Dither.NONE) for picture in pictures]
    apart = still != 0  # a picture of its own, before the first one
    first, *others = [frames[still], *frames] if apart else frames
    file, shown = io.BytesIO(), {"duration": [1000 * each for each in seconds], "loop": 2, "default_image": apart}
    first.save(file, "PNG", save_all=True, append_images=others, optimize=True, **shown)
    return file.getvalue()


def moving_story(run, count=8):
    """Return a run's story as an animated PNG, in bytes."""
    before = numpy.linspace(0, len(run.story.frames) - 1, count).round().astype(int)[:-1]
    figures = [*(plot_story(run, place=place) for place in before), plot_story(run)]
    return moving(figures, [0.6] * len(before) + [3])


def plot_story(run, figure=None, place=None):
    """Draw a frame of a run's story: six images with each network's answers, Pre and Dep Acc, and the maps.

    Without a place it is the last one.
    """
    figure, story = figure or _new(), run.story
    if story is None:
        raise LirfError("nobody watched this run, so it has no story")
    shown = -1 if place is None else place
    told, classes = story.frames[shown] | {"original": story.scene["original"]}, story.scene["classes"]
    maps = dict(zip(NETWORKS, [story.home, *story.places[shown]]))
    part, columns = tsne_part(run.parts), figure.subfigures(1, 3)
    figure.suptitle(f"epoch {told['epoch']:.3g} of {run.config.deposit_epochs}", fontsize=11, color=INK)
    for column, name in zip(columns, NETWORKS):
        rows = column.subfigures(3, 1, height_ratios=[1.1, 0.8, 2.4])
        rows[0].suptitle(name, fontsize=14, color=INK)
        for axes, image, sample, answer, sure in zip(
            rows[0].subplots(1, len(story.samples)), story.samples, story.scene["samples"], told[name]["answers"],
            told[name]["sure"],
        ):  # fmt: skip
            pixels, label = image
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            colour, line = (WARM[0], (0, (1.2, 0.6))) if sample["deposited"] else (COOL[0], "-")
            axes.spines["top"].set(color=colour, linewidth=4, linestyle=line, capstyle="butt")
            right = answer == label
            said = axes.set_xlabel(f"{'✓' if right else '✗'} {classes[answer]}\n{sure} %", fontsize=9, color=INK)
            if not right:
                said.set(color="white", bbox={"facecolor": WARM[0], "edgecolor": "none", "pad": 1.5})
        axes, values = _plain(rows[1].subplots(), labelsize=10), told[name]["bars"]
        axes.barh([1, 0], values, color=[COOL[0], WARM[0]], edgecolor=INK, hatch="")
        names = [name.rpartition("· ")[2] for name in story.scene["bars"]]
        axes.set_yticks([1, 0], [f"{name} {value:.1f}" for name, value in zip(names, values)])
        axes.set(xlim=(0, 100), xticks=[])
        plot_tsne({name: maps[name]}, part, figure=rows[2]).axes[0].set_title("")
    return figure


def plot_terms(run, figure=None):
    """Draw each term of a run's deposit over its epochs; a term whose λ is 0 is marked as off."""
    figure, history = figure or _new(), run.history
    for axes, (name, title, colour, dashes) in zip(figure.subplots(3, 3).flat, TERMS):
        _plain(axes, labelsize=11).set_title(_symbols(title), fontsize=13, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if name in history[0]:
            epochs, values = zip(*((entry["epoch"], entry[name]) for entry in history))
            axes.plot(epochs, values, "--" if dashes else "-", color=colour, marker="o", markersize=4, linewidth=2)
        else:
            axes.text(0.5, 0.5, "off (λ = 0)", transform=axes.transAxes, ha="center", fontsize=13)
    figure.supxlabel("epoch", fontsize=12)
    return figure


def plot_classes(run, figure=None):
    """Draw each class's accuracy in the three networks; deposit classes are shaded and labelled."""
    figure = figure or _new()
    axes, given = _plain(figure.subplots()), run.parts.deposit_set.deposit_classes or ()
    _bars(axes, run.classes)
    for bar in axes.patches:
        if bar.get_height() < 0.5:
            axes.annotate("0", (bar.get_x() + bar.get_width() / 2, 0), ha="center", va="bottom", fontsize=11)
    for number in given:
        axes.axvspan(number - 0.46, number + 0.46, color=WARM[1], alpha=0.18, linewidth=0, zorder=0)
    if len(run.classes) <= 20:
        names = [f"{name}\ndeposit" if number in given else name for number, name in enumerate(run.classes.index)]
        axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("accuracy in %", fontsize=14)
    axes.set(xlim=(-0.6, len(run.classes) - 0.4), ylim=(0, 104))
    axes.tick_params(axis="x", labelsize=13, length=0)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=14)
    return figure


def plot_run_confusions(run, figure=None):
    """Draw the confusion matrices of the three networks."""
    return plot_confusions(run.confusions, figure or _new(WIDTHS["confusion"]))


def plot_run_tsne(run, figure=None, place=None):
    """Draw the three networks' t-SNE embeddings; the validation image at `place` gets a ring if it has a point."""
    if not run.embeddings:
        raise LirfError("this run has no t-SNE yet")
    part, table = tsne_part(run.parts), run.table if run.fraction is None else None
    figure = plot_tsne(run.embeddings, part, table, figure or _new(WIDTHS["t-SNE"]))
    if place is not None:
        for at in (part.indices == run.parts.validation.indices[place]).nonzero().flatten().tolist():
            for axes, points in zip(figure.axes, run.embeddings.values()):
                axes.scatter(*points[at], s=320, facecolors="none", edgecolors=INK, linewidths=2.5)
    return figure


def plot_journey(run, place, probabilities, maps):
    """Draw one image, its attention maps, and each network's probabilities of the twelve likeliest classes."""
    figure, part = _new(), run.parts.validation
    grid = figure.add_gridspec(2, 1 + len(maps), height_ratios=[1, 1.25])
    image = image_pixels(part.images[place])
    height, width = image.shape[:2]
    pictures = {f"image: {part.class_names[int(part.labels[place])]}": None} | maps
    for column, (name, attention) in enumerate(pictures.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        axes.set_axis_off()
        axes.set_title(name if column == 0 else f"attention,\n{name}", fontsize=13, color=INK)
        if attention is not None:  # of unit length; drawn over the image, from 0 to 1
            drawn = axes.imshow(attention, cmap="viridis", vmin=0, vmax=1, alpha=0.6, extent=(0, width, height, 0))
    figure.colorbar(drawn, ax=figure.axes[1:], fraction=0.02).ax.tick_params(labelsize=11)
    axes, likeliest = _plain(figure.add_subplot(grid[1, :])), probabilities.max(axis=1).nlargest(12).index
    shown = probabilities[probabilities.index.isin(likeliest)]
    _bars(axes, shown)
    axes.set_xticks(range(len(shown)), shown.index, fontsize=13)
    axes.set_ylim(0, 104)
    axes.set_ylabel("probability, %", fontsize=13)
    axes.legend(ncols=3, frameon=False, fontsize=13, loc="upper center", bbox_to_anchor=(0.5, 1.22))
    return figure


def plot_surface(points, metric, one=0.0):
    """Draw a metric over one or two knobs: measured points as dots, and a pale guess at what lies between them.

    `points` is a table of `surface_points`; a single image counts `one` points. The axes are in steps, one for each
    measured value, so that λ from 0 to 1000 fits.
    """
    figure = _new()
    axes, names, values = _plain(figure.subplots()), points.columns[:-1], points["value"]
    places = [points[name].rank(method="dense").to_numpy() - 1 for name in names]  # in steps, from 0
    for axis, name in zip((axes.xaxis, axes.yaxis), names):
        steps = sorted(points[name].unique())
        axis.set_ticks(range(len(steps)), [f"{step:g}" for step in steps])
        axis.set_label_text(_symbols(named(name)), fontsize=14)
    span, middle = values.max() - values.min(), (values.max() + values.min()) / 2
    half = max(span, SPAN if one else 0) / 2
    middle = min(max(middle, half), 100 - half) if one else middle
    low, high = middle - half, middle + half
    if len(names) == 1:
        axes.plot(*places, values, ":", color=PALE, linewidth=2)
        axes.plot(*places, values, "o", color=COOL[0], markersize=11, markeredgecolor=INK, clip_on=False, zorder=3)
        ends = numpy.minimum(values, one), numpy.minimum(100 - values, one).clip(0)  # no share is larger than 100
        axes.errorbar(*places, values, ends if one else None, fmt="none", ecolor=INK, capsize=5, clip_on=False)
        axes.set_ylabel(metric, fontsize=14)
        if one:
            axes.set_ylim(max(low - one, -1), min(high + one, 101))
    else:
        colours = {"vmin": low, "vmax": high}
        if numpy.linalg.matrix_rank(places - numpy.mean(places, axis=1, keepdims=True)) == 2:  # not all on one line
            axes.tricontourf(*places, values, levels=12, cmap="viridis", alpha=0.35, **colours)
        dots = axes.scatter(*places, c=values, s=420, cmap="viridis", edgecolors=INK, linewidths=1.2, **colours)
        for x, y, value in zip(*places, values):
            axes.annotate(f"{value:.0f}", (x, y), (0, 17), textcoords="offset points", ha="center", fontsize=12)
        axes.set(xlim=(-0.5, places[0].max() + 0.5), ylim=(-0.5, places[1].max() + 0.7))
        figure.colorbar(dots, ax=axes).set_label(metric, size=14)
    said = f"; one image is ±{one:.1f} points" if one else ""
    axes.set_title(f"dots are measured, what lies between is not{said}", fontsize=13, color=INK)
    return figure


FIGURES = {  # what draws a run in the tab of this name
    "story": plot_story,
    "curves": plot_terms,
    "classes": plot_classes,
    "confusion": plot_run_confusions,
    "t-SNE": plot_run_tsne,
}


def plot_pair(name, pair):
    """Draw one of `FIGURES` for two runs, one above the other; `pair` has each run's number and the run, by A and B."""
    figure = _new(WIDTHS.get(name, SIZE[0]), rows=2)
    strips = figure.subfigures(4, 1, height_ratios=[1, 12, 1, 12])
    for title, half, (letter, (number, run)) in zip(strips[::2], strips[1::2], sorted(pair.items())):
        FIGURES[name](run, half)
        said = f"{letter}: run {number}, deposit {deposited(run.config, run.fraction)}"
        title.text(0.01, 0.5, said, fontsize=15, color=INK, weight="bold", va="center")
    return figure
