"""The drawings of the method that the notebooks show: boxes and arrows, in the figures' colours, on a white card.

A length is in inches, so that text has the same size in every drawing.
"""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from lirf_kit.pictures.figures import COOL, INK, WARM, writable_folder, written_together

TARGET, MODULE, RECOVERED, FROZEN = COOL[0], WARM[0], COOL[2], "#6B6B6B"
WIDTH = 9.0  # of every drawing: as wide as a notebook's text
SMALL, NORMAL, LARGE = 10, 11.5, 13


def draw_path():
    """Draw deposit and withdrawal: one network becomes two, and two become one again."""
    axes = _card(3.3)
    _box(axes, 0.2, 1.35, 1.7, 0.75, "original", INK)
    _box(axes, 3.75, 2.3, 1.9, 0.75, "target", TARGET)
    _box(axes, 3.75, 0.4, 1.9, 0.75, "deposit module", MODULE)
    _box(axes, 7.0, 1.35, 1.8, 0.75, "recovered", RECOVERED)
    _box(axes, 2.0, 0.12, 1.3, 0.55, "deposit set:\nimages of 0, 1, 2", MODULE, size=SMALL, line=":")
    for x, y, known, lacking in (
        (1.05, 1.2, range(10), ()),
        (7.9, 1.2, range(10), ()),
        (4.7, 2.15, range(3, 10), range(3)),
    ):
        _digits(axes, x, y, known, lacking)
    _digits(axes, 4.7, 0.25, range(3), ())
    _arrow(axes, (1.95, 1.85), (3.7, 2.65), TARGET)
    _arrow(axes, (1.95, 1.6), (3.7, 0.8), MODULE)
    _arrow(axes, (2.65, 0.7), (2.65, 1.45), MODULE)
    _text(axes, 2.65, 1.72, "deposit", LARGE, weight="bold", box=True)
    _arrow(axes, (5.7, 2.65), (6.95, 1.85), TARGET)
    _arrow(axes, (5.7, 0.8), (6.95, 1.6), MODULE)
    _text(axes, 6.3, 1.72, "withdraw", LARGE, weight="bold", box=True)
    _text(axes, 7.9, 0.8, "no data, no training", SMALL)
    return axes.figure


def draw_cut():
    """Draw a network's layers from left to right, and the cut that divides them into lower and upper blocks."""
    axes = _card(3.0)
    layers = [
        ("normalise", "1, 8, 8"), ("stem", "16, 8, 8"), ("stage 1", "16, 8, 8"), ("stage 2", "32, 4, 4"),
        ("stage 3", "64, 2, 2"), ("average", "64"), ("classifier", "10"),
    ]  # fmt: skip
    places = [0.9 + 1.02 * number + 0.4 * (number > 4) for number in range(len(layers))]
    ends = [0.72, *(place + 0.86 for place in places)]
    for x, end, (name, shape) in zip(places, ends, layers):
        _box(axes, x, 1.1, 0.86, 0.75, name, FROZEN if x > places[4] else TARGET, size=SMALL)
        _text(axes, x + 0.43, 0.88, f"({shape})", SMALL)
        _arrow(axes, (end + 0.01, 1.47), (x - 0.01, 1.47), INK)
    _text(axes, 0.4, 1.47, "images", SMALL)
    _arrow(axes, (ends[-1] + 0.01, 1.47), (ends[-1] + 0.18, 1.47), INK)
    _text(axes, ends[-1] + 0.42, 1.47, "logits", SMALL)
    cut = (ends[5] + places[5]) / 2
    axes.plot([cut, cut], [0.55, 2.8], color=MODULE, linewidth=2, linestyle=(0, (4, 2)))
    _text(axes, cut, 0.35, "the cut: split_after = 3", NORMAL, MODULE, weight="bold")
    _bracket(axes, places[0], ends[5], 2.0, "lower blocks:\nimages to features", TARGET)
    _bracket(axes, places[5], ends[7], 2.0, "upper blocks:\nfeatures to logits", FROZEN)
    return axes.figure


