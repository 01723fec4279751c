"""The kit's main figures, in colours that colour-blind readers can tell apart.

Preserved classes are dots in cool colours, with the class name written on the island. Deposit classes have warm
colours, a dark edge and a different marker each, so that the eye can follow them from panel to panel even where their
islands dissolve.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import matplotlib
import numpy
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lirf_kit.artifacts import WRITING, sweep
from lirf_kit.config import LirfError

COOL = (
    "#0072B2", "#56B4E9", "#009E73", "#4B4B8F", "#8C8C8C", "#2F4B4F", "#59D458", "#235322", "#558B9C", "#88D794",
)  # fmt: skip
WARM = ("#D55E00", "#E69F00", "#CC79A7")
MARKERS = ("^", "s", "D", "P", "X", "v", "*")
INK, PALE = "#222222", "#BBBBBB"
MACHINE = ("seconds", "images_per_second", "peak_memory")  # the history's numbers about the machine
MOST_NAMED = 12  # the most classes that fit a legend or an axis
DPI = 110
FORMATS = ("png", "svg", "pdf")
STYLE = {  # of charts, for `matplotlib.rc_context`
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 14,
    "axes.titlecolor": INK,
    "axes.labelsize": 13,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "lines.linewidth": 2,
}


def plot_tsne(embeddings, part, table=None, figure=None):
    """Draw t-SNE embeddings of the same images side by side.

    Parameters
    ----------
    embeddings : dict of str to numpy.ndarray
        (N, 2) for each panel's name, as `embed_networks` returns them.
    part : ImageData
        The N images; its deposit classes have markers of their own, and are named in the first panel only.
    table : pandas.DataFrame, optional
        A `results_table` with a row for each panel; Pre and Dep Acc are written below the panel. So is the column
        "kNN", if `with_neighbours` has added it: how well the features still tell the deposit classes apart.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = figure or Figure(figsize=(4.2 * len(embeddings), 5), layout="constrained", dpi=DPI)
    labels, styles = part.labels.cpu().numpy(), class_styles(part)
    panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
    for axes, (name, points) in zip(panels, embeddings.items()):
        for number, style in styles.items():
            axes.scatter(*points[labels == number].T, **style)
        for number in styles:
            # deposit classes are named once: where they run together, their names would cover one another
            if (labels == number).any() and (axes is panels[0] or number not in (part.deposit_classes or ())):
                _write_name(axes, points[labels == number], part.class_names[number])
        centre, reach = (points.max(0) + points.min(0)) / 2, 0.55 * numpy.ptp(points, axis=0).max()
        axes.set(xticks=[], yticks=[], xlim=centre[0] + [-reach, reach], ylim=centre[1] + [-reach, reach])
        axes.set_box_aspect(1)
        axes.spines[:].set_color(PALE)
        axes.set_title(name.capitalize(), fontsize=15, color=INK)
        if table is not None:
            said = f"Pre Acc {table.loc[name, 'Pre Acc']:.1f} %    Dep Acc {table.loc[name, 'Dep Acc']:.1f} %"
            if "kNN" in table:
                said += f"\nkNN of deposit classes, in features: {table.loc[name, 'kNN']:.1f} %"
            axes.set_xlabel(said)
            axes.xaxis.label.set(fontsize=12, color=INK)
    return figure


def class_styles(part):
    """Return each class's style as arguments of ``scatter``; preserved classes come first, to be drawn underneath.

    A preserved class has its own colour, whatever is deposited.
    """
    deposited = part.deposit_classes or ()
    preserved = [number for number in range(part.num_classes) if number not in deposited]
    styles = {
        number: {"color": COOL[number % len(COOL)], "marker": "o", "s": 16, "linewidths": 0, "alpha": 0.8}
        for number in preserved
    }
    for place, number in enumerate(deposited):
        colour, marker = WARM[place % len(WARM)], MARKERS[place % len(MARKERS)]
        styles[number] = {"color": colour, "marker": marker, "s": 30, "edgecolors": INK, "linewidths": 0.5}
    return styles


