"""The explorer's controls: what is deposited, and the knobs, each with the paper's symbol and what it does."""

import re
from typing import get_args

from lirf_kit.config import Config, LirfError
from lirf_kit.data.partition import check_deposit_classes
from lirf_kit.widgets.exploring import EXPLORED, recipes
from lirf_kit.widgets.pieces import Knob, Picture, ipywidgets, toggle, unobserved
from lirf_kit.widgets.small_views import image_png

FIRST = ("lambda_cs", "lambda_at", "lambda_kp", "keep", "bits", "deposit_epochs")  # the others are under “more”
WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 30.0, 100.0, 300.0, 1000.0)
OFF = 1e9  # a gradient limit that never applies
STEPS = dict.fromkeys(
    ("lambda_at", "lambda_cs", "lambda_kp", "lambda_os", "lambda_ap", "lambda_re", "lambda_pt"), WEIGHTS
) | {  # the sliders' values
    "temperature": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "bits": tuple(range(1, 9)),
    "keep": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "deposit_epochs": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "deposit_learning_rate": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 100.0),
    "max_gradient_norm": (0.1, 1.0, 10.0, 100.0, OFF),
    "seed": tuple(range(10)),
}


def as_text(value):
    """Return a knob's value as the panel writes it."""
    if value == OFF:
        return "off"
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"


def options(name, config, value):
    """Return what a knob's control offers, as pairs of a text and a value; the value of a list is one of them."""
    if choices := get_args(Config.model_fields[name].annotation):
        return [(as_text(choice), choice) for choice in choices]
    values = range(1, len(config.widths) + 1) if name == "split_after" else STEPS[name]
    return [(as_text(step), step) for step in sorted({*values, value})]


def in_plain_words(sentence):
    """Return an error's sentence with the names that the panel uses, instead of those of the code."""
    names = {name: label for name, (label, _) in EXPLORED.items() if "_" in name}  # “keep” is an ordinary word, too
    return re.sub(r"\b\w+\b", lambda word: names.get(word[0], word[0]), sentence)


def class_buttons(names, chosen=()):
    """Return one toggle button a class."""
    said = "deposit class {} (D_r, deposit_classes)"
    return [toggle(name, said.format(name), number in chosen) for number, name in enumerate(names)]


def class_grid(data, chosen=(), side=40):
    """Return one toggle button a class, a picture of each class's first training image, and a box with both."""
    buttons, pictures, train = class_buttons(data.class_names, chosen), [], data.train
    for number, name in enumerate(data.class_names):
        first = (train.labels == number).nonzero()[0].to(train.images.device)
        pictures.append(Picture(png=image_png(train.images[first][0], side), alt=f"a training image of class {name}"))
    cells = [ipywidgets.VBox(pair) for pair in zip(pictures, buttons)]
    return buttons, pictures, ipywidgets.HBox(cells).add_class("lirf-classes")


def pressed(buttons):
    """Return the numbers of the classes whose buttons are pressed."""
    return tuple(number for number, button in enumerate(buttons) if button.value)


