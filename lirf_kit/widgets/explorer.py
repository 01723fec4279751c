"""The explorer: turn the knobs of a deposit, run it, and look at the results, in one panel of a notebook.

A worker thread computes and draws a run and posts the results to the main thread, the only one that touches the
widgets. When a new run starts, the previous one is dropped.
"""

import html
import signal
import threading
import time
import warnings
from functools import partial

from lirf_kit.config import LirfError, preset
from lirf_kit.data.images import load_dataset
from lirf_kit.method.caching import load_or_train
from lirf_kit.widgets.controls import Controls
from lirf_kit.widgets.drawings import FIGURES, GrowingCurves, png
from lirf_kit.widgets.exploring import code_line, embed_run, explore
from lirf_kit.widgets.jobs import Job, MainThread, without_bars
from lirf_kit.widgets.pieces import Panel, ipywidgets, mime_bundle, need_widgets, toggle
from lirf_kit.widgets.results import Results
from lirf_kit.widgets.tabs import put
from lirf_kit.widgets.words import of_curves, of_run

SHARE = 0.25  # of a deposit's time may go into drawing its curves
LISTENING = {}  # for all panels of the kernel: what an interrupt calls, by the id of the job that it stops


def interrupted(*_):
    """Stop the runs of all panels; this handles the kernel's interrupt while there are any."""
    for stop in list(LISTENING.values()):
        stop()


