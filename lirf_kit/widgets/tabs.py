"""What the explorer's tabs hold: figures, the history, two runs side by side, and one image."""

import pandas
import torch

from lirf_kit.config import LirfError
from lirf_kit.widgets.controls import as_text
from lirf_kit.widgets.drawings import plot_pair
from lirf_kit.widgets.exploring import EXPLORED, compare_runs, history_table, named, recipes
from lirf_kit.widgets.pieces import Knob, Pad, Picture, ipywidgets, unobserved
from lirf_kit.widgets.small_views import image_png

SPACE = "\N{NO-BREAK SPACE}"  # a list collapses ordinary ones
HISTORY = {  # the history's columns, and what fills them of `history_table`: after a deposit of classes, or of samples
    ("", "run"): ["run"], ("", "deposit"): ["deposit"],
    ("target", "Pre"): ["target: Pre Acc", "target: validation, all classes"],
    ("target", "Dep"): ["target: Dep Acc", "target: deposited samples"], ("target", "H Mean"): ["target: H Mean"],
    ("recovered", "Avg"): ["recovered: Avg Acc", "recovered: validation, all classes"], ("", "seconds"): ["seconds"],
}  # fmt: skip
SAMPLES = "<div>Of samples: Pre is the accuracy on unseen images, Dep that on the deposited samples.</div>"


def page(*children):
    """Return a tab's contents."""
    return ipywidgets.VBox(children).add_class("lirf-page")


def table_html(table, **more):
    """Return a table as HTML, with dashes where a number does not apply; a header without a text is an empty cell."""
    table = table.rename_axis(index=None, columns=table.index.name)
    cells = table.to_html(na_rep="–", float_format="{:.2f}".format, border=0, **more)
    return f'<div class="lirf-table">{cells.replace("<th></th>", "<td></td>")}</div>'


class HistoryTab:
    """One row a run. `chosen` is called with a run's place when the user chooses its row, by mouse or arrow key.

    A row names the preset of the config `calibrated` that the run is closest to, and the knobs that differ from it.
    """

    def __init__(self, chosen, calibrated):
        self._chosen, self._calibrated = chosen, calibrated
        self.heading = ipywidgets.HTML("no run yet")
        self.rows = ipywidgets.Select(options=[], rows=12, description="run", tooltip="choose a run to bring it back")
        self.rows.style.description_width = "0px"
        self.rows.layout.width = "100%"
        self.rows.observe(self._pick, names="value")
        self.csv = ipywidgets.Button(description="save as CSV", tooltip="write the history into the explorer's folder")
        self.file = ipywidgets.Button(description="save run", tooltip="write the shown run's settings and numbers")
        self.upload = ipywidgets.FileUpload(accept=".json", description="open a run's file")
        buttons = ipywidgets.HBox([self.csv, self.file, self.upload])
        self.box = page(self.heading, self.rows, buttons).add_class("lirf-rows")

    def fill(self, runs, place):
        """List the runs, and select one without bringing it back."""
        table = history_table(runs).reset_index()
        columns = {name: table.reindex(columns=either).bfill(axis=1).iloc[:, 0] for name, either in HISTORY.items()}
        text = pandas.DataFrame(columns).to_string(index=False, na_rep="–", float_format="{:.2f}".format)
        networks, heading, *lines = text.replace(" ", SPACE).split("\n")
        said = SAMPLES if any(run.fraction for run in runs) else ""
        self.heading.value = f"{said}<pre>{networks}\n{heading}{2 * SPACE}preset, knobs turned</pre>"
        with unobserved([self.rows], self._pick):
            turned = [self._turned(run.config) for run in runs]
            self.rows.options = [(line + 2 * SPACE + knobs, at) for at, (line, knobs) in enumerate(zip(lines, turned))]
            self.rows.value = place

    def _turned(self, config):
        knobs = {name: getattr(config, name) for name in EXPLORED}
        apart = {}
        for preset, changes in recipes(self._calibrated).items():
            its = vars(self._calibrated) | changes
            turned = [name for name in EXPLORED if knobs[name] != its[name]]
            apart[preset] = [f"{EXPLORED[name][1] or EXPLORED[name][0]} {as_text(knobs[name])}" for name in turned]
        nearest = min(apart, key=lambda preset: len(apart[preset]))
        return ", ".join([nearest, *apart[nearest]])

    def _pick(self, change):
        if change["new"] is not None:
            self._chosen(change["new"])