def draw_custody():
    """Draw the three steps as rooms: what is brought in, what is made there, and what stays outside."""
    axes = _card(4.1)
    images = {"deposit set": MODULE, "preservation set": TARGET}
    networks = {"original": INK, "target": TARGET, "deposit module": MODULE, "recovered": RECOVERED}
    rooms = {
        "train": (["deposit set", "preservation set"], ["original"], "test images"),
        "deposit": (["original", "deposit set"], ["target", "deposit module"], "preservation set, test images"),
        "withdraw": (["target", "deposit module"], ["recovered"], "every image"),
    }
    for place, (step, (given, made, outside)) in enumerate(rooms.items()):
        left = 0.15 + 2.97 * place
        walls = "round,pad=0,rounding_size=0.1"
        axes.add_patch(FancyBboxPatch((left, 0.95), 2.7, 2.95, walls, fc="#F6F6F6", ec=INK, lw=1.5))
        _text(axes, left + 1.35, 3.65, step, LARGE, weight="bold")
        for number, name in enumerate(given):
            colour, line = (images | networks)[name], ":" if name in images else "-"
            _box(axes, left + 0.45, 2.95 - 0.52 * number, 1.8, 0.42, name, colour, line=line)
        _arrow(axes, (left + 1.35, 2.4), (left + 1.35, 2.08), INK)
        for number, name in enumerate(made):
            _box(axes, left + 0.45, 1.63 - 0.52 * number, 1.8, 0.42, name, networks[name])
        _text(axes, left + 1.35, 0.7, "stays outside:", SMALL)
        _box(axes, left + 0.1, 0.2, 2.5, 0.34, outside, FROZEN, line=":", size=SMALL)
    return axes.figure


def draw_gradients():
    """Draw the three ways through the shared upper blocks, the terms of the loss, and where their gradients arrive."""
    axes = _card(5.1)
    rows = {
        "target's\nlower blocks": (4.0, TARGET),
        "original's\nlower blocks": (2.3, FROZEN),
        "deposit\nmodule": (0.6, MODULE),
    }
    _text(axes, 0.4, 2.65, "deposit\nimages", NORMAL)
    for name, (y, colour) in rows.items():
        middle, learns = y + 0.35, colour != FROZEN
        _arrow(axes, (0.8, 2.65), (1.3, middle), INK)
        _box(axes, 1.35, y, 1.45, 0.7, name, colour, line="-" if learns else "--")
        _text(axes, 2.07, y + 0.85 if y > 1 else y - 0.15, "learns" if learns else "frozen", SMALL, colour)
        _arrow(axes, (2.85, middle), (3.5, middle), INK)
        _text(axes, 3.95, middle, "features", NORMAL)
        _arrow(axes, (4.4, middle), (5.1, middle), INK)
        _box(axes, 5.15, y, 1.45, 0.7, "upper blocks\n(frozen, shared)", FROZEN, line="--", size=SMALL)
        _arrow(axes, (6.65, middle), (7.35, middle), INK)
        _text(axes, 7.7, middle, "logits", NORMAL)
    for x in (3.95, 7.7):
        axes.plot([x, x], [0.6 + 0.5, 4.0 + 0.2], color=INK, linewidth=1.4, linestyle=":", zorder=0)
        axes.text(x, 2.65, " ", bbox={"fc": "white", "ec": "none"}, size=LARGE)
    for y, colour, entry, way, terms in (
        (3.35, TARGET, 3.97, 3.86, (r"$L_{at},\ L_{cs}$", r"$L_{kr},\ L_{kp},\ L_{os}$")),
        (1.95, MODULE, 1.33, 1.44, (r"$L_{re}$", r"$L_{pt}$")),
    ):
        for x, name in zip((3.95, 7.7), terms):
            _text(axes, x, y, name, LARGE, colour, box=True)
        _arrow(axes, (3.95, y), (1.8, entry), colour, line="--")
        axes.plot([7.7, 6.8, 2.72], [y, way, way], color=colour, linestyle="--", linewidth=1.8)
        _arrow(axes, (2.72, way), (2.45, entry), colour, line="--")
    legend = "solid: computed      dotted: compared      dashed: where the gradient of a term arrives"
    _text(axes, 4.5, 0.13, legend, SMALL)
    return axes.figure