class Controls:
    """The panel's left column; `changed` is called without arguments when the user changes a control.

    `config` holds the calibrated settings, which "reset" goes back to.
    """

    def __init__(self, data, config, changed):
        self.config, self.data, self.names, self._changed = config, data, data.class_names, changed
        self.classes, _, self.grid = class_grid(data)
        self.by = ipywidgets.ToggleButtons(
            options=["by class", "by sample"], tooltips=["deposit all images of some classes", "deposit some images"]
        )
        shares = [(f"{100 * share:g} %", share) for share in (0.05, 0.1, 0.2, 0.3, 0.5)]
        self.fraction = Knob(
            value=0.1, steps=shares, description="share of the samples", shown=False,
            tooltip="share of the training samples that are deposited, whatever their class (split_by_sample)",
        )  # fmt: skip
        names = ["–", *recipes(config)]
        self.recipe = Knob(
            value="calibrated", choices=[(name, name) for name in names], description="preset",
            tooltip="settings that belong together: calibrated ones, the paper's losses, three to learn from",
        )  # fmt: skip
        self.reset = ipywidgets.Button(description="reset", tooltip="back to the calibrated settings and classes")
        self.knobs = {name: self._knob(name) for name in EXPLORED}
        self._turnable = (*self.classes, self.by, self.fraction, *self.knobs.values())
        for control in self._turnable:
            control.observe(self._turned, names="value")
        self.recipe.observe(self._chosen, names="value")
        self.reset.on_click(self._reset)
        for knob in (self.recipe, self.knobs["lambda_cs"], self.knobs["lambda_kp"]):
            knob.add_class("lirf-presented")
        first, more = [], []
        for name, knob in self.knobs.items():
            (first if name in FIRST else more).append(knob)
        self.more = ipywidgets.Accordion([ipywidgets.VBox(more)], titles=["more"]).add_class("lirf-more")
        top = ipywidgets.HBox([self.recipe, self.reset]).add_class("lirf-preset")
        self.box = ipywidgets.VBox([self.by, self.grid, self.fraction, top, *first, self.more])
        self.box.add_class("lirf-controls")
        self.show(config)

    def _knob(self, name):
        knob, own, (label, symbol) = Config.model_fields[name], getattr(self.config, name), EXPLORED[name]
        said = f"{knob.description} ({name})"
        kind = "choices" if get_args(knob.annotation) else "steps"
        return Knob(
            value=own, description=label, symbol=symbol, tooltip=f"{knob.title}: {said}" if knob.title else said,
            **{kind: options(name, self.config, own)},
        )  # fmt: skip

    def settings(self):
        """Return the config that the controls show, and the fraction of samples, which is None by class.

        Raises a `LirfError` if no class or all classes are chosen, or a value isn't allowed.
        """
        changes = {name: control.value for name, control in self.knobs.items()}
        if self.by.value == "by class":
            classes = check_deposit_classes(pressed(self.classes), len(self.classes))
            return self.config.replace(deposit_classes=classes, **changes), None
        fraction = self.fraction.value
        if not isinstance(fraction, float) or not 0 < fraction < 1:
            raise LirfError(f"the share of the samples must be a number above 0 and below 1, not {fraction!r}")
        return self.config.replace(**changes), fraction

    def stand_for(self, run):
        """Return whether the controls still show a run's settings."""
        try:
            return self.settings() == (run.config, run.fraction)
        except LirfError:
            return False

    def show(self, config, fraction=None):
        """Set the controls to some settings."""
        with unobserved(self._turnable, self._turned):
            self.by.value = "by class" if fraction is None else "by sample"
            if fraction is None:
                for number, button in enumerate(self.classes):
                    button.value = number in config.deposit_classes
            else:
                self.fraction.value = fraction
        self._turn({name: getattr(config, name) for name in EXPLORED})

    def _turn(self, values):
        """Set some knobs' controls."""
        with unobserved(self._turnable, self._turned):
            for name, value in values.items():
                self.knobs[name].value = value
        self._follow()

    def _reset(self, _):
        self.show(self.config)
        self._changed()

    def _chosen(self, change):
        """Set the knobs to a preset; the classes and the seed stay."""
        if change["new"] != "–":
            self._turn(self._recipe(recipes(self.config)[change["new"]]))
            self._changed()

    def _recipe(self, changes):
        """Return a preset's value of every knob but the seed."""
        return {name: getattr(self.config, name) for name in EXPLORED if name != "seed"} | changes

    def _turned(self, _):
        self._follow()
        self._changed()

    def _follow(self):
        """Show only the controls that apply, mark what isn't allowed, and name the preset that the knobs match."""
        by_class = self.by.value == "by class"
        self.grid.layout.display = None if by_class else "none"
        self.fraction.shown = not by_class
        pruned = self.knobs["container"].value == "pruned"
        self.knobs["keep"].shown, self.knobs["bits"].shown = pruned, not pruned
        now = {name: control.value for name, control in self.knobs.items() if name != "seed"}
        for name, control in self.knobs.items():
            control.wrong = not _allowed(self.config, name, control.value)
        named = [name for name, changes in recipes(self.config).items() if self._recipe(changes) == now]
        with unobserved([self.recipe], self._chosen):
            self.recipe.value = named[0] if named else "–"


def _allowed(config, name, value):
    try:
        config.replace(**{name: value})
    except LirfError:
        return False
    return True