class YoursTab:
    """An image of the user's own, and what each network answers; `answers` returns the probabilities for an image."""

    def __init__(self, main, shape, answers):
        channels, height, width = shape
        self._answers, self._shape = answers, (height, width, channels)
        self.pad = Pad(shape=[height, width, channels])
        self.pad.observe(main.safe(self.show), names="pixels")
        self.seen = Picture(alt="what the networks see of your image", layout={"width": "96px", "height": "96px"})
        self.said = ipywidgets.HTML()
        seen = ipywidgets.HTML(f"What the networks see of it, {height}×{width} pixels:")
        self._below = ipywidgets.VBox([seen, self.seen])
        right = ipywidgets.VBox([self.said, self._below])
        self.box = page(ipywidgets.HBox([self.pad, right]).add_class("lirf-yours"))
        self.show()

    def show(self):
        """Show what the shown run's networks answer."""
        pixels = bytes(self.pad.pixels)
        self._below.layout.display = None if pixels else "none"
        if not pixels:
            todo = "Draw a digit" if self._shape[2] == 1 else "Drop an image, or click and paste one,"
            self.said.value = f"{todo} on the left: original, target and recovered network answer at once."
            return
        image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(self._shape).permute(2, 0, 1)  # (C, H, W)
        self.seen.png = image_png(image, 96)
        table = self._answers(image[None])
        if table is None:
            return
        rows = {}
        for name, shares in table.items():
            best = shares.nlargest(3)
            others = ", ".join(f"{other}: {share:.0f} %" for other, share in best[1:].items())
            rows[name] = {"answer": best.index[0], "sure": f"{best.iloc[0]:.0f} %", "then": others}
        self.said.value = table_html(pandas.DataFrame.from_dict(rows, orient="index"))


class CompareTab:
    """Two pinned runs side by side: their numbers and the differences, the knobs that differ, and a figure of each.

    `changed` is called when another kind of figure is chosen.
    """

    def __init__(self, changed):
        self.pinned = {}  # a run's number, and the run, by A and B
        self.table = ipywidgets.HTML("Pin one run as A and another as B, with the buttons below.")
        self.kind = ipywidgets.Dropdown(
            options=("classes", "curves", "confusion", "t-SNE"), description="figure", tooltip="which figure of A and B"
        )
        self.kind.observe(changed, names="value")
        self.image = Picture().add_class("lirf-figure").add_class("lirf-pair")
        self.box = page(self.kind, self.table.add_class("lirf-compare"), self.image)

    def show(self):
        """Show the pinned runs' metrics and settings."""
        if len(self.pinned) < 2:
            for letter, (number, _) in self.pinned.items():
                self.table.value = f"{letter} is run {number}. Pin another as well."
            return
        (first, one), (second, other) = self.pinned["A"], self.pinned["B"]
        table = compare_runs(one, other).rename(columns={"A": f"A: run {first}", "B": f"B: run {second}"})
        numbers = [name for name in table.index if ": " in name or name == "seconds"]
        metrics = table.loc[numbers].iloc[:, :2].astype(float)
        metrics["B − A"] = metrics.diff(axis=1).iloc[:, 1].map("{:+.2f}".format, na_action="ignore")
        settings = table[table.pop("differs")].drop(numbers, errors="ignore").map(as_text)
        settings = settings.rename(lambda name: f"≠ {named(name)}")
        said = "settings that differ" + table_html(settings) if len(settings) else "all settings are the same"
        self.table.value = f"<div>{table_html(metrics)}</div><div>{said}</div>"

    def figure(self):
        """Return the figure, a name for its file, and its description."""
        if len(self.pinned) < 2:
            raise LirfError("two runs must be pinned before they can be saved side by side: pin as A, pin as B")
        kind, first, second = self.kind.value, self.pinned["A"][0], self.pinned["B"][0]
        said = f"{kind} of run {first}, above run {second}"
        return plot_pair(kind, self.pinned), f"runs-{first}-{second}-{kind}", said


def places_of(labels, number):
    """Return the places of all images of a class."""
    return (labels == number).nonzero().flatten().tolist()


class ImageChoice:
    """An image, which the user chooses by class, one of `options`, and number; then `changed` is called."""

    def __init__(self, options, changed):
        self._changed = changed
        self.label = ipywidgets.Dropdown(options=options, description="class", tooltip="the image's true class")
        self.number = Knob(value=0, description="image", tooltip="which image of the class")
        for control in (self.label, self.number):
            control.observe(self._turned, names="value")
        self.controls = ipywidgets.HBox([self.label, self.number]).add_class("lirf-choice")

    def place(self, part):
        """Return the chosen image's place in a part; after the class's last image, the number starts over."""
        places, number = places_of(part.labels, self.label.value), self.number.value
        return places[number % len(places) if isinstance(number, int) else 0]

    def choose(self, part, place):
        """Choose the image at a place in a part, without treating that as the user's change."""
        number = int(part.labels[place])
        places = places_of(part.labels, number)
        with unobserved([self.label, self.number], self._turned):
            self.number.steps = [(str(at), at) for at in range(len(places))]
            self.label.value, self.number.value = number, places.index(place)

    def _turned(self, change):
        if change["owner"] is self.label:
            with unobserved([self.number], self._turned):
                self.number.value = 0
        self._changed()


class JourneyTab(ImageChoice):
    """One validation image on its way through the networks."""

    def __init__(self, class_names, changed):
        super().__init__([(name, number) for number, name in enumerate(class_names)], changed)
        self.image, self.said = Picture().add_class("lirf-figure"), ipywidgets.HTML()
        hint = ipywidgets.HTML("or click a point of a map")
        self.box = page(ipywidgets.HBox([self.controls, hint]), self.image, self.said)