def draw_merge():
    """Draw the merge of the logits: three columns from the module, seven from the target."""
    axes = _card(3.5)
    rows = {"target's logits": (2.55, TARGET), "module's logits": (1.75, MODULE), "recovered": (0.5, RECOVERED)}
    for name, (y, colour) in rows.items():
        _text(axes, 1.75, y + 0.25, name, NORMAL, colour, align="right", weight="bold")
        for number in range(10):
            from_module = number < 3
            used = name == "recovered" or from_module == (colour == MODULE)
            source = MODULE if from_module else TARGET
            _box(axes, 2.0 + 0.62 * number, y, 0.54, 0.5, str(number), source if used else "#BBBBBB",
                 size=NORMAL, line="-" if used else ":", fill=used)  # fmt: skip
            if used and name != "recovered":
                x = 2.27 + 0.62 * number
                _arrow(axes, (x, y - 0.02), (x, 1.03), colour, behind=True)
    _text(axes, 2.9, 3.25, "deposit classes", NORMAL, MODULE)
    _text(axes, 5.95, 3.25, "preserved classes", NORMAL, TARGET)
    _text(axes, 5.07, 0.22, "one formula for every image; dotted logits are not used", SMALL)
    return axes.figure


def draw_bank():
    """Draw a bank: one target, several deposit modules, and one set of upper blocks that reads all of them out."""
    axes = _card(3.9)
    _box(axes, 1.15, 2.85, 2.2, 0.65, "target's lower blocks", TARGET)
    modules = {"module for 0, 1": (1.95, True), "module for 2": (1.15, True), "module for 8, 9": (0.35, False)}
    _text(axes, 0.4, 2.2, "images", NORMAL)
    _arrow(axes, (0.75, 2.2), (1.12, 3.15), INK)
    _box(axes, 5.0, 1.5, 1.6, 1.35, "upper blocks\n\nfrozen, shared", FROZEN, line="--")
    _arrow(axes, (3.4, 3.17), (4.95, 2.65), TARGET)
    for name, (y, plugged) in modules.items():
        colour = MODULE if plugged else "#8C8C8C"
        _box(axes, 1.15, y, 2.2, 0.55, name, colour, line="-" if plugged else ":", fill=plugged)
        if plugged:
            _arrow(axes, (0.75, 2.2), (1.12, y + 0.28), INK)
            _arrow(axes, (3.4, y + 0.28), (4.95, 2.3 if y > 1.5 else 1.9), colour)
        else:
            _text(axes, 3.5, y + 0.27, "in the drawer: 8 and 9 stay forgotten", SMALL, FROZEN, align="left")
    _arrow(axes, (6.65, 2.18), (7.05, 2.18), INK)
    _text(axes, 8.0, 2.85, "who answers", NORMAL, weight="bold")
    _text(axes, 8.0, 2.18, "3 to 7: the target\n0 and 1: their module\n2: its module\n8 and 9: never", NORMAL)
    return axes.figure


