"""The explorer's response surface: a metric over one or two knobs, from earlier runs and from a grid that is filled."""

import html
import threading

import numpy

from lirf_kit.config import LirfError
from lirf_kit.widgets.controls import OFF, STEPS, in_plain_words
from lirf_kit.widgets.drawings import plot_surface
from lirf_kit.widgets.exploring import EXPLORED, fill_grid, knob_grid, named, surface_points
from lirf_kit.widgets.pieces import Picture, ipywidgets
from lirf_kit.widgets.tabs import page
from lirf_kit.widgets.words import of_surface, one_image

METRICS = (
    "target: H Mean", "target: Pre Acc", "target: Dep Acc", "target: L_at", "recovered: Avg Acc",
    "recovered: Pre Acc", "recovered: Dep Acc",
)  # fmt: skip


class SurfaceTab:
    """The tab, and the measuring in the background; `runs` is the growing list of finished runs.

    `changed` is called when there is another surface to draw.
    """

    def __init__(self, main, controls, runs, say, changed):
        self._main, self._controls, self._runs, self._say, self._changed = main, controls, runs, say, changed
        self.measured = []  # the grid's points so far: pairs of a config and its metrics by "network: column"
        self.filling = None  # an Event while a grid is being filled; it is set to cancel that
        names = [(named(name), name) for name in EXPLORED if name in STEPS]
        self.across = ipywidgets.Dropdown(options=names, value="lambda_at", description="across", tooltip="first knob")
        self.up = ipywidgets.Dropdown(options=[("–", "–"), *names], description="up", tooltip="second knob, or none")
        self.metric = ipywidgets.Dropdown(options=METRICS, description="metric", tooltip="what is drawn")
        self.fill = ipywidgets.Button(description="fill grid", tooltip="measure what is missing, in two processes")
        self.cancel = ipywidgets.Button(description="cancel", tooltip="end the measuring", disabled=True)
        self.note = ipywidgets.HTML("")
        self.image = Picture().add_class("lirf-figure").add_class("lirf-small")
        for control in (self.across, self.up, self.metric):
            control.observe(main.safe(changed), names="value")
            control.layout.width, control.style.description_width = "235px", "52px"
        self.fill.on_click(main.safe(self._fill))
        self.cancel.on_click(main.safe(self._cancel))
        rows = [[self.across, self.up, self.metric], [self.fill, self.cancel, self.note]]
        self.box = page(*(ipywidgets.HBox(row) for row in rows), self.image)

    @property
    def names(self):
        """The chosen knobs, one or two."""
        both = [self.across.value, self.up.value]
        return both if both[1] not in ("–", both[0]) else both[:1]

    def _config(self):
        """Return the controls' config; there is no surface by sample, because `results_over_seeds` deposits classes."""
        config, fraction = self._controls.settings()
        if fraction is not None:
            raise LirfError("the surface shows deposits of classes only: choose by class")
        return config

    def _found(self):
        """Return everything that has been measured, by runs or for the grid."""
        return [*self.measured, *((run.config, run.metrics) for run in self._runs if run.fraction is None)]

    def _points(self):
        """Return the measured points that agree with the controls in everything but the chosen knobs."""
        return surface_points(self._found(), self._config(), self.names, self.metric.value)

    def show(self):
        """Say how much has been measured so far, or why the controls' settings have no surface."""
        try:
            self.note.value = f"{len(self._points())} measured; everything else as the controls are set now"
        except LirfError as error:
            self.note.value = html.escape(str(error))

    def figure(self):
        """Return the figure, a name for its file, and its description; it shows how much a single image counts."""
        points, metric, data = self._points(), self.metric.value, self._controls.data
        if not len(points):
            raise LirfError("a surface must have a measured point before it can be saved: press Run, or fill grid")
        one = one_image(data.labels[data.validation_indices], self._config().deposit_classes)
        file = "-".join(["surface", *metric.replace(":", "").split(), "over", *self.names])
        return plot_surface(points, metric, one.get(metric.split(": ")[1], 0.0)), file, of_surface(points, metric)

    def _fill(self):
        """Measure the grid's missing points in the background."""
        if self.filling is not None:
            return
        values, most = {}, 8 if len(self.names) == 1 else 4
        for name in self.names:  # up to `most` values, evenly spread from the first to the last
            steps = [step for step in STEPS[name] if step != OFF]
            values[name] = [steps[at] for at in sorted({*numpy.linspace(0, len(steps) - 1, most).round().astype(int)})]
        grid = knob_grid(self._config(), values)
        known = {setting for setting, _ in self._found()}
        missing = [config for config in grid if config not in known]
        if not missing:
            return self._say("the grid has no missing points")
        self.filling = cancelled = threading.Event()
        self.fill.disabled, self.cancel.disabled = True, False
        self._say(f"measuring {len(missing)} points in two processes …")
        threading.Thread(target=self._measure, args=(missing, cancelled), daemon=True).start()

    def _measure(self, missing, cancelled):
        """Measure one point after another until all are done or the user cancels; this is all that the thread does."""
        failed = []
        try:
            for done, (config, metrics) in enumerate(found := fill_grid(missing), start=1):
                if cancelled.is_set():
                    found.close()
                    break
                if isinstance(metrics, str):
                    failed.append(metrics)
                else:
                    self._main.post(self._measured, config, metrics, f"{done} of {len(missing)} points measured")
            if failed:
                said = f"{len(failed)} points failed; {in_plain_words(failed[0])}"
                self._main.post(self._say, html.escape(said), True)
        except Exception as error:
            self._main.post(self._main.fail, error)
        finally:
            self._main.post(self._filled)

    def _measured(self, config, metrics, said):
        self.measured.append((config, metrics))
        self._changed()
        if not self.filling.is_set():
            self._say(said)

    def _cancel(self):
        """Ask the measuring to end. All grids share joblib's processes, so the next one has to wait until it has."""
        if self.filling is not None:
            self.filling.set()
            self.cancel.disabled = True
            self._say("cancelling …")

    def _filled(self):
        """Make the tab ready for the next grid; the measuring thread posts this last."""
        if self.filling.is_set():
            self._say("the measuring is cancelled; what was measured stays")
        self.filling = None
        self.fill.disabled, self.cancel.disabled = False, True
