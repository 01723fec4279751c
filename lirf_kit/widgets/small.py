"""Small widgets for the notebooks, one idea each: which classes, where the cut, which temperature, which point.

They are made of the explorer's pieces. What they compute and draw is in `widget_views`; each shows its own errors.
"""

import html

import torch

from lirf_kit.config import LirfError
from lirf_kit.data.partition import check_deposit_classes
from lirf_kit.pictures.figures import COOL, WARM
from lirf_kit.widgets.controls import sample_picture
from lirf_kit.widgets.pieces import Messages, Picture, ipywidgets, mime_bundle, need_widgets
from lirf_kit.widgets.small_views import (
    RingedPanels,
    SoftenedBars,
    class_probabilities,
    cut_table,
    distillations,
    image_png,
    part_counts,
    point_table,
    softened,
    toy_students,
)
from lirf_kit.widgets.tabs import STYLE, table_html

TEMPERATURES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)
OWN_STYLE = f"""<style>
.lirf-small-widget {{max-width: 1000px; padding: 8px; border: 1px solid var(--jp-border-color1); font-size: 16px}}
.lirf-small-widget .lirf-classes {{max-height: 240px}}
.lirf-small-widget .lirf-classes > .widget-vbox {{width: 94px}}
.lirf-small-widget .lirf-classes .widget-toggle-button {{width: 90px}}
.lirf-small-widget .lirf-classes img {{width: 48px; height: 48px}}
.lirf-small-widget .lirf-message code {{font-size: 16px}}
.lirf-small-widget .widget-hslider {{width: 420px}}
.lirf-small-widget .widget-dropdown {{width: 290px}}
.lirf-parts table {{border-collapse: collapse; font-size: 17px; color: var(--jp-ui-font-color1)}}
.lirf-parts td, .lirf-parts th {{padding: 4px 14px 4px 0; text-align: right; white-space: nowrap}}
.lirf-bar {{width: 380px; height: 22px; background: {COOL[0]}}}
.lirf-bar div {{height: 100%; background: repeating-linear-gradient(45deg, {WARM[0]} 0 7px, white 7px 9px)}}
.lirf-tracker .lirf-table {{margin-left: 40px}}
.lirf-blocks {{display: grid; align-items: stretch; color: var(--jp-ui-font-color1); font-size: 16px; margin: 6px 0}}
.lirf-blocks > div {{padding: 3px 0; line-height: 1.35; text-align: center; margin: 3px 0}}
.lirf-blocks .learns {{border-top: 8px solid {WARM[0]}; background: var(--jp-layout-color2)}}
.lirf-blocks .frozen {{border-top: 8px solid {COOL[0]}; background: var(--jp-layout-color2)}}
.lirf-blocks .shared {{border: 2px dashed var(--jp-border-color1); color: var(--jp-ui-font-color2)}}
.lirf-blocks .cut {{border-left: 5px dashed var(--jp-ui-font-color1); margin: 0 0 0 8px}}
.lirf-blocks .owner {{text-align: left; border-top: 8px solid transparent}}
</style>"""


class _Panel(Messages):
    """What the small widgets share: a frame, and below all else the line that says how things stand."""

    def _build(self, kind, *children):
        self.message = ipywidgets.HTML(layout={"width": "100%"})
        style = ipywidgets.HTML(STYLE + OWN_STYLE, layout={"height": "0", "margin": "0"})
        self.panel = ipywidgets.VBox([style, *children, self.message])
        for name in ("lirf", "lirf-small-widget", f"lirf-{kind}"):
            self.panel.add_class(name)

    def _repr_mimebundle_(self, **keywords):
        try:
            table = self.table
        except LirfError:  # the panel says why
            table = None
        return mime_bundle(self.panel, f"{self.named}: run this cell in JupyterLab (make lab).", table, **keywords)

    def _guarded(self, function, *arguments):
        """Call a callback's function, and show its error; an unexpected one with its traceback."""
        try:
            function(*arguments)
        except Exception as error:
            self._fail(error)

    def _follow(self, controls, function, names="value"):
        """Call a function, without arguments, whenever one of some controls was turned."""
        for control in controls:
            control.observe(lambda _: self._guarded(function), names=names)


