"""Small widgets for the notebooks, one idea each: which classes, where the cut, which temperature, which point.

They share parts with the explorer. `small_views` computes and draws what they show; each shows its own errors.
"""

import contextlib
import html

import numpy
import pandas
import torch

from lirf_kit.config import LirfError
from lirf_kit.data.partition import check_deposit_classes
from lirf_kit.method.networks import evaluation_mode, predict
from lirf_kit.widgets import small_drawings as drawings, small_views as views
from lirf_kit.widgets.controls import class_buttons, class_grid, pressed
from lirf_kit.widgets.drawings import moving
from lirf_kit.widgets.jobs import Calls
from lirf_kit.widgets.pieces import Knob, Panel, Picture, StoryView, ipywidgets, need_widgets
from lirf_kit.widgets.tabs import ImageChoice, table_html

TEMPERATURES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)


class _SmallPanel(Panel):
    """A frame with the message line at the bottom, and `table` as the text where widgets can't be shown."""

    def _build(self, kind, controls, *children):
        """Put the children above the message, and call `_show`, now and whenever one of the controls changes."""
        self.message = ipywidgets.HTML(layout={"width": "100%"})
        self._frame(*children, self.message)
        self.panel.add_class("lirf-small-widget").add_class(f"lirf-{kind}")
        for control in controls:
            control.observe(Calls(self._fail).safe(self._show), names="value")
        self._show()

    def _still(self, static):
        """Return a sentence, the table, and if widgets can't be shown some settings as an animated PNG."""
        said = f"{self.named}: run this cell in JupyterLab (make lab)."
        try:
            table = self.table
        except LirfError:  # the panel says why
            return said, None, None
        frames, (now, *others) = {}, self._settings()
        for setting in sorted({now, *others}) if static else ():
            with contextlib.suppress(LirfError):  # some settings may not be allowed
                frames[setting] = self._recorded(setting)
        if not frames:
            return said, table, None
        titles = "; ".join(figure.get_suptitle() for figure in frames.values())
        picture = moving(frames.values(), [2] * len(frames), still=list(frames).index(now))
        return said, table, (picture, f"{self.named}. Recorded, one after another: {titles}.")


