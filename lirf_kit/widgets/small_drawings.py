"""What the small widgets show where nothing can be turned: one of their settings as a figure, a frame of a recording.

The letters can be read on a phone. `small_views` computes what is drawn, as for the live widgets.
"""

import numpy
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lirf_kit.pictures.figures import COOL, INK, MOST_NAMED, PALE, WARM, plot_tsne
from lirf_kit.widgets import small_views as views

GIVEN = {"facecolor": WARM[0], "hatch": "//", "edgecolor": "white"}  # of what is deposited, or learns
KEPT = {"facecolor": COOL[0]}


def _frame(title, height):
    """Return an empty figure with a title, as wide as all others; the height is in inches."""
    figure = Figure(figsize=(6.4, height), layout="constrained", dpi=80)  # 512 pixels wide
    figure.suptitle(title, fontsize=17, color=INK)
    return figure


def _key(figure, **kinds):
    """Add a legend below everything: the style of each kind."""
    handles = [Patch(label=name.replace("_", " "), **style) for name, style in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=14)


def _bare(axes):
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=14)
    return axes


def _show(axes, image):
    """Draw one image, uint8 (C, H, W)."""
    axes.imshow(views.image_pixels(image), cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])


def plot_counts(data, chosen):
    """Draw what is deposited if some classes are chosen: an image of each class, and the images in each part."""
    counts, names, train = views.part_counts(data, chosen), data.class_names, data.train
    listed = " ".join(names[number] for number in chosen) if len(chosen) < MOST_NAMED else f"{len(chosen)} classes"
    figure = _frame(f"deposited: {listed}", 3.4)
    top, below = figure.subfigures(2, 1, height_ratios=[1, 2])
    for number, axes in enumerate(top.subplots(1, min(len(names), MOST_NAMED))):
        _show(axes, train.images[(train.labels == number).to(train.images.device)][0])
        axes.spines[:].set(color=WARM[0] if number in chosen else PALE, linewidth=5)
        axes.set_xlabel(names[number], fontsize=15, color=INK, weight="bold" if number in chosen else "normal")
    axes, totals = _bare(below.subplots()), counts.sum(axis=1)
    axes.barh(counts.index, counts["deposited"], **GIVEN)
    axes.barh(counts.index, counts["preserved"], left=counts["deposited"], **KEPT)
    for name, total in totals.items():
        given = counts.loc[name, "deposited"]
        axes.text(total, name, f"  {given:,} of {total:,}: {given / total:.0%}", va="center", fontsize=14, color=INK)
    axes.set(xlim=(0, 1.5 * totals.max()), xticks=[])
    axes.invert_yaxis()
    _key(figure, deposited=GIVEN, preserved=KEPT)
    return figure


def plot_cut(network, image, split_after, keep):
    """Draw the weights of each block of target and deposit module if the cut comes after some stage."""
    table = views.cut_table(network, image, split_after, keep)
    figure, lower = _frame(f"the cut after stage {split_after}", 3.9), (table["target"] == "learns").sum()
    axes, places = _bare(figure.subplots()), numpy.arange(len(table))
    for place, (own, state, module) in enumerate(table[["parameters", "target", "module"]].to_numpy()):
        axes.barh(place - 0.2, own, 0.36, **(GIVEN if state == "learns" else KEPT))
        axes.barh(place + 0.2, module, 0.36, color=COOL[2])
        said = f"{own:,}" + (f" · {module:,}" if module else "") if own else "–"
        axes.text(max(own, module), place, f"  {said}", va="center", fontsize=14, color=INK)
    axes.axhline(lower - 0.5, color=INK, linestyle="--", linewidth=2)
    shapes = ["×".join(map(str, shape)) for shape in table["shape"]]
    axes.set_yticks(places, [f"{name} · {shape}" for name, shape in zip(table.index, shapes)])
    axes.set(xlim=(0, 1.8 * table["parameters"].max()), ylim=(len(table) - 0.5, -0.5), xticks=[])
    axes.set_title("weights: target · module", fontsize=14, color=INK)
    _key(figure, target_learns=GIVEN, target_is_frozen=KEPT, module={"facecolor": COOL[2]})
    return figure


def plot_softened(logits, deposit_classes, temperature, names, student):
    """Draw what the student is asked to copy at a temperature, over all classes, g's and ḡ's, and what it says."""
    own = views.toy_students(logits, deposit_classes)[student]
    teacher, other = (views.softened(each, deposit_classes, temperature) for each in (logits, own))
    terms = views.distillations(own, logits, deposit_classes, temperature)
    figure = _frame(f"temperature {temperature:g}, the student {student}", 3.4)
    titles, named = {"all": "all classes", "g": "g: preserved", "ḡ": "ḡ: deposited"}, len(names) <= MOST_NAMED
    for axes, (column, title) in zip(figure.subplots(1, 3, sharey=True), titles.items()):
        for number, (high, low) in enumerate(zip(teacher[column], other[column])):
            if numpy.isnan(high):
                axes.text(number, 0.03, "dropped" if named else "", rotation=90, ha="center", fontsize=13, color=INK)
                continue
            axes.bar(number, high, **(GIVEN if number in deposit_classes else KEPT))
            axes.plot([number - 0.5, number + 0.5], [low, low], color=INK, linewidth=4)
        axes.set_xticks(*(range(len(names)), names) if named else [[]])
        _bare(axes).set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1.02), yticks=[0, 0.5, 1])
        axes.set_title(f"{title}\nKD = {terms[column]:.3f}", fontsize=15, color=INK)
    _key(figure, deposited=GIVEN, preserved=KEPT, student={"facecolor": INK})
    return figure


def plot_ring(embeddings, part, probabilities, place):
    """Draw the panels with a ring around one image, and what each network answers for it."""
    label, table = int(part.labels[place]), views.point_table(embeddings, part, probabilities, place)
    figure = _frame(f"ringed: this image of class {part.class_names[label]}", 4.5)
    plot_tsne(embeddings, part, figure=figure)
    for axes, points, (panel, row) in zip(figure.axes, embeddings.values(), table.iterrows()):
        axes.scatter(*points[place], s=260, facecolors="none", edgecolors=INK, linewidths=2.5, zorder=9)
        axes.set_title(f"\n{panel}", fontsize=14, color=INK, pad=10)
        right = "✓" if row["answer"] == part.class_names[label] else "✗"
        said = f"{right} says {row['answer']}, {row['probability']:.0f} %"
        axes.set_xlabel(f"{said}\n{row['neighbours']} of 10 neighbours\nof its class")
        axes.xaxis.label.set(fontsize=13, color=INK)
    _show(figure.add_axes([0.01, 0.86, 0.1, 0.13]), part.images[place])
    return figure