def _class_buttons(names, chosen):
    """Return one toggle button a class; a chosen one is ticked."""
    buttons = []
    for number, name in enumerate(names):
        button = ipywidgets.ToggleButton(tooltip=f"deposit class {name} (D_r, deposit_classes)")
        button.observe(lambda _, button=button, name=name: _tick(button, name), names="value")
        button.value = number in chosen
        _tick(button, name)
        buttons.append(button)
    return buttons


def _tick(button, name):
    button.description = f"✓ {name}" if button.value else str(name)


def _chosen(buttons):
    """Return the numbers of the classes whose buttons are pressed."""
    return tuple(number for number, button in enumerate(buttons) if button.value)


class ClassPicker(_Panel):
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
        self._data = data
        names = data.class_names
        self.buttons = _class_buttons(names, check_deposit_classes(deposit_classes, len(names)))
        self.pictures = [self._picture(number, button) for number, button in enumerate(self.buttons)]
        grid = ipywidgets.HBox([ipywidgets.VBox(pair) for pair in zip(self.pictures, self.buttons)])
        grid.add_class("lirf-classes")
        self.counts = ipywidgets.HTML()
        self._build("picker", grid, self.counts)
        self._follow(self.buttons, self._show)
        self._show()

    def _picture(self, number, button):
        """Return a picture of a class; a click on it turns the class's button."""
        said = f"a training image of class {self._data.class_names[number]}"
        picture = Picture(
            png=sample_picture(self._data, number, 48), alt=said, layout={"width": "48px", "height": "48px"}
        )
        picture.observe(lambda _: setattr(button, "value", not button.value), names="clicked")
        return picture

    @property
    def table(self):
        """The `part_counts` of the chosen classes."""
        return part_counts(self._data, self.deposit_classes)

    @property
    def deposit_classes(self):
        """The classes that are chosen now; `split_by_class` refuses none and all of them."""
        return _chosen(self.buttons)

    def _show(self):
        try:
            counts = self.table
        except LirfError:
            self.counts.value = _parts_html(None)
            raise
        self.counts.value = _parts_html(counts)
        code = f"lk.split_by_class(data, {self.deposit_classes})"
        total = counts.sum()
        self._say(f"<code>{code}</code> deposits {total['deposited']:,} of {total.sum():,} images.")


def _parts_html(counts):
    """Return the counts of the parts as a table with bars; None, what there is to see of none, has the same shape."""
    rows = ""
    for name in ("train", "validation", "test"):
        if counts is None:
            rows += f"<tr><th>{name}</th><td>–</td><td>–</td><td>–</td><td><div style='height: 22px'></div></td></tr>"
            continue
        deposited, preserved = counts.loc[name]
        share = 100 * deposited / max(deposited + preserved, 1)
        bar = f'<div class="lirf-bar"><div style="width: {share:.1f}%"></div></div>'
        rows += (
            f"<tr><th>{name}</th><td>{deposited:,}</td><td>{preserved:,}</td><td>{share:.1f} %</td><td>{bar}</td></tr>"
        )
    head = "<tr><th></th><th>deposited</th><th>preserved</th><th>share deposited</th><th></th></tr>"
    return f'<div class="lirf-parts"><table>{head}{rows}</table></div>'


