"""What the notebooks' small widgets compute and draw, without a widget."""

import io

import numpy
import pandas
import torch
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lirf_kit.config import LirfError
from lirf_kit.data.partition import check_deposit_classes
from lirf_kit.method.losses import distillation_loss, select_deposited, select_preserved
from lirf_kit.method.networks import evaluation_mode, split
from lirf_kit.method.pruning import count_parameters, prune_lower
from lirf_kit.pictures.figures import COOL, DPI, INK, PALE, WARM, plot_tsne

FORGOTTEN = -9.0  # a toy student's logit of a class that it has forgotten


def part_counts(data, deposit_classes):
    """Count how many images of each part `split_by_class` would deposit, and how many it would preserve.

    Parameters
    ----------
    data : Dataset
    deposit_classes : iterable of int

    Returns
    -------
    pandas.DataFrame
        The rows train, validation, test; the columns deposited and preserved.

    Raises
    ------
    LirfError
        If the classes can't be deposited.
    """
    chosen = torch.tensor(check_deposit_classes(deposit_classes, len(data.class_names)), device=data.labels.device)
    places = {"train": data.train_indices, "validation": data.validation_indices, "test": data.test_indices}
    deposited = {name: int(torch.isin(data.labels[indices], chosen).sum()) for name, indices in places.items()}
    preserved = {name: len(indices) - deposited[name] for name, indices in places.items()}
    return pandas.DataFrame({"deposited": deposited, "preserved": preserved})


def image_png(image, side):
    """Return one image, uint8 (C, H, W), enlarged to a square without smoothing, as the bytes of a PNG."""
    pixels, file = numpy.squeeze(image.cpu().permute(1, 2, 0).numpy()), io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def cut_table(network, image, split_after, keep):
    """Return what a deposit does with each block of a network if the cut comes after a certain stage.

    Parameters
    ----------
    network : SplitNetwork
        The original; it can be cut after any stage.
    image : torch.Tensor
        uint8, (1, C, H, W), used to measure the shapes.
    split_after : int
        n, the last stage of the lower blocks.
    keep : float
        The share of the lower blocks' parameters that the pruned module may keep.

    Returns
    -------
    pandas.DataFrame
        One row a block. Columns: "shape" of the block's output for the image, as (C, H, W) or (D,); "parameters";
        "target", which is "learns" or "frozen"; "module", the number of parameters in the module's pruned copy of the
        block, or 0 for the blocks that the module shares with the target.

    Raises
    ------
    LirfError
        If the network has no such stage, or `keep` is too small for these lower blocks.
    """
    lower = split(network, split_after).lower
    layers = network.layers
    blocks = [*layers[:-3], layers[-3:-1], layers[-1]]  # pooling is followed by a layer that only flattens
    stages = [f"stage {number}" for number in range(1, len(blocks) - 3)]
    names = ["normalise", "stem", *stages, "pooling", "classifier"]
    shapes, passed = [], image
    with torch.no_grad(), evaluation_mode(network):
        for block in blocks:
            passed = block(passed)
            shapes.append(tuple(passed.shape[1:]))
    kept = [count_parameters(block) for block in prune_lower(lower, keep)]
    above = len(blocks) - len(lower)
    columns = {
        "shape": shapes,
        "parameters": [count_parameters(block) for block in blocks],
        "target": ["learns"] * len(lower) + ["frozen"] * above,
        "module": kept + [0] * above,
    }
    return pandas.DataFrame(columns, names)


def softened(logits, deposit_classes, temperature):
    """Return the softmax of one image's logits at a temperature τ, over all classes, over g's and over ḡ's.

    Parameters
    ----------
    logits : torch.Tensor of shape (K,)
    deposit_classes : sequence of int
    temperature : float

    Returns
    -------
    pandas.DataFrame
        One row a class, by number; the columns "all", "g" and "ḡ". NaN for classes that g or ḡ drops.
    """
    cool, classes = logits[None].double() / temperature, list(deposit_classes)
    numbers = torch.arange(len(logits))[None]
    table = pandas.DataFrame({"all": cool.softmax(1)[0].numpy(), "g": numpy.nan, "ḡ": numpy.nan})
    for name, select in (("g", select_preserved), ("ḡ", select_deposited)):
        table.loc[select(numbers, classes)[0].tolist(), name] = select(cool, classes).softmax(1)[0].numpy()
    return table


