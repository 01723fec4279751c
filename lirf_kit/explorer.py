"""The explorer: turn the knobs of a deposit, run it, and see what became of it, in one panel of a notebook.

A run is computed and drawn in a worker thread, which hands its results to the main thread one after the other; only
that one touches the widgets. A run that was overtaken by another one is dropped.
"""

import html
import inspect
import signal
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

from lirf_kit import explorer_figures as figures
from lirf_kit.caching import load_or_train
from lirf_kit.config import LirfError, preset
from lirf_kit.data import load_dataset
from lirf_kit.explorer_controls import STEPS, Controls
from lirf_kit.explorer_jobs import Job, running_loop, without_bars
from lirf_kit.explorer_tabs import (
    STYLE,
    CompareTab,
    HistoryTab,
    JourneyTab,
    SurfaceTab,
    figure_box,
    page,
    table_html,
)
from lirf_kit.explorer_widgets import ipywidgets, need_widgets
from lirf_kit.exploring import (
    code_line,
    embed_run,
    explore,
    fill_grid,
    history_table,
    journey,
    knob_grid,
    surface_points,
)
from lirf_kit.figures import save_figure, writable_folder

FIGURES = {  # a tab's name, and what draws a run there
    "curves": lambda run: figures.plot_terms(run.history),
    "classes": figures.plot_classes,
    "confusion": figures.plot_run_confusions,
    "t-SNE": figures.plot_run_tsne,
}
TABS = ("curves", "table", "classes", "confusion", "t-SNE", "history", "A | B", "image", "surface")
REST = 0.4  # seconds that the controls must rest before auto-run starts
SHARE = 0.25  # of a deposit's time that may go into drawing its curves