class CutSlider(_Panel):
    """Move the cut, and see what learns, what is frozen, what the deposit module is made of, and what passes the cut.

    Parameters
    ----------
    original : SplitNetwork
        Left as it is.
    images : torch.Tensor
        uint8, (N, C, H, W); the first one is what the shapes are measured with.
    config : Config
        Reads `split_after`, where the cut is at first, and `keep`.

    Raises
    ------
    LirfError
        If ipywidgets or anywidget is missing.
    """

    named = "What a deposit does with each block, and a slider that moves the cut"

    def __init__(self, original, images, config):
        need_widgets("the slider of the cut")
        self._original, self._image, self._keep = original, images[:1], config.keep
        self.slider = ipywidgets.IntSlider(
            config.split_after, 1, len(original.layers) - 5, description="n, split after",
            tooltip="n: the last stage of the lower blocks (split_after)",
        )  # fmt: skip
        self.blocks = ipywidgets.HTML(layout={"width": "100%"})
        self._build("cut", self.slider, self.blocks)
        self._follow([self.slider], self._show)
        self._show()

    @property
    def table(self):
        """The `cut_table` of where the slider stands."""
        return cut_table(self._original, self._image, self.slider.value, self._keep)

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
    last = [place for place, kind in enumerate(table["target"]) if kind == "learns"][-1]
    gaps = [
        '<div class="cut" title="the cut"></div>' if place == last else "<div></div>" for place in range(len(table))
    ]
    target = '<div class="owner"><b>target</b> T<br>shape<br>weights</div>'
    module = '<div class="owner"><b>module</b> T<sub>r</sub><br>weights</div>'
    for gap, (name, block) in zip(gaps, table.iterrows()):
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


class TemperatureSlider(_Panel):
    """Turn the temperature, and see what the student is asked to copy: over all classes, g's, and ḡ's.

    Parameters
    ----------
    logits : sequence of float or torch.Tensor
        (K,), the original's, of one image. The toy ones are the numbers that notebook 03 works out by hand.
    deposit_classes : sequence of int
        The classes that are deposited at first.
    temperature : float
        τ at first.
    names : sequence of str, optional
        Of the classes; else their numbers.

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
        self.buttons = _class_buttons(self._names, check_deposit_classes(deposit_classes, len(self._names)))
        steps = sorted({*TEMPERATURES, float(temperature)})
        self.slider = ipywidgets.SelectionSlider(
            options=[(f"{step:g}", step) for step in steps], value=float(temperature), description="τ temperature",
            tooltip="τ: what the logits are divided by before the softmax (temperature)",
        )  # fmt: skip
        self.student = ipywidgets.Dropdown(
            options=list(toy_students(self._logits, ())), description="the student", tooltip="whose logits are compared"
        )
        self.picture = Picture(layout={"width": "100%", "height": "340px"})
        classes = ipywidgets.HBox([ipywidgets.Label("deposited"), *self.buttons])
        classes.add_class("lirf-deposited")
        for button in self.buttons:
            button.layout.width = "62px"
        self._bars = None
        self._build("temperature", ipywidgets.HBox([self.slider, self.student]), classes, self.picture)
        self._follow(self.buttons, self._show_classes)
        self._follow([self.slider, self.student], self._show)
        self._show_classes()

    def _show_classes(self):
        self._bars = None  # what is dropped is drawn once for each choice
        self._show()

    @property
    def table(self):
        """The original's `softened` logits of where the controls stand."""
        return softened(self._logits, self._chosen(), self.slider.value).round(3)

    @property
    def terms(self):
        """The `distillations` of where the controls stand."""
        return distillations(self._students()[self.student.value], self._logits, self._chosen(), self.slider.value)

    def _chosen(self):
        return check_deposit_classes(_chosen(self.buttons), len(self._names))

    def _students(self):
        return toy_students(self._logits, self._chosen())

    def _show(self):
        terms, classes, temperature = self.terms, self._chosen(), self.slider.value
        pair = [
            softened(logits, classes, temperature) for logits in (self._logits, self._students()[self.student.value])
        ]
        self._bars = self._bars or SoftenedBars(self._names, classes)
        said = (
            f"τ = {temperature:g}, a student that {self.student.value}: KD = {terms['all']:.3f} over all classes, "
            f"L_kp = {terms['g']:.3f} over g, L_pt = {terms['ḡ']:.3f} over ḡ."
        )
        self.picture.alt = f"Three panels of bars, the original's softmax, and lines, the student's. {said}"
        self.picture.png = self._bars.png(*pair, terms)
        self._say(said)