class DepositExplorer(Panel):
    """A panel to explore the deposit with: controls on the left, results in tabs on the right.

    Put it last in a notebook's cell. Its `runs` lists every finished run. Its computations are plain functions:
    `explore`, `embed_run`, `journey`, `history_table`, `compare_runs`, `surface_points`, `fill_grid`, `code_line`.

    Parameters
    ----------
    config : Config, optional
        The calibrated settings; the default is the preset "digits".
    out : str
        The folder that figures and the history are written to.

    Raises
    ------
    LirfError
        If ipywidgets or anywidget is missing, or the training of the original was interrupted.
    """

    def __init__(self, config=None, out="explorer-files"):
        need_widgets("the explorer")
        self.config, self.out = config or preset("digits"), out
        self.job, self._computing, self._growing = None, threading.Lock(), GrowingCurves()
        self._main = MainThread(self._fail)
        self._known, self._starts = {}, {}  # by seed: data and original; the original's embedding
        self._build(self._load(self.config)[0])
        self._say("Choose what to deposit, turn the knobs, press <b>Run</b>.")

    def _repr_mimebundle_(self, **keywords):
        said = "The explorer's panel: run this cell in JupyterLab (make lab) to see it."
        return mime_bundle(self.panel, said, **keywords)

    def _build(self, data):
        safe = self._main.safe
        self.controls = Controls(data, self.config, safe(self._settings_changed))
        self.results = Results(self._main, self.controls, self._say, self._bring_back)
        self.runs = self.results.runs
        run = self._button("▶ Run", "make this deposit", self.run, button_style="primary")
        self.stop_button = self._button("■ Stop", "stop the deposit that is running", self.stop, disabled=True)
        self.auto = toggle("auto-run", "run when you stop turning the controls")
        self.with_tsne = toggle("t-SNE", "embed each run's features", True)
        self.progress = ipywidgets.IntProgress(max=1, layout={"flex": "1 1 80px", "width": "auto"})
        self.message, self.code = (ipywidgets.HTML(layout={"width": "100%"}) for _ in range(2))
        self.results.history.csv.on_click(safe(lambda: self.results.save_history(self.out)))
        saving, wanted = "write the open tab's figure as PNG, SVG and PDF", lambda: self.results.save_figure(self.out)
        self.save_button = self._button("save figure", saving, wanted)
        below = [self.save_button]
        for letter in "AB":
            keeping = f"keep the run that is shown as {letter}"
            below.append(self._button(f"pin as {letter}", keeping, partial(self.results.pin, letter)))
        for button in below:
            button.layout.width, button.layout.flex = "auto", "none"
        top = ipywidgets.HBox([run, self.stop_button, self.auto, self.with_tsne, self.progress])
        right = ipywidgets.VBox([top, self.message, self.results.tabs, ipywidgets.HBox([*below, self.code])])
        right.add_class("lirf-right")
        self._frame(ipywidgets.HBox([self.controls.box, right], layout={"flex_flow": "row wrap"}))
        self._show_code()

    def _button(self, text, tooltip, pressed, **more):
        button = ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": "90px"}, **more)
        button.on_click(self._main.safe(pressed))
        return button

    def _settings_changed(self):
        """Show the code of the new settings, and start the wait for an auto-run."""
        self.results.history.rows.value = None  # so that choosing the same row again counts as a change
        if self._show_code() and self.results.open == "surface":
            self.results.surface.draw()
        self._main.cancel("run")
        if self.auto.value:
            self._main.rested("run", self.run)

    def _show_code(self):
        """Show the code that makes the settings, or why they are invalid; return whether they are valid."""
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

    def _load(self, config):
        """Return the data and the original of a config's seed, and remember them."""
        data = load_dataset(config)
        original = load_or_train(data, config)
        if original.checkpoint is not None:
            raise LirfError(
                f"the original's training was stopped after epoch {len(original.history)} of {config.epochs}: the "
                "next run goes on from there"
            )
        self._known[config.seed] = data, original
        return data, original

    def run(self):
        """Make the deposit that the controls describe; a run that is still going is dropped."""
        self._main.cancel("run")
        try:
            config, fraction = self.controls.settings()
        except LirfError as error:
            return self._fail(error)
        self._drop()
        self.job = job = Job()
        self.stop_button.disabled = False
        self._say("running …")
        self._listen(job)
        job.thread = threading.Thread(target=self._work, args=(job, config, fraction), daemon=True)
        job.thread.start()

    def stop(self):
        """Stop the run, and the auto-run that is about to start."""
        self._main.cancel("run")
        if self.job is not None:
            self._ask_to_stop(self.job, "stopped")

    def _ask_to_stop(self, job, reason):
        """Stop a run. If only its t-SNE is left, say so at once, because the current embedding can take long to end."""
        job.ask_to_stop(reason)
        if job.finished is not None and job.thread.is_alive():
            self._main.post(self._if_newest, job, self._show_tsne_stopped)

    def _show_tsne_stopped(self):
        self.stop_button.disabled = True
        self._reset_progress()
        self._say("t-SNE is stopped; all other tabs show the run")

    def _reset_progress(self):
        self._show_progress(0, self.progress.max)
        self.results.show_tsne_progress(1, 1)

    def wait(self, timeout=None):
        """Wait until the last requested run and its t-SNE have ended; in a notebook, this would block the panel."""
        if self.job is not None:
            self.job.thread.join(timeout)

    def _drop(self):
        """Let the last run end without a message, if it is still going."""
        job, self.job = self.job, None
        self._reset_progress()
        if job is not None:
            job.ask_to_stop("dropped")

    def _listen(self, job):
        """Make an interrupt of the kernel stop the run; between cells, the kernel would ignore it."""
        if self._main.loop is None or threading.current_thread() is not threading.main_thread():
            return
        LISTENING[id(job)] = partial(self._ask_to_stop, job, "interrupted")
        # later, because the kernel restores its own handler after this callback
        self._main.loop.call_soon(signal.signal, signal.SIGINT, interrupted)

    def _ended(self, job):
        """Undo what was set up for the run."""
        if job is self.job:
            self.stop_button.disabled = True
        if LISTENING.pop(id(job), None) and not LISTENING and signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the kernel has it between cells

    def _work(self, job, config, fraction):
        """Compute and draw one run; this is all that the worker thread does."""
        try:
            with self._computing:
                run = None if job.stop.is_set() else self._compute(job, config, fraction)
                if run is None:
                    raise KeyboardInterrupt  # the stop of a deposit is reported like that of an original's training
                drawn = self._draw_all(job, run)
            job.finished = time.perf_counter() - job.asked
            self._embed(job, run, drawn)
        except KeyboardInterrupt:
            job.stopped_after = time.perf_counter() - (job.stop_asked or time.perf_counter())
            said = f"{job.reason} after {job.stopped_after:.2f} s; all tabs but the curves show the run before"
            self._main.post(self._if_newest, job, self._say, said)
        except Exception as error:
            self._main.post(self._if_newest, job, self._fail, error)
        finally:
            if job.stop_asked is not None and job.stopped_after is None:
                job.stopped_after = time.perf_counter() - job.stop_asked
            self._main.post(self._ended, job)

    def _if_newest(self, job, function, *arguments):
        """Call a function unless another run has been requested since."""
        if job is self.job:
            function(*arguments)

    def _compute(self, job, config, fraction):
        """Make the deposit; its curves are drawn in another thread, so that Stop needn't wait for a drawing."""
        data, original = self._prepare(job, config)
        drawing, due = None, 0.0

        def draw(history):
            nonlocal due
            begun = time.perf_counter()
            curve = png(self._growing.draw(history, config.deposit_epochs)), of_curves(history, config.deposit_epochs)
            end = time.perf_counter()
            job.first_curve = job.first_curve or end - job.asked
            due = end + (end - begun) / SHARE
            return curve

        def on_step(done, total, history):
            nonlocal drawing
            if history and time.perf_counter() > due and (drawing is None or drawing.done()):
                work, then = partial(draw, list(history)), partial(self._if_newest, job, self._show_curve, done, total)
                drawing = self._main.later("curves", work, then)

        run = explore(original, data, config, fraction, job.stop.is_set, on_step)
        if run is not None and drawing is not None:
            drawing.result()  # it mustn't replace the finished run's figure
        return run

    def _prepare(self, job, config):
        """Return the data and the original; a message says so if they aren't loaded yet."""
        if config.seed in self._known:
            return self._known[config.seed]
        said = f"loading, or training once, the original of seed {config.seed}: some seconds on the digits …"
        self._main.post(self._if_newest, job, self._say, said)
        job.training = True
        try:
            with warnings.catch_warnings(record=True) as caught, without_bars():
                warnings.simplefilter("always")
                found = self._load(config)
        finally:
            job.training = False
        job.note = "".join(f"<br>note: {html.escape(str(warning.message))}" for warning in caught)
        return found

    def _show_curve(self, done, total, curve):
        self._show_progress(done, total)
        put(self.results.images["curves"], curve)

    def _show_progress(self, done, total, style=""):
        self.progress.max, self.progress.value, self.progress.bar_style = total, done, style

    def _draw_all(self, job, run):
        """Show a run's table, then draw its figures, starting with the open tab's."""
        drawn = {}
        self._main.post(self._if_newest, job, self._show_progress, 1, 1)
        self._main.post(lambda: self.results.add(run, drawn, job is self.job, job.note))
        names = [name for name in FIGURES if name != "t-SNE"]
        for name in sorted(names, key=lambda name: name != self.results.open):
            self._draw(run, name, drawn)
        return drawn

    def _draw(self, run, name, drawn):
        drawn[name] = png(FIGURES[name](run)), of_run(name, run)
        self._main.post(self.results.show_figure, run, name, drawn[name])

    def _embed(self, job, run, drawn):
        """Add the t-SNE figure; its progress is shown separately."""
        if not self.with_tsne.value or job.stop.is_set():
            return

        def on_step(done, total):
            self._main.post(self._if_newest, job, self._show_tsne_progress, done, total)

        embed_run(run, self._starts.get(run.config.seed), job.stop.is_set, on_step)
        if run.embeddings:
            self._starts[run.config.seed] = run.embeddings["original"]
            self._draw(run, "t-SNE", drawn)

    def _show_tsne_progress(self, done, total):
        if not self.job.stop.is_set():
            self._show_progress(done, total, "success" if done == total else "info")
            self.results.show_tsne_progress(done, total)

    def _bring_back(self, place):
        """Show an earlier run, and set the controls to its settings."""
        self._main.cancel("run")
        dropped = self.job is not None and self.job.finished is None and self.job.thread.is_alive()
        self._drop()
        self.stop_button.disabled = True
        run = self.runs[place]
        self.controls.show(run.config, run.fraction)
        self._show_code()
        self.results.show(place, "<br>the deposit that was running is dropped" if dropped else "")