def distillations(student, teacher, deposit_classes, temperature):
    """Return how far one image's student logits are from the teacher's: KD at τ over all classes, g's and ḡ's.

    Parameters
    ----------
    student, teacher : torch.Tensor of shape (K,)
    deposit_classes : sequence of int
    temperature : float

    Returns
    -------
    dict of str to float
        "all": KD over all classes, the distilled L_re; "g": L_kp; "ḡ": L_pt.
    """
    pair, classes = (student[None].double(), teacher[None].double()), list(deposit_classes)
    pairs = {
        "all": pair,
        "g": [select_preserved(logits, classes) for logits in pair],
        "ḡ": [select_deposited(logits, classes) for logits in pair],
    }
    return {name: float(distillation_loss(*both, temperature)) for name, both in pairs.items()}


def toy_students(logits, deposit_classes):
    """Return the logits, (K,), of three students to compare with a teacher's, by what each student is like."""
    forgot = logits.clone()
    forgot[list(deposit_classes)] = FORGOTTEN
    return {"knows nothing": torch.zeros_like(logits), "has forgotten": forgot, "is the original": logits}


class Backdrop:
    """A figure that is drawn once; artists added later are drawn on top of it, in a few hundredths of a second."""

    def __init__(self, figure):
        figure.set_facecolor("white")
        self._canvas = FigureCanvasAgg(figure)
        for _ in range(2):  # at the first drawing, the layout doesn't know the size of the panels yet
            self._canvas.draw()
        figure.set_layout_engine("none")  # otherwise the panels would move with each drawing
        self._canvas.draw()
        self._drawn = self._canvas.copy_from_bbox(figure.bbox)

    def png(self, moving):
        """Return the figure with these artists on top, as the bytes of a PNG."""
        self._canvas.restore_region(self._drawn)
        for artist in moving:
            artist.axes.draw_artist(artist)
        file = io.BytesIO()
        Image.fromarray(numpy.asarray(self._canvas.buffer_rgba())[..., :3]).save(file, "PNG", compress_level=1)
        return file.getvalue()