DIAGRAMS = {  # name: (function, what somebody who can't see the picture needs to know)
    "path": (
        draw_path,
        "The path from left to right. The original knows the digits 0 to 9. The deposit sees it and the deposit set, "
        "images of 0, 1 and 2, and makes two networks: the target, which knows 3 to 9, and the deposit module, which "
        "holds 0, 1 and 2. The withdrawal joins these two, without data and without training, into the recovered "
        "network, which knows 0 to 9 again.",
    ),
    "cut": (
        draw_cut,
        "A network as a row of layers with the shape of what each returns: normalise (1, 8, 8), stem (16, 8, 8), "
        "stage 1 (16, 8, 8), stage 2 (32, 4, 4), stage 3 (64, 2, 2), average (64) and classifier (10). The cut comes "
        "after stage 3. What is before it are the lower blocks, from images to features; what is after it are the "
        "upper blocks, from features to logits.",
    ),
    "custody": (
        draw_custody,
        "Three rooms. Train is given the deposit set and the preservation set, and makes the original; the test images "
        "stay outside. Deposit is given the original and the deposit set, and makes the target and the deposit module; "
        "the preservation set and the test images stay outside. Withdraw is given the target and the deposit module, "
        "and makes the recovered network; every image stays outside.",
    ),
    "gradients": (
        draw_gradients,
        "Deposit images go three ways: through the target's lower blocks, the original's and the deposit module, each "
        "followed by the same frozen upper blocks. Target and module learn, the original is frozen. The terms L_at and "
        "L_cs look at features, and L_kr, L_kp and L_os at logits; their gradients arrive at the target's lower "
        "blocks. L_re compares features and L_pt logits; their gradients arrive at the deposit module. No term pulls "
        "on both.",
    ),
    "merge": (
        draw_merge,
        "Three rows of ten logits. The recovered network takes the logits 0, 1 and 2 from the deposit module's row and "
        "the logits 3 to 9 from the target's row. The other logits of these two rows are not used.",
    ),
    "bank": (
        draw_bank,
        "A bank. Images go through the target's lower blocks and through the deposit modules that are plugged in, one "
        "for the digits 0 and 1 and one for the digit 2. The same frozen upper blocks read all of them out. A third "
        "module, for 8 and 9, stays in the drawer, so these two stay forgotten.",
    ),
}


def write_diagrams(folder):
    """Write all drawings as SVG, each with its description inside; return the paths.

    A `LirfError` is raised if the folder can't be made or written to.
    """
    folder, written = writable_folder(folder), []
    for name, (draw, alt) in DIAGRAMS.items():
        about = {"Date": None, "Title": name, "Description": alt}
        outlined = {"svg.hashsalt": name, "svg.fonttype": "path"}  # a browser's own font would not fit the boxes
        with written_together(folder, f"the drawing {name}") as beside, matplotlib.rc_context(outlined):
            draw().savefig(beside / f"{name}.svg", metadata=about)
        written.append(folder / f"{name}.svg")
    return written


def _card(height):
    """Return axes that fill a white card; their unit is the inch."""
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    return axes


def _box(axes, x, y, width, height, text, colour, size=NORMAL, line="-", fill=True):
    """Draw a box with a text in its middle, from its lower left corner."""
    shade = matplotlib.colors.to_rgba(colour, 0.12) if fill else "white"
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x, y), width, height, shape, fc="white", ec="none"))
    axes.add_patch(FancyBboxPatch((x, y), width, height, shape, fc=shade, ec=colour, lw=1.6, linestyle=line))
    _text(axes, x + width / 2, y + height / 2, text, size, INK)


def _text(axes, x, y, text, size, colour=INK, weight="normal", align="center", box=False):
    """Write a text around a point; in a box, it hides what is behind it."""
    around = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": colour, "lw": 1.2} if box else None
    axes.text(x, y, text, size=size, color=colour, weight=weight, ha=align, va="center", bbox=around, zorder=5)


def _arrow(axes, start, end, colour, line="-", bend=0.0, behind=False):
    """Draw an arrow; `bend` is how far it is from straight, as a share of its length."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=12, lw=1.8, color=colour, linestyle=line, shrinkA=0, shrinkB=0,
            connectionstyle=f"arc3,rad={bend}", zorder=0 if behind else 3,
        )
    )  # fmt: skip


def _bracket(axes, left, right, y, text, colour):
    """Draw a bracket above some boxes, with a text over it."""
    axes.plot([left, left, right, right], [y, y + 0.12, y + 0.12, y], color=colour, linewidth=1.8)
    _text(axes, (left + right) / 2, y + 0.45, text, NORMAL, colour, weight="bold")


def _digits(axes, x, y, known, lacking):
    """Write the digits that a network knows, and cross out those that it has forgotten."""
    every = sorted([*known, *lacking])
    for place, digit in enumerate(every):
        at = x + 0.17 * (place - (len(every) - 1) / 2)
        _text(axes, at, y, str(digit), NORMAL, INK if digit in known else "#999999")
        if digit in lacking:
            axes.plot([at - 0.07, at + 0.07], [y - 0.08, y + 0.08], color=MODULE, linewidth=1.5, zorder=6)