class PointTracker(_Panel):
    """Follow one image through the t-SNE panels: click its point, or choose it by class and number.

    Parameters
    ----------
    embeddings : dict of str to numpy.ndarray
        (N, 2) for each panel's name, as `embed_networks` returns them.
    part : ImageData
        The N images.
    networks : dict of str to nn.Module
        By the same names: what each answers is said.
    place : int
        Which image is ringed at first.

    Raises
    ------
    LirfError
        If a panel's network or an image is missing, or ipywidgets or anywidget.
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
        self._labels = part.labels.cpu()
        self._probabilities = class_probabilities({name: networks[name] for name in embeddings}, part)
        self.panels = RingedPanels(embeddings, part)
        there = self._labels.unique().tolist()
        self.label = ipywidgets.Dropdown(
            options=[(str(part.class_names[number]), number) for number in there], description="class",
            tooltip="the image's true class",
        )  # fmt: skip
        self.number = ipywidgets.IntSlider(0, 0, 0, description="image", tooltip="which image of the class")
        self.image = Picture(layout={"width": "120px", "height": "120px", "flex": "none"})
        self._table = ipywidgets.HTML()
        self.picture = Picture(layout={"width": "100%", "height": "392px"})
        controls = ipywidgets.HBox([self.label, self.number])
        said = ipywidgets.HBox([self.image, self._table], layout={"align_items": "center", "height": "156px"})
        self._build("tracker", controls, said, self.picture)
        self._moving = False
        self._follow([self.label], self._class_chosen)
        self._follow([self.number], self._number_chosen)
        self._follow([self.picture], self._clicked, names="clicked")
        self.show(place)

    @property
    def table(self):
        """The `point_table` of the ringed image."""
        return point_table(self._embeddings, self._part, self._probabilities, self.place).round(1)

    def show(self, place):
        """Ring an image of the part in every panel, and turn the controls to it."""
        label = int(self._labels[place])
        same = (self._labels == label).nonzero().flatten().tolist()
        self._moving = True
        try:
            self.label.value, self.number.max, self.number.value = label, len(same) - 1, same.index(place)
        finally:
            self._moving = False
        self.place = place
        name, table = self._part.class_names[label], self.table
        said = ", ".join(f"{network} says {row.answer}" for network, row in table.iterrows())
        self.image.alt = f"image {self.number.value} of class {name}"
        self.image.png = image_png(self._part.images[place], 120)
        ticks = ["✓" if answer == name else "✗" for answer in table["answer"]]
        shown = table.assign(answer=[f"{tick} {answer}" for tick, answer in zip(ticks, table["answer"])])
        shown["probability"] = [f"{share:.1f} %" for share in table["probability"]]
        shown["neighbours"] = [f"{count} of 10" for count in table["neighbours"]]
        self._table.value = table_html(shown.rename(columns={"neighbours": f"neighbours of class {name}"}))
        self.picture.alt = f"Three t-SNE panels with a ring around image {self.number.value} of class {name}: {said}."
        self.picture.png = self.panels.png(place)
        self._say(html.escape(f"Ringed: image {self.number.value} of class {name}; {said}."))

    def _class_chosen(self):
        if not self._moving:
            self.show(int((self._labels == self.label.value).nonzero()[0]))

    def _number_chosen(self):
        if not self._moving:
            self.show(int((self._labels == self.label.value).nonzero()[self.number.value]))

    def _clicked(self):
        across, down, _ = self.picture.clicked
        self.show(self.panels.nearest(across, down))
