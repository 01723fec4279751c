"""The explorer's controls: what is deposited, and the knobs, each with the paper's symbol and what it does."""

import contextlib
from typing import get_args

from lirf_kit.config import Config, LirfError
from lirf_kit.widgets.exploring import EXPLORED, recipes, turned
from lirf_kit.widgets.pieces import Picture, ipywidgets
from lirf_kit.widgets.small_views import image_png

WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 30.0, 100.0, 300.0, 1000.0)
STEPS = {  # what a slider offers, beside the config's own value
    "lambda_at": WEIGHTS,
    "lambda_kp": WEIGHTS,
    "lambda_re": WEIGHTS,
    "lambda_pt": WEIGHTS,
    "temperature": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "keep": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "deposit_epochs": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "deposit_learning_rate": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 100.0),
    "max_gradient_norm": (0.1, 1.0, 10.0, 100.0, 1e9),
    "seed": tuple(range(10)),
}
TITLES = {
    "lambda_at": "λ_at attention",
    "lambda_kp": "λ_kp preserve",
    "lambda_re": "λ_re recover",
    "lambda_pt": "λ_pt transfer",
    "temperature": "τ temperature",
    "split_after": "n split after",
    "keep": "keep (pruning)",
    "deposit_epochs": "epochs",
    "deposit_learning_rate": "learning rate",
    "max_gradient_norm": "gradient limit",
    "seed": "seed",
    "relabel": "y_r relabel",
    "preservation": "L_kp variant",
    "recovery": "L_re recovery",
}
FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.5)
KNOBS = Config.model_fields


def tooltip(name):
    """Return what a knob does, with its symbol in the paper."""
    symbol, said = KNOBS[name].title, KNOBS[name].description
    return f"{symbol}: {said} ({name})" if symbol else f"{said} ({name})"


def options(config, name):
    """Return what a control offers: pairs of a text and a value, the config's own value among them."""
    own = getattr(config, name)
    if choices := get_args(KNOBS[name].annotation):
        return [(choice.replace("_", " "), choice) for choice in choices]
    values = range(1, len(config.widths) + 1) if name == "split_after" else STEPS[name]
    return [("off" if value == 1e9 else f"{value:g}", value) for value in sorted({*values, own})]


def sample_picture(data, number, side=40):
    """Return a class's first training image as the bytes of a PNG."""
    image = data.train.images[(data.train.labels == number).nonzero()[0].to(data.train.images.device)][0]
    return image_png(image, side)


class Controls:
    """The panel's left column.

    Parameters
    ----------
    data : Dataset
    config : Config
        The calibrated settings; "reset" goes back to them.
    changed : callable
        Called without arguments after a control was turned by hand.
    """

    def __init__(self, data, config, changed):
        self.config, self.num_classes, self._changed, self._showing = config, len(data.class_names), changed, False
        self.classes = [
            ipywidgets.ToggleButton(tooltip=f"deposit class {name} (D_r, deposit_classes)") for name in data.class_names
        ]
        self.names = data.class_names
        pictures = [
            Picture(png=sample_picture(data, number), alt=f"an image of class {name}")
            for number, name in enumerate(data.class_names)
        ]
        cells = [ipywidgets.VBox([picture, button]) for picture, button in zip(pictures, self.classes)]
        self.grid = ipywidgets.HBox(cells)
        self.grid.add_class("lirf-classes")
        self.by = ipywidgets.ToggleButtons(
            options=["by class", "by sample"], tooltips=["deposit all images of some classes", "deposit some images"]
        )
        self.fraction = ipywidgets.SelectionSlider(
            options=[(f"{100 * share:g} %", share) for share in FRACTIONS], value=0.1, description="of the samples",
            tooltip="share of the training samples that are deposited, whatever their class (split_by_sample)",
        )  # fmt: skip
        self.recipe = ipywidgets.Dropdown(
            options=["–", *recipes(config)], value="calibrated", description="preset",
            tooltip="settings that belong together: calibrated ones, the paper's losses, two to learn from",
        )  # fmt: skip
        self.reset = ipywidgets.Button(description="reset", tooltip="back to the calibrated settings and classes")
        self.knobs = {name: self._control(name) for name in EXPLORED}
        for control in (*self.classes, self.by, self.fraction, *self.knobs.values()):
            control.observe(self._turned, names="value")
        self.recipe.observe(self._chosen, names="value")
        self.reset.on_click(lambda _: self._by_hand(lambda: self.show(self.config)))
        top = ipywidgets.HBox([self.recipe, self.reset])
        self.box = ipywidgets.VBox([self.by, self.grid, self.fraction, top, *self.knobs.values()])
        self.box.add_class("lirf-controls")
        self.show(config)

    def _control(self, name):
        kind = ipywidgets.Dropdown if get_args(KNOBS[name].annotation) else ipywidgets.SelectionSlider
        return kind(
            options=options(self.config, name), value=getattr(self.config, name), description=TITLES[name],
            tooltip=tooltip(name),
        )  # fmt: skip

    def settings(self):
        """Return the config that the controls stand for, and the fraction of samples, None by class.

        Raises
        ------
        LirfError
            If no class or all classes are chosen.
        """
        chosen = [number for number, button in enumerate(self.classes) if button.value]
        changes = {name: control.value for name, control in self.knobs.items()}
        if self.by.value == "by sample":
            return self.config.replace(**changes), self.fraction.value
        return turned(self.config, chosen, self.num_classes, **changes), None

    def stand_for(self, run):
        """Return whether the controls still say what a run was made with."""
        try:
            return self.settings() == (run.config, run.fraction)
        except LirfError:
            return False

    def show(self, config, fraction=None):
        """Turn the controls to some settings."""
        with self._quietly():
            self.by.value = "by class" if fraction is None else "by sample"
            if fraction is None:
                for number, button in enumerate(self.classes):
                    button.value = number in config.deposit_classes
            else:
                self.fraction.value = fraction
            for name, control in self.knobs.items():
                if getattr(config, name) not in [value for _, value in control.options]:
                    control.options = options(config, name)
                control.value = getattr(config, name)
        self._follow()

    @contextlib.contextmanager
    def _quietly(self):
        """Turn controls without calling that a change by hand."""
        before, self._showing = self._showing, True
        try:
            yield
        finally:
            self._showing = before

    def _by_hand(self, turn):
        turn()
        self._changed()

    def _chosen(self, change):
        """Turn the knobs to a preset; the classes and the seed stay."""
        if self._showing or change["new"] == "–":
            return
        knobs = {name: getattr(self.config, name) for name in EXPLORED if name != "seed"}
        knobs |= recipes(self.config)[change["new"]]
        with self._quietly():
            for name, value in knobs.items():
                if value not in [offered for _, offered in self.knobs[name].options]:
                    self.knobs[name].options = options(self.config.replace(**{name: value}), name)
                self.knobs[name].value = value
        self._follow()
        self._changed()

    def _turned(self, _):
        if not self._showing:
            self._follow()
            self._changed()

    def _follow(self):
        """Mark the chosen classes, show what applies, and name the preset that the knobs stand for."""
        by_class = self.by.value == "by class"
        self.grid.layout.display = None if by_class else "none"
        self.fraction.layout.display = "none" if by_class else None
        for name, button in zip(self.names, self.classes):
            button.description = f"✓ {name}" if button.value else str(name)
        now = {name: control.value for name, control in self.knobs.items() if name != "seed"}
        own = {name: getattr(self.config, name) for name in now}
        named = [name for name, changes in recipes(self.config).items() if own | changes == now]
        with self._quietly():
            self.recipe.value = named[0] if named else "–"