class SoftenedBars:
    """The original's softmax as bars and a student's as lines: over all classes, over g's and over ḡ's."""

    def __init__(self, names, deposit_classes):
        self.figure = figure = Figure(figsize=(9.6, 3.5), dpi=DPI)
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.2, top=0.82, wspace=0.08)
        given = [number in deposit_classes for number in range(len(names))]
        columns = {"all": [True] * len(names), "g": [not deposited for deposited in given], "ḡ": given}
        panels = dict(zip(columns, figure.subplots(1, 3, sharey=True, width_ratios=[1.3, 1, 1])))
        titles = "all classes", "$g$: the preserved, $L_{kp}$", "$\\bar{g}$: the deposited, $L_{pt}$"
        for title, (name, axes) in zip(titles, panels.items()):
            axes.set_title(title, fontsize=14, color=INK, pad=24)
            axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1.12), yticks=(0, 0.5, 1))
            axes.set_xticks(range(len(names)), names)
            axes.tick_params(labelsize=13, length=0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.spines[:].set_color(PALE)
            for number, there in enumerate(columns[name]):
                if not there:
                    axes.text(number, 0.03, "dropped", rotation=90, ha="center", fontsize=13, color="#666666")
        panels["all"].set_ylabel("softmax", fontsize=14)
        said = "bars: the original, striped where deposited · black lines: the student"
        figure.text(0.5, 0.03, said, ha="center", fontsize=13, color=INK)
        self._backdrop = Backdrop(figure)
        self._moving = {name: self._bars(axes, columns[name], given) for name, axes in panels.items()}

    @staticmethod
    def _bars(axes, there, given):
        """Return what changes in a panel: the loss, and for each class that is there a bar, a line, and a number."""
        loss = axes.text(0.5, 1.02, "", transform=axes.transAxes, ha="center", fontsize=14, color=INK)
        classes = {}
        for number in numpy.flatnonzero(there).tolist():
            colour, hatch = (WARM[0], "//") if given[number] else (COOL[0], "")
            (bar,) = axes.bar(number, 0, 0.8, color=colour, hatch=hatch, edgecolor="white")
            (line,) = axes.plot([number - 0.46, number + 0.46], [0, 0], color=INK, linewidth=3)
            said = axes.text(number, 0, "", ha="center", va="bottom", fontsize=13, color=INK)
            classes[number] = bar, line, said
        return loss, classes

    def png(self, teacher, student, terms):
        """Return the figure as the bytes of a PNG, for two `softened` tables and the `distillations` between them."""
        moving, few = [], len(teacher) <= 6
        for name, (loss, classes) in self._moving.items():
            loss.set_text(f"KD = {terms[name]:.3f}")
            for number, (bar, line, said) in classes.items():
                height, other = teacher.loc[number, name], student.loc[number, name]
                bar.set_height(height)
                line.set_ydata([other, other])
                said.set_text(f"{height:.3f}" if few else "")
                said.set_y(max(height, other) + 0.02)
            moving += [loss, *(artist for artists in classes.values() for artist in artists)]
        return self._backdrop.png(moving)


def point_table(embeddings, part, probabilities, place, neighbours=10):
    """Return what each network answers for one image, and how many of its neighbours in each panel are of its class.

    Parameters
    ----------
    embeddings : dict of str to numpy.ndarray
        (N, 2) for each panel's name.
    part : ImageData
        The N images.
    probabilities : dict of str to numpy.ndarray
        (N, K), each network's softmax, by the same names.
    place : int
        Which image of the part.
    neighbours : int
        The number of nearest points that are looked at.

    Returns
    -------
    pandas.DataFrame
        One row a network: "answer", the most probable class's name; its "probability" in percent; "neighbours", the
        number of nearest points in the panel that belong to the image's own class.
    """
    labels, rows = part.labels.cpu().numpy(), {}
    for name, points in embeddings.items():
        distances = numpy.linalg.norm(points - points[place], axis=1)
        distances[place] = numpy.inf
        nearest = distances.argsort(kind="stable")[:neighbours]
        best = int(probabilities[name][place].argmax())
        rows[name] = {
            "answer": part.class_names[best],
            "probability": 100 * float(probabilities[name][place][best]),
            "neighbours": int((labels[nearest] == labels[place]).sum()),
        }
    return pandas.DataFrame.from_dict(rows, orient="index")


def nearest_point(figure, embeddings, across, down):
    """Return which point is nearest to a spot of a drawn t-SNE figure, and its distance from there in pixels.

    The spot is given in shares from the figure's top left. Only the panel there counts; without one, the point is None.
    """
    spot = figure.transFigure.transform((across, 1 - down))
    for axes, points in zip(figure.axes, embeddings):
        if axes.bbox.contains(*spot):
            distances = numpy.linalg.norm(axes.transData.transform(points) - spot, axis=1)
            return int(distances.argmin()), distances.min()
    return None, numpy.inf


class RingedPanels:
    """`plot_tsne`'s panels, drawn once, with a ring around one image in each; the rings move quickly."""

    def __init__(self, embeddings, part):
        self.points = list(embeddings.values())
        self.figure = Figure(figsize=(3.4 * len(embeddings), 4.2), layout="constrained", dpi=DPI)
        plot_tsne(embeddings, part, figure=self.figure)
        self._backdrop = Backdrop(self.figure)
        halo = [patheffects.withStroke(linewidth=5, foreground="white")]
        self._rings = [
            axes.scatter([], [], s=260, facecolors="none", edgecolors=INK, linewidths=3, path_effects=halo)
            for axes in self.figure.axes
        ]

    def png(self, place):
        """Return the panels with a ring around one image, as the bytes of a PNG."""
        for ring, points in zip(self._rings, self.points):
            ring.set_offsets(points[place])
        return self._backdrop.png(self._rings)

    def spot(self, panel, place):
        """Return where an image's point is in the picture, as shares across and down from its top left."""
        axes = self.figure.axes[panel]
        pixel = axes.transData.transform(self.points[panel][place])
        across, up = self.figure.transFigure.inverted().transform(pixel).tolist()
        return across, 1 - up

    def nearest(self, across, down):
        """Return the image whose point is nearest to a spot of the picture; a spot in no panel raises a `LirfError`."""
        place, distance = nearest_point(self.figure, self.points, across, down)
        if place is None:
            raise LirfError("no panel was clicked: click a point, or near one, inside a frame")
        return place
