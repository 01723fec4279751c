"""Slides for class, at 16:9: the drawings of the method and two figures, each with a title and a sentence to say."""

import io
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.image import imread

from lirf_kit.config import LirfError
from lirf_kit.pictures.diagrams import DIAGRAMS
from lirf_kit.pictures.figures import INK, writable_folder, written_together

SIZE, DPI = (16.0, 9.0), 120  # inches and dots per inch: 1920 by 1080
SLIDES = {  # name: (title, sentence); a drawing, or else the name of a figure's file
    "path": ("Forgetting that can be taken back", "The knowledge is not thrown away. It moves into a module."),
    "custody": ("Who may see what", "A deposit never sees the other images. A withdrawal sees no image at all."),
    "cut": ("Where the network is cut", "The lower blocks learn to forget. The upper blocks stay as they are."),
    "gradients": ("Which term trains what", "No term of the loss pulls on both networks."),
    "merge": ("One formula for every image", "Nobody tells the network which kind of image it is looking at."),
    "bank": ("More than one deposit", "Each module brings its own classes back. The others stay in the drawer."),
    "tsne-outside-digits": (
        "The answers are gone. Is the knowledge?",
        "This target answers no 0, 1 or 2 right, and its features still keep them on three islands.",
    ),
    "tsne-digits": (
        "Forgetting inside",
        "With the class scatter in the loss, the three islands run together. The module brings them back.",
    ),
}  # fmt: skip


def write_slides(figures, folder):
    """Write every slide as a PNG, and all of them as one PDF; return the paths.

    `figures` is the folder with the kit's figures, as ``python -m lirf_kit figures`` writes them. A `LirfError` is
    raised if one of them is missing or can't be read, or if `folder` can't be written to.
    """
    slides = {name: _slide(_picture(name, Path(figures)), *words) for name, words in SLIDES.items()}
    folder = writable_folder(folder)
    names = [f"{number}-{name}.png" for number, name in enumerate(slides, 1)]
    undated = {"CreationDate": None}
    with written_together(folder, "the slides") as beside, PdfPages(beside / "slides.pdf", metadata=undated) as pages:
        for file, slide in zip(names, slides.values()):
            slide.savefig(beside / file, metadata={"Software": None})
            pages.savefig(slide)
    return [folder / file for file in [*names, "slides.pdf"]]


def _picture(name, figures):
    """Return a drawing or a saved figure as pixels, (height, width, 4)."""
    if name in DIAGRAMS:
        pixels = io.BytesIO()
        DIAGRAMS[name][0]().savefig(pixels, format="png", dpi=200)
        return imread(io.BytesIO(pixels.getvalue()))
    file = figures / f"{name}.png"
    try:
        return imread(file)
    except (OSError, SyntaxError) as error:  # pillow raises SyntaxError for a damaged PNG
        raise LirfError(f"figures must hold {file.name}, but {file} can't be read; make figures writes it") from error


def _slide(picture, title, sentence):
    """Return a slide: a title, the picture as large as it can be, and a sentence below."""
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    figure.text(0.05, 0.91, title, size=36, weight="bold", color=INK, va="center")
    axes = figure.add_axes((0.05, 0.14, 0.9, 0.7))
    axes.imshow(picture, interpolation="lanczos")
    axes.set_axis_off()
    figure.text(0.5, 0.07, sentence, size=21, color=INK, ha="center", va="center")
    return figure
