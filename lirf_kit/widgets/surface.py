"""The explorer's response surface: a metric over knobs, from runs already made, and a grid that is filled."""

import html
import threading

from lirf_kit.config import LirfError
from lirf_kit.widgets.controls import STEPS
from lirf_kit.widgets.drawings import plot_surface, png
from lirf_kit.widgets.exploring import EXPLORED, fill_grid, knob_grid, surface_points
from lirf_kit.widgets.pieces import ipywidgets
from lirf_kit.widgets.tabs import NOTHING, figure_box, page, put
from lirf_kit.widgets.words import of_surface

METRICS = (
    "target: H Mean", "target: Pre Acc", "target: Dep Acc", "target: L_at", "recovered: Avg Acc",
    "recovered: Pre Acc", "recovered: Dep Acc",
)  # fmt: skip


class SurfaceTab:
    """The tab, and the measuring in the background.

    Parameters
    ----------
    main : MainThread
    settings : callable
        Returns the config that the controls stand for, and the fraction.
    runs : list of Run
        All that are finished; it grows.
    say : callable
        Shows a message.

    Attributes
    ----------
    measured : list of tuple of Config and dict
        What filled the grid: settings, and their metrics by "network: column".
    filling : threading.Event or None
        There while a grid is filled; set when it is cancelled.
    """

    def __init__(self, main, settings, runs, say):
        self._main, self._settings, self._runs, self._say = main, settings, runs, say
        self.measured, self.filling = [], None
        names = [name for name in EXPLORED if name not in ("relabel", "preservation", "recovery", "split_after")]
        self.across = ipywidgets.Dropdown(options=names, value="lambda_at", description="across", tooltip="first knob")
        self.up = ipywidgets.Dropdown(options=["–", *names], description="up", tooltip="second knob, or none")
        self.metric = ipywidgets.Dropdown(options=METRICS, description="metric", tooltip="what is drawn")
        self.fill = ipywidgets.Button(description="fill grid", tooltip="measure what is missing, in two processes")
        self.cancel = ipywidgets.Button(description="cancel", tooltip="end the measuring", disabled=True)
        self.note = ipywidgets.HTML("")
        self.image = figure_box("lirf-small")
        for control in (self.across, self.up, self.metric):
            control.observe(main.safe(self.draw), names="value")
            control.layout.width = "235px"
            control.style.description_width = "52px"
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
        """Return the settings of the controls; samples have no surface, for `results_over_seeds` deposits classes."""
        config, fraction = self._settings()
        if fraction is not None:
            raise LirfError("the surface is of deposits of classes: choose by class")
        return config

    @property
    def _by_class(self):
        return [run for run in self._runs if run.fraction is None]

    def _points(self):
        """Return the measured points that agree with the controls in everything but the chosen knobs."""
        found = [*self.measured, *((run.config, run.metrics) for run in self._by_class)]
        return surface_points(found, self._config(), self.names, self.metric.value)

    def draw(self):
        """Draw what is measured so far, or say why there is no surface of what the controls say."""
        try:
            points, metric = self._points(), self.metric.value
            self.note.value = f"{len(points)} measured; everything else as the controls say now"
        except LirfError as error:
            points, self.note.value = (), html.escape(str(error))

        def work():
            return (png(plot_surface(points, metric)), of_surface(points, metric)) if len(points) else NOTHING

        self._main.later("surface", work, lambda drawn: put(self.image, drawn))

    def figure(self):
        """Return the figure, and what its file may be called."""
        points, metric = self._points(), self.metric.value
        if not len(points):
            raise LirfError("a surface must have a measured point before it can be saved: press Run, or fill grid")
        file = "-".join(["surface", *metric.replace(":", "").split(), "over", *self.names])
        return plot_surface(points, metric), file

    def _fill(self):
        """Measure the grid's missing points in the background."""
        if self.filling is not None:
            return
        config, names = self._config(), self.names
        most = 8 if len(names) == 1 else 4
        grid = knob_grid(config, {name: _thinned(STEPS[name], most) for name in names})
        known = {one for one, _ in self.measured} | {run.config for run in self._by_class}
        missing = [one for one in grid if one not in known]
        if not missing:
            return self._say("the grid has no missing points")
        self.filling = cancelled = threading.Event()
        self.fill.disabled, self.cancel.disabled = True, False
        threading.Thread(target=self._measure, args=(missing, cancelled), daemon=True).start()

    def _measure(self, missing, cancelled):
        """Measure one point after the other until all are done or it is cancelled; a thread's whole life."""
        failed = []
        try:
            self._main.post(self._say, f"measuring {len(missing)} points in two processes …")
            for done, (config, metrics) in enumerate(found := fill_grid(missing), start=1):
                if cancelled.is_set():
                    found.close()
                    break
                if isinstance(metrics, str):
                    failed.append(metrics)
                else:
                    self._main.post(self._measured, config, metrics, f"{done} of {len(missing)} points measured")
            if failed:
                self._main.post(self._say, html.escape(f"{len(failed)} points failed; {failed[0]}"), True)
        except Exception as error:
            self._main.post(self._main.fail, error)
        finally:
            self._main.post(self._filled)

    def _measured(self, config, metrics, said):
        self.measured.append((config, metrics))
        self.draw()
        if not self.filling.is_set():
            self._say(said)

    def _cancel(self):
        """Ask the measuring to end; the next one may only begin when it has, for all share joblib's processes."""
        if self.filling is not None:
            self.filling.set()
            self.cancel.disabled = True
            self._say("cancelling …")

    def _filled(self):
        """Take back what was only for the time of the measuring; the last that its thread asks for."""
        if self.filling.is_set():
            self._say("the measuring is cancelled; what was measured stays")
        self.filling = None
        self.fill.disabled, self.cancel.disabled = False, True


def _thinned(values, most):
    """Return at most so many values, first and last among them."""
    values = [value for value in values if value != 1e9]
    places = {round(at * (len(values) - 1) / (most - 1)) for at in range(most)}
    return [values[at] for at in sorted(places)]