def _write_name(axes, points, name):
    """Write a class's name above its points, centred at their median."""
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    place = (numpy.median(points[:, 0]), numpy.quantile(points[:, 1], 0.9))
    axes.annotate(
        name, place, (0, 5), textcoords="offset points", ha="center", fontsize=13, path_effects=halo, color=INK
    )


def plot_samples(part, each=8):
    """Draw the first images of each class, one row per class, with the deposit classes marked.

    Parameters
    ----------
    part : ImageData
        Grey or RGB images.
    each : int
        The number of images per class.

    Returns
    -------
    matplotlib.figure.Figure
    """
    labels, deposited = part.labels.cpu(), part.deposit_classes or ()
    figure = Figure(figsize=(0.6 * each + 1.8, 0.6 * part.num_classes), layout="constrained", dpi=DPI)
    grid = figure.subplots(part.num_classes, each, squeeze=False)
    for number, row in enumerate(grid):
        images = part.images[(labels == number).to(part.images.device)][:each].cpu().permute(0, 2, 3, 1).numpy()
        for axes in row:
            axes.set_axis_off()
        for axes, image in zip(row, images):
            axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        marked = number in deposited
        row[0].text(
            -0.25, 0.5, f"deposit ▸ {part.class_names[number]}" if marked else part.class_names[number],
            transform=row[0].transAxes, ha="right", va="center", fontsize=12,
            color=WARM[0] if marked else INK, weight="bold" if marked else "normal",
        )  # fmt: skip
    return figure


@matplotlib.rc_context(STYLE)
def plot_history(history, title=""):
    """Draw each number in a network's history over the epochs, one panel per number.

    Parameters
    ----------
    history : list of dict
        `SplitNetwork.history`. Its "epoch" is the horizontal axis; speed and memory are left out.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    LirfError
        If the history has no epoch.
    """
    if not history:
        raise LirfError("history must have at least one finished epoch, not none")
    names = [name for name in history[0] if name not in ("epoch", *MACHINE)]
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.5 * rows + 0.3 * bool(title)), layout="constrained", dpi=DPI)
    epochs = [entry["epoch"] for entry in history]
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name in zip(panels, names):
        axes.plot(epochs, [entry[name] for entry in history], color=COOL[0], marker="o", markersize=3)
        axes.set_title(name.replace("_", " "), fontsize=12)
        axes.set_xlabel("epoch", fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=14, color=INK)
    return figure


def save_figure(figure, folder, name):
    """Write a figure as PNG, SVG and PDF, without dates, so that equal figures give equal files.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    folder : path
        Created if it doesn't exist.
    name : str
        The files' name, without the ending.

    Returns
    -------
    list of pathlib.Path
        The three files. They are written to a temporary folder and then moved, so no file is ever left incomplete.

    Raises
    ------
    LirfError
        If the folder can't be written to.
    """
    settings = {"svg.hashsalt": name, "svg.fonttype": "none"}
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    folder = writable_folder(folder)
    sweep(folder)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # lay out only once: it would shift a little with each drawing
    with written_together(folder, f"the figure {name}") as beside, matplotlib.rc_context(settings):
        for ending in FORMATS:
            figure.savefig(beside / f"{name}.{ending}", metadata=undated[ending])
    return [folder / f"{name}.{ending}" for ending in FORMATS]


@contextlib.contextmanager
def written_together(folder, what):
    """Yield a folder to write files into; they are then moved to `folder`, all of them or, after an error, none.

    An `OSError` becomes a `LirfError` that says what can't be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=WRITING) as beside:
            yield Path(beside)
            try:
                _move_files(Path(beside), folder)
            except KeyboardInterrupt:  # the rest follows at once, or the files would be of different figures
                _move_files(Path(beside), folder)
                raise
    except OSError as error:
        raise LirfError(f"{what} can't be written to {folder}: {error}") from error


def _move_files(source, destination):
    for file in sorted(source.iterdir()):
        os.replace(file, destination / file.name)


def kilobytes_on(axes):
    """Make a horizontal axis one of kilobytes on disk, on a logarithmic scale with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("kilobytes on disk")


def writable_folder(folder):
    """Return a folder, created if necessary, or raise a `LirfError` if no file can be written to it."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise LirfError(f"out must be a folder that can be written, not {str(folder)!r}: {error}") from error
    return folder