class DepositExplorer:
    """A panel to explore the deposit with: controls on the left, results in tabs on the right.

    Put it last in a notebook's cell. Its computations are plain functions: `explore`, `embed_run`, `journey`,
    `history_table`, `compare_runs`, `surface_points`, `fill_grid`, `code_line`.

    Parameters
    ----------
    config : Config, optional
        The calibrated settings; else the preset "digits".
    out : str
        The folder that figures and the history are written to.

    Attributes
    ----------
    runs : list of Run
        Every finished run.
    job : Job or None
        The run that was asked for last, with its times.

    Raises
    ------
    LirfError
        If ipywidgets or anywidget is missing, or the training of the original was interrupted.
    """

    def __init__(self, config=None, out="explorer-files"):
        need_widgets("the explorer")
        self.config, self.out = config or preset("digits"), out
        self.runs, self.pictures, self.shown = [], [], None
        self.job, self.filling, self.measured = None, None, []
        self._loop = running_loop()
        self._posting, self._computing = threading.RLock(), threading.Lock()
        self._drawer, self._newest = ThreadPoolExecutor(1), {}
        self._rest, self._starts, self._known, self._interrupted = None, {}, {}, None
        self._growing = figures.GrowingCurves()
        data, _ = self._data_and_original(self.config)
        self._build(data)
        self._say("Choose what to deposit, turn the knobs, press <b>Run</b>.")

    def _repr_mimebundle_(self, **keywords):
        shown = self.panel._repr_mimebundle_(**keywords)
        return shown | {"text/plain": "The explorer's panel: run this cell in JupyterLab (make lab) to see it."}

    # the panel

    def _build(self, data):
        self.controls = Controls(data, self.config, self._safe(self._settings_changed))
        self.run_button = self._button("▶ Run", "make this deposit", self.run, "primary")
        self.stop_button = self._button("■ Stop", "stop the deposit that is running", self.stop)
        self.stop_button.disabled = True
        self.auto = ipywidgets.ToggleButton(
            description="auto-run", tooltip="run whenever the controls have come to rest"
        )
        self.with_tsne = ipywidgets.ToggleButton(value=True, description="✓ t-SNE", tooltip="embed each run's features")
        self.auto.observe(lambda _: self._tick(self.auto, "auto-run"), names="value")
        self.with_tsne.observe(lambda _: self._tick(self.with_tsne, "t-SNE"), names="value")
        self.progress = ipywidgets.IntProgress(max=1, layout={"flex": "1 1 80px", "width": "auto"})
        self.message = ipywidgets.HTML(layout={"width": "100%"})
        self.images = {name: figure_box() for name in FIGURES}
        self.table = ipywidgets.HTML("no run yet")
        self.history = HistoryTab(self._safe(self._bring_back), self.config)
        self.compare = CompareTab()
        self.compare.kind.observe(self._safe(self._draw_comparison), names="value")
        self.journey = JourneyTab(data.class_names, self._safe(self._draw_journey))
        self.surface = SurfaceTab(*map(self._safe, (self._draw_surface, self._fill, self._cancel_filling)))
        pages = [page(self.images["curves"]), page(self.table)]
        pages += [page(self.images[name]) for name in ("classes", "confusion", "t-SNE")]
        pages += [tab.box for tab in (self.history, self.compare, self.journey, self.surface)]
        self.tabs = ipywidgets.Tab(pages, titles=TABS)
        self.tabs.observe(self._safe(self._opened), names="selected_index")
        self.code = ipywidgets.HTML(layout={"width": "100%"})
        self.history.csv.on_click(self._safe(self._save_history))
        below = [
            self._button("save figure", "write the open tab's figure as PNG, SVG and PDF", self._save_figure),
            self._button("pin as A", "keep the run that is shown as A", lambda: self._pin("A")),
            self._button("pin as B", "keep the run that is shown as B", lambda: self._pin("B")),
        ]
        for button in below:
            button.layout.width, button.layout.flex = "auto", "none"
        top = ipywidgets.HBox([self.run_button, self.stop_button, self.auto, self.with_tsne, self.progress])
        right = ipywidgets.VBox([top, self.message, self.tabs, ipywidgets.HBox([*below, self.code])])
        right.add_class("lirf-right")
        columns = ipywidgets.HBox([self.controls.box, right], layout={"flex_flow": "row wrap"})
        self.panel = ipywidgets.VBox([ipywidgets.HTML(STYLE, layout={"height": "0", "margin": "0"}), columns])
        self.panel.add_class("lirf")
        self._show_code()

    def _button(self, text, tooltip, pressed, style=""):
        button = ipywidgets.Button(description=text, tooltip=tooltip, button_style=style, layout={"width": "90px"})
        button.on_click(self._safe(pressed))
        return button

    @staticmethod
    def _tick(button, name):
        button.description = f"✓ {name}" if button.value else name

    def _say(self, text, error=False):
        """Show a message, as HTML."""
        kind, role = ("lirf-message lirf-error", "alert") if error else ("lirf-message", "status")
        self.message.value = f'<div class="{kind}" role="{role}">{text}</div>'

    def _fail(self, error):
        """Show what went wrong, with the traceback if it is not a matter of the settings."""
        if isinstance(error, LirfError):
            return self._say(f"✖ {html.escape(str(error))}", error=True)
        trace = html.escape("".join(traceback.format_exception(error)))
        said = html.escape(f"{type(error).__name__}: {error}")
        self._say(f"<details><summary>✖ {said}</summary><pre>{trace}</pre></details>", error=True)

    def _guarded(self, function, *arguments):
        """Call a callback's function, and show its error."""
        try:
            function(*arguments)
        except (Exception, KeyboardInterrupt) as error:
            self._fail(error)

    def _safe(self, function):
        """Return a callback that takes what a widget tells or not, and shows the function's error."""
        wanted = len(inspect.signature(function).parameters)
        return lambda *told: self._guarded(function, *told[:wanted])

    def _post(self, function, *arguments):
        """Let the main thread call a function, after all that was posted before."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._guarded, function, *arguments)
        else:
            with self._posting:
                self._guarded(function, *arguments)

    # settings

    def _settings_changed(self):
        """Show the code of the new settings, and let auto-run wait until they rest."""
        if self._show_code():
            self._draw_surface()
        if self._rest is not None:
            self._rest.cancel()
        if self.auto.value:
            self._rest = threading.Timer(REST, self._post, [self.run])
            self._rest.daemon = True
            self._rest.start()

    def _show_code(self):
        """Show the line that makes the settings, or why they can't be; return whether they can."""
        try:
            line, valid = code_line(*self.controls.settings()), True
        except LirfError as error:
            line, valid = f"# {error}", False
        copying = "navigator.clipboard.writeText(this.nextElementSibling.textContent); this.textContent='copied'"
        self.code.value = (
            f'<div class="lirf-code"><button class="jupyter-button" title="the line that repeats these settings" '
            f'onclick="{copying}">copy as code</button> <code>{html.escape(line)}</code></div>'
        )
        return valid

    def _data_and_original(self, config):
        """Return the data and the original of a config's seed, loaded or trained once."""
        if config.seed not in self._known:
            data = load_dataset(config)
            original = load_or_train(data, config)
            if original.checkpoint is not None:
                raise LirfError(
                    f"the original's training was stopped after epoch {len(original.history)} of {config.epochs}: the "
                    "next run goes on from there"
                )
            self._known[config.seed] = data, original
        return self._known[config.seed]

    # a run

    def run(self):
        """Make the deposit that the controls stand for; one that is running is dropped."""
        if self._rest is not None:
            self._rest.cancel()
        self._drop()
        try:
            config, fraction = self.controls.settings()
        except LirfError as error:
            return self._fail(error)
        self.job = job = Job()
        self.progress.value, self.progress.bar_style = 0, ""
        self.stop_button.disabled = False
        self._say("running …")
        self._listen(job)
        job.thread = threading.Thread(target=self._work, args=(job, config, fraction), daemon=True)
        job.thread.start()

    def stop(self):
        """Stop the deposit that is running."""
        if self.job is not None:
            self.job.ask_to_stop("stopped")

    def wait(self, timeout=None):
        """Wait until the run that was asked for last, its t-SNE included, has ended; not in a notebook."""
        if self.job is not None:
            self.job.thread.join(timeout)

    def _drop(self):
        """Let the last run, if it is still going, end without a word."""
        job, self.job = self.job, None
        if job is not None:
            job.ask_to_stop("dropped")

    def _listen(self, job):
        """Let an interrupt of the kernel stop the run; between cells the kernel would ignore it."""
        if self._loop is None or threading.current_thread() is not threading.main_thread():
            return

        def interrupted(*_):
            job.ask_to_stop("interrupted")

        self._interrupted = interrupted
        # the kernel puts its own handler back when this callback ends
        self._loop.call_soon(signal.signal, signal.SIGINT, interrupted)

    def _ended(self, job):
        """Take back what was only for the time of the run."""
        if job is self.job:
            self.stop_button.disabled = True
            if self._loop is not None and signal.getsignal(signal.SIGINT) is self._interrupted:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the kernel has it between cells

    def _work(self, job, config, fraction):
        """Compute and draw one run; the worker thread's whole life."""
        try:
            with self._computing:
                run = None if job.stop.is_set() else self._compute(job, config, fraction)
                if run is None:
                    return self._report_stop(job)
                pictures = self._draw_all(job, run)
            job.finished = time.perf_counter() - job.asked
            self._embed(job, run, pictures)
        except KeyboardInterrupt:
            self._report_stop(job)
        except Exception as error:
            self._post(self._if_newest, job, self._fail, error)
        finally:
            if job.stop_asked is not None and job.stopped_after is None:
                job.stopped_after = time.perf_counter() - job.stop_asked
            self._post(self._ended, job)

    def _report_stop(self, job):
        job.stopped_after = time.perf_counter() - (job.stop_asked or time.perf_counter())
        said = f"{job.reason} after {job.stopped_after:.2f} s; all tabs but the curves show the run before"
        self._post(self._if_newest, job, self._say, said)

    def _if_newest(self, job, function, *arguments):
        """Call a function unless another run was asked for meanwhile."""
        if job is self.job:
            function(*arguments)

    def _compute(self, job, config, fraction):
        data, original = self._prepare(job, config)
        due = 0.0

        def on_step(done, total, history):
            nonlocal due
            now = time.perf_counter()
            if history and (now > due or done == total):
                curve = figures.png(self._growing.draw(history, config.deposit_epochs))
                self._post(self._if_newest, job, self._show_curve, curve, done, total, len(history))
                drawn = time.perf_counter()
                job.first_curve = job.first_curve or drawn - job.asked
                due = drawn + (drawn - now) / SHARE

        return explore(original, data, config, fraction, job.stop.is_set, on_step)

    def _prepare(self, job, config):
        """Return data and original, and say so if the original has to be trained first."""
        if config.seed in self._known:
            return self._known[config.seed]
        said = f"loading, or training once, the original of seed {config.seed}: some seconds on the digits …"
        self._post(self._if_newest, job, self._say, said)
        job.training = True
        try:
            with warnings.catch_warnings(record=True) as caught, without_bars():
                warnings.simplefilter("always")
                found = self._data_and_original(config)
        finally:
            job.training = False
        for warning in caught:
            self._post(self._if_newest, job, self._say, html.escape(f"note: {warning.message}"))
        return found

    def _show_curve(self, curve, done, total, epoch):
        self.progress.max, self.progress.value = total, done
        self.images["curves"].value = curve

    def _draw_all(self, job, run):
        """Show a run's table, then draw its figures, the open tab's first."""
        pictures = {}
        self._post(self._add, job, run, pictures)
        names = [name for name in FIGURES if name != "t-SNE"]
        for name in sorted(names, key=lambda name: name != TABS[self.tabs.selected_index or 0]):
            pictures[name] = figures.png(FIGURES[name](run))
            self._post(self._show_picture, run, name, pictures[name])
        return pictures

    def _add(self, job, run, pictures):
        """Put a finished run into the history, and show it unless another one was asked for."""
        self.runs.append(run)
        self.pictures.append(pictures)
        if job is self.job:
            self._show(len(self.runs) - 1)
        else:
            self.history.fill(self.runs, self.shown)
        self._draw_surface()

    def _show(self, place):
        """Show a run in every tab."""
        run, pictures, self.shown = self.runs[place], self.pictures[place], place
        self.table.value = table_html(run.table)
        self.history.fill(self.runs, place)
        for name in FIGURES:
            self._show_picture(run, name, pictures.get(name, figures.blank()))
        self._say(self._headline(place))
        self._draw_journey()

    def _show_picture(self, run, name, picture):
        if self.shown is not None and run is self.runs[self.shown]:
            self.images[name].value = picture

    def _headline(self, place):
        run, metrics = self.runs[place], self.runs[place].metrics
        if run.fraction is None:
            names = [("target: Pre Acc", "target Pre"), ("target: Dep Acc", "Dep"), ("target: H Mean", "H Mean")]
            names += [("recovered: Pre Acc", "recovered Pre"), ("recovered: Dep Acc", "Dep")]
        else:
            names = [("target: deposited samples", "target, deposited samples"), ("target: gap", "gap")]
            names += [("recovered: deposited samples", "recovered, deposited samples")]
        said = " · ".join(f"{short} <b>{metrics[name]:.1f}</b>" for name, short in names)
        return f"run {place + 1} in {run.seconds:.1f} s: {said}"

    def _embed(self, job, run, pictures):
        """Add the t-SNE figure, with its own progress."""
        if not self.with_tsne.value or job.stop.is_set():
            return

        def on_step(done, total):
            self._post(self._if_newest, job, self._show_tsne_progress, done, total)

        embed_run(run, self._starts.get(run.config.seed), job.stop.is_set, on_step)
        if not run.embeddings:
            self._post(self._if_newest, job, self._say, "t-SNE was stopped; all other tabs show the run")
        else:
            self._starts[run.config.seed] = run.embeddings["original"]
            pictures["t-SNE"] = figures.png(figures.plot_run_tsne(run))
            self._post(self._show_picture, run, "t-SNE", pictures["t-SNE"])

    def _show_tsne_progress(self, done, total):
        self.progress.max, self.progress.value = total, done
        self.progress.bar_style = "success" if done == total else "info"
        self.tabs.set_title(TABS.index("t-SNE"), "t-SNE" if done == total else f"t-SNE {done}/{total}")

    def _bring_back(self, place):
        """Show an earlier run, and turn the controls to its settings."""
        self._drop()
        self.stop_button.disabled = True
        run = self.runs[place]
        self.controls.show(run.config, run.fraction)
        self._show_code()
        self._show(place)

    # what is drawn on demand

    def _later(self, name, work, then):
        """Do some work in the background and hand the result on, unless the same was asked for again meanwhile."""
        mine = self._newest[name] = object()

        def task():
            try:
                if self._newest[name] is mine:
                    result = work()
                    self._post(lambda: then(result) if self._newest[name] is mine else None)
            except Exception as error:
                self._post(self._fail, error)

        self._drawer.submit(task)

    def _opened(self):
        """Draw what is only drawn where it is seen."""
        {"image": self._draw_journey, "surface": self._draw_surface}.get(TABS[self.tabs.selected_index], lambda: None)()

    def _draw_journey(self):
        """Follow the chosen image through the networks, and ring it in the t-SNE figure."""
        if self.shown is None or TABS[self.tabs.selected_index] != "image":
            return
        run = self.runs[self.shown]
        place = self.journey.place(run.parts.validation)

        def work():
            ringed = figures.png(figures.plot_run_tsne(run, place)) if run.embeddings else None
            return figures.png(figures.plot_journey(run, place, *journey(run, place))), ringed

        def then(drawn):
            self.journey.image.value, ringed = drawn
            if ringed is not None:
                self._show_picture(run, "t-SNE", ringed)

        self._later("journey", work, then)

    def _pin(self, name):
        if self.shown is None:
            raise LirfError("a run must be shown before it can be pinned: press Run")
        self.compare.pinned[name] = self.shown + 1, self.runs[self.shown]
        self._draw_comparison()
        self._say(f"run {self.shown + 1} is pinned as {name}: see the tab A | B")

    def _draw_comparison(self):
        kind, pictures = self.compare.kind.value, {}
        for name, (number, _) in self.compare.pinned.items():
            pictures[name] = self.pictures[number - 1].get(kind, figures.blank())
        self.compare.show(pictures)

    # the response surface

    def _draw_surface(self):
        if TABS[self.tabs.selected_index] != "surface":
            return
        config, fraction = self.controls.settings()
        names, metric = self.surface.names, self.surface.metric.value
        found = [*self.measured, *((run.config, run.metrics) for run in self.runs if run.fraction is None)]
        points = surface_points(found, config, names, metric)
        self.surface.note.value = f"{len(points)} measured; everything else as the controls say now"
        if len(points):
            then = lambda picture: setattr(self.surface.image, "value", picture)  # noqa: E731
            self._later("surface", lambda: figures.png(figures.plot_surface(points, metric)), then)
        else:
            self.surface.image.value = figures.blank()

    def _fill(self):
        """Measure the grid's missing points in the background."""
        if self.filling is not None:
            return
        try:
            config, fraction = self.controls.settings()
        except LirfError as error:
            return self._fail(error)
        names = self.surface.names
        most = 8 if len(names) == 1 else 4
        grid = knob_grid(config, {name: _thinned(STEPS[name], most) for name in names})
        known = {one for one, _ in self.measured} | {run.config for run in self.runs if run.fraction is None}
        missing = [one for one in grid if one not in known]
        if not missing:
            return self._say("the grid has no missing points")
        self.filling = cancelled = threading.Event()
        self.surface.fill.disabled, self.surface.cancel.disabled = True, False
        threading.Thread(target=self._measure, args=(missing, cancelled), daemon=True).start()

    def _measure(self, missing, cancelled):
        failed = []
        try:
            self._post(self._say, f"measuring {len(missing)} points in two processes …")
            for done, (config, metrics) in enumerate(found := fill_grid(missing), start=1):
                if cancelled.is_set():
                    found.close()
                    break
                if isinstance(metrics, str):
                    failed.append(metrics)
                else:
                    self._post(self._measured, config, metrics, f"{done} of {len(missing)} points measured")
            if failed:
                self._post(self._say, html.escape(f"{len(failed)} points failed; {failed[0]}"), True)
        except Exception as error:
            self._post(self._fail, error)
        finally:
            self._post(self._filled, cancelled)

    def _measured(self, config, metrics, said):
        self.measured.append((config, metrics))
        if self.filling is not None:
            self._say(said)
            self._draw_surface()

    def _cancel_filling(self):
        if self.filling is not None:
            self.filling.set()
            self._filled(self.filling)
            self._say("the measuring is cancelled; what was measured stays")

    def _filled(self, cancelled):
        if cancelled is self.filling:
            self.filling = None
            self.surface.fill.disabled, self.surface.cancel.disabled = False, True

    # files

    def _save_figure(self):
        """Write the open tab's figure, of the run that is shown."""
        name = TABS[self.tabs.selected_index]
        if self.shown is None or name not in FIGURES:
            raise LirfError(f"a tab with a run's figure must be open, not {name!r}: {', '.join(FIGURES)}")
        run = self.runs[self.shown]
        if name == "t-SNE" and not run.embeddings:
            raise LirfError("this run has no t-SNE yet")
        paths = save_figure(FIGURES[name](run), self.out, f"run-{self.shown + 1}-{name}")
        self._say(f"written: {html.escape(', '.join(str(path) for path in paths))}")

    def _save_history(self):
        if not self.runs:
            raise LirfError("the history must have a run before it can be saved: press Run")
        path = writable_folder(self.out) / "history.csv"
        try:
            history_table(self.runs).to_csv(path)
        except OSError as error:
            raise LirfError(f"the history can't be written to {path}: {error}") from error
        self._say(f"written: {html.escape(str(path))}")


def _thinned(values, most):
    """Return at most so many values, first and last among them."""
    values = [value for value in values if value != 1e9]
    places = {round(at * (len(values) - 1) / (most - 1)) for at in range(most)}
    return [values[at] for at in sorted(places)]