class ClassPicker(_SmallPanel):
    """Choose what is deposited, class by class, and see how many images that is in each part.

    Put it last in a notebook's cell; the next cells can use its `deposit_classes`.

    Parameters
    ----------
    data : Dataset
    deposit_classes : iterable of int
        The classes that are chosen at first.

    Raises
    ------
    LirfError
        If the classes can't be deposited, or ipywidgets or anywidget is missing.
    """

    named = "The class picker"

    def __init__(self, data, deposit_classes=(0, 1, 2)):
        need_widgets("the class picker")
        self._data, chosen = data, check_deposit_classes(deposit_classes, len(data.class_names))
        self.buttons, self.pictures, grid = class_grid(data, chosen, 48)
        for picture, button in zip(self.pictures, self.buttons):
            picture.observe(lambda _, button=button: setattr(button, "value", not button.value), names="clicked")
        self.counts = ipywidgets.HTML()
        self._build("picker", self.buttons, grid, self.counts)

    @property
    def table(self):
        """The `part_counts` of the chosen classes."""
        return views.part_counts(self._data, self.deposit_classes)

    @property
    def deposit_classes(self):
        """The classes that are chosen now. None and all can be chosen, but `split_by_class` refuses them."""
        return pressed(self.buttons)

    def _settings(self):
        classes, chosen = tuple(range(len(self.buttons))), self.deposit_classes
        return chosen, chosen[:1], classes[: len(classes) // 2], classes[:-1]

    def _recorded(self, chosen):
        return drawings.plot_counts(self._data, chosen)

    def _show(self):
        try:
            counts = self.table
        except LirfError:
            self.counts.value = _parts_html(None)
            raise
        self.counts.value = _parts_html(counts)
        total = counts.sum()
        code = f"lk.split_by_class(data, {self.deposit_classes})"
        self._say(f"<code>{code}</code> deposits {total['deposited']:,} of {total.sum():,} images.")


def _parts_html(counts):
    """Return the parts' counts as a table with bars; without counts it has the same shape, with dashes."""
    shown = pandas.DataFrame("–", ["train", "validation", "test"], ["deposited", "preserved", "share", ""])
    if counts is not None:
        shares = 100 * counts["deposited"] / counts.sum(axis=1).clip(lower=1)
        bars = shares.map('<div class="lirf-bar"><div style="width: {:.1f}%"></div></div>'.format)
        shown = counts.map("{:,}".format).assign(share=shares.map("{:.1f} %".format)).assign(**{"": bars})
    return f'<div class="lirf-parts">{table_html(shown, escape=False)}</div>'


class CutSlider(_SmallPanel):
    """Move the cut, and see what learns, what is frozen, what the deposit module is made of, and what passes the cut.

    Parameters
    ----------
    original : SplitNetwork
        It isn't changed.
    images : torch.Tensor
        uint8, (N, C, H, W); the first image is used to measure the shapes.
    config : Config
        Reads `split_after`, where the cut is at first, and `keep`.
    """

    named = "What a deposit does with each block, and a slider that moves the cut"

    def __init__(self, original, images, config):
        need_widgets("the slider of the cut")
        self._original, self._image, self._keep = original, images[:1], config.keep
        self.slider = Knob(
            value=config.split_after, steps=[(str(n), n) for n in range(1, original.num_stages + 1)],
            description="split after", symbol="n", tooltip="n: the last stage of the lower blocks (split_after)",
        )  # fmt: skip
        self.blocks = ipywidgets.HTML(layout={"width": "100%"})
        self._build("cut", [self.slider], self.slider, self.blocks)

    @property
    def table(self):
        """The `cut_table` for the slider's position."""
        return views.cut_table(self._original, self._image, self.slider.value, self._keep)

    def _settings(self):
        return self.slider.value, *(n for _, n in self.slider.steps)

    def _recorded(self, after):
        return drawings.plot_cut(self._original, self._image, after, self._keep)

    def _show(self):
        table = self.table
        self.blocks.value = _blocks_html(table)
        learns, module = table["parameters"][table["target"] == "learns"].sum(), table["module"].sum()
        frozen = table["parameters"].sum() - learns
        channels, height, width = table["shape"][f"stage {self.slider.value}"]
        self._say(
            f"<b>{learns:,}</b> weights of the target learn, <b>{frozen:,}</b> are frozen; the module has "
            f"<b>{module:,}</b>. At the cut: {channels} × {height} × {width} = {channels * height * width:,} numbers "
            f"an image, an attention map of {height * width} position{'s' * (height * width > 1)}."
        )


def _blocks_html(table):
    """Return target and deposit module as two rows of blocks, with the cut between the lower and the upper ones."""
    lower = (table["target"] == "learns").sum()
    target = '<div class="owner"><b>target</b> T<br>shape<br>weights</div>'
    module = '<div class="owner"><b>module</b> T<sub>r</sub><br>weights</div>'
    for number, (name, block) in enumerate(table.iterrows(), start=1):
        gap = '<div class="cut" title="the cut"></div>' if number == lower else "<div></div>"
        shape = "×".join(map(str, block["shape"]))
        state = f"{block['parameters']:,}<br>{block['target']}" if block["parameters"] else "–<br>&nbsp;"
        target += f'<div class="{block["target"]}"><b>{name}</b><br>{shape}<br>{state}</div>{gap}'
        if block["target"] == "frozen":
            module += f'<div class="shared">the<br>target\'s</div>{gap}'
        else:
            kept = f"{block['module']:,}" if block["module"] else "–"
            module += f'<div class="learns"><b>{name}</b><br>{kept}</div>{gap}'
    columns = f"100px repeat({len(table)}, minmax(90px, 1fr) 16px)"
    return f'<div class="lirf-blocks" style="grid-template-columns: {columns}">{target}{module}</div>'


class TemperatureSlider(_SmallPanel):
    """Change the temperature, and see what the student is asked to copy: over all classes, g's, and ḡ's.

    Parameters
    ----------
    logits : sequence of float or torch.Tensor
        (K,), the original's, for one image. The default is the toy example that notebook 03 works out by hand.
    deposit_classes : sequence of int
        The classes that are deposited at first.
    temperature : float
        τ at first.
    names : sequence of str, optional
        The classes' names; by default their numbers.

    Raises
    ------
    LirfError
        If the classes can't be deposited, or ipywidgets or anywidget is missing.
    """

    named = "The original's softmax, and a slider that turns the temperature"

    def __init__(self, logits=(5.0, 3.0, 1.0, 2.0, 0.0), deposit_classes=(0, 1), temperature=1.0, names=None):
        need_widgets("the slider of the temperature")
        self._logits = torch.as_tensor(logits).detach().cpu().double()
        self._names = [str(name) for name in names or range(len(self._logits))]
        self.buttons = class_buttons(self._names, check_deposit_classes(deposit_classes, len(self._names)))
        steps = sorted({*TEMPERATURES, float(temperature)})
        self.slider = Knob(
            value=float(temperature), steps=[(f"{step:g}", step) for step in steps], description="temperature",
            symbol="τ", tooltip="τ: what the logits are divided by before the softmax (temperature)",
        )  # fmt: skip
        students, said = list(views.toy_students(self._logits, ())), "whose logits are compared"
        self.student = ipywidgets.Dropdown(options=students, description="the student", tooltip=said)
        self.panels = ipywidgets.HTML()
        classes = ipywidgets.HBox([ipywidgets.Label("deposited"), *self.buttons]).add_class("lirf-deposited")
        controls, turned = ipywidgets.HBox([self.slider, self.student]), [*self.buttons, self.slider, self.student]
        self._build("temperature", turned, controls, classes, self.panels)

    @property
    def table(self):
        """The `softened` logits of the original for the current settings."""
        return views.softened(self._logits, self._classes, self.slider.value).round(3)

    def _settings(self):
        return self.slider.value, 0.5, 1.0, 2.0, 4.0, 16.0

    def _recorded(self, temperature):
        shown = self._names, self.student.value
        return drawings.plot_softened(self._logits, self._classes, temperature, *shown)

    @property
    def terms(self):
        """The `distillations` for the current settings."""
        return views.distillations(self._student_logits, self._logits, self._classes, self.slider.value)

    @property
    def _classes(self):
        return check_deposit_classes(pressed(self.buttons), len(self._names))

    @property
    def _student_logits(self):
        return views.toy_students(self._logits, self._classes)[self.student.value]

    def _show(self):
        temperature = self.slider.value
        if not isinstance(temperature, (int, float)) or not temperature > 0:
            raise LirfError(f"temperature must be a number above 0, not {temperature!r}")
        terms = self.terms
        pair = [views.softened(logits, self._classes, temperature) for logits in (self._logits, self._student_logits)]
        said = (
            f"τ = {temperature:g}, a student that {self.student.value}: KD = {terms['all']:.3f} over all classes, "
            f"L_kp = {terms['g']:.3f} over g, L_pt = {terms['ḡ']:.3f} over ḡ."
        )
        self.panels.value = _softened_html(*pair, terms, self._names, self._classes, said)
        self._say(said)


def _softened_html(teacher, student, terms, names, deposit_classes, said):
    """Return three panels, over all classes, g's and ḡ's: bars are the teacher's softmax, lines the student's."""
    titles = {"all": "all classes", "g": "g: the preserved, L<sub>kp</sub>", "ḡ": "ḡ: the deposited, L<sub>pt</sub>"}
    panels = ""
    for column, title in titles.items():
        bars = ""
        for number, (name, high, other) in enumerate(zip(names, teacher[column], student[column])):
            bar = "<i>dropped</i>"
            if high == high:  # not NaN
                digits = f"{high:.3f}" if len(names) <= 6 else ""
                bar = f'<b style="height: {100 * high:.1f}%"></b><hr style="bottom: {100 * other:.1f}%">'
                bar += f'<span style="bottom: calc({100 * max(high, other):.0f}% + 3px)">{digits}</span>'
            kind = "deposited" if number in deposit_classes else "preserved"
            bars += f'<div class="{kind}"><div>{bar}</div>{html.escape(name)}</div>'
        panels += f"<section><h4>{title}</h4>KD = {terms[column]:.3f}<div>{bars}</div></section>"
    alt = html.escape(f"Three panels of bars, the original's softmax, and lines, the student's. {said}")
    key = "bars: the original, striped where deposited · lines: the student"
    return f'<div class="lirf-softened" role="img" aria-label="{alt}">{panels}<p>{key}</p></div>'


class PointTracker(_SmallPanel):
    """Follow one image through the t-SNE panels: click its point, or choose it by class and number.

    Parameters
    ----------
    embeddings : dict of str to numpy.ndarray
        (N, 2) for each panel's name, as `embed_networks` returns them.
    part : ImageData
        The N images.
    networks : dict of str to nn.Module
        By the same names; the widget shows what each one answers.
    place : int
        The image that has the ring at first.

    Raises
    ------
    LirfError
        If a panel has no network, if `part` has a different number of images or no image at `place`, or if ipywidgets
        or anywidget is missing.
    """

    named = "The point tracker, and what it says of the image that is ringed at first"

    def __init__(self, embeddings, part, networks, place=0):
        need_widgets("the point tracker")
        for name, points in embeddings.items():
            if name not in networks or len(points) != len(part):
                raise LirfError(f"networks and part must be those of the embeddings, but {name!r} doesn't fit")
        if not 0 <= place < len(part):
            raise LirfError(f"place must be from 0 to {len(part) - 1}, not {place}")
        self._embeddings, self._part = embeddings, part
        self._probabilities = {}
        for name in embeddings:
            with evaluation_mode(networks[name]):
                self._probabilities[name] = predict(networks[name], part.images).softmax(1).cpu().numpy()  # (N, K)
        options = [(part.class_names[number], number) for number in part.labels.unique().tolist()]
        self.choice = ImageChoice(options, Calls(self._fail).safe(self._by_hand))
        self.image = Picture(layout={"width": "120px", "height": "120px", "flex": "none"})
        self._table = ipywidgets.HTML()
        points = numpy.stack(list(embeddings.values())).astype(numpy.float32)  # (panels, N, 2)
        scene = {
            "classes": list(part.class_names), "given": list(part.deposit_classes or ()),
            "labels": part.labels.tolist(), "count": len(part), "epochs": 0,
        }  # fmt: skip
        self.maps = StoryView(  # a story's maps alone, with nothing before or after
            names=list(embeddings), scene=scene, frames=[{"epoch": 0}], places=points[0].tobytes(),
            tsne=points.tobytes(),
        )  # fmt: skip
        said = ipywidgets.HBox([self.image, self._table], layout={"align_items": "center", "min_height": "156px"})
        self.place = place
        self._build("tracker", [], self.choice.controls, said, self.maps)
        self.maps.observe(Calls(self._fail).safe(lambda change: self.show(change["new"])), names="picked")

    @property
    def table(self):
        """The `point_table` of the image that has the ring."""
        return views.point_table(self._embeddings, self._part, self._probabilities, self.place).round(1)

    def _settings(self):
        labels, given = self._part.labels.tolist(), self._part.deposit_classes or ()
        deposited = [place for place, label in enumerate(labels) if label in given]
        kept = [place for place, label in enumerate(labels) if label not in given and label != labels[self.place]]
        return self.place, *deposited[:1], *kept[:1], *kept[-1:]

    def _recorded(self, place):
        return drawings.plot_ring(self._embeddings, self._part, self._probabilities, place)

    def show(self, place):
        """Put the rings around an image of the part, in every panel, and set the controls to it."""
        self.place = place
        self._show()

    def _show(self):
        place = self.place
        self.choice.choose(self._part, place)
        number, name, table = self.choice.number.value, self._part.class_names[self.choice.label.value], self.table
        said = ", ".join(f"{network} says {row.answer}" for network, row in table.iterrows())
        self.image.alt = f"image {number} of class {name}"
        self.image.png = views.image_png(self._part.images[place], 120)
        shown = table.assign(
            answer=["✓ " + answer if answer == name else "✗ " + answer for answer in table["answer"]],
            probability=table["probability"].map("{:.1f} %".format),
            neighbours=table["neighbours"].map("{} of 10".format),
        )
        self._table.value = table_html(shown.rename(columns={"neighbours": f"neighbours of class {name}"}))
        self.maps.alt, self.maps.picked = f"A ring is around image {number} of class {name}: {said}.", place
        self._say(html.escape(f"Ringed: image {number} of class {name}; {said}."))

    def _by_hand(self):
        self.show(self.choice.place(self._part))
