"""The explorer: turn the knobs of a deposit, run it, and look at the results, in one panel of a notebook.

A worker thread computes a run, and hands on what it sees by `Calls.post`. When a new run starts, the previous one is
dropped.
"""

import asyncio
import contextlib
import html
import signal
import threading
import time
import warnings
import weakref
from functools import partial

from lirf_kit.classroom.predictions import kept
from lirf_kit.config import LirfError, preset
from lirf_kit.data.images import load_dataset
from lirf_kit.method.caching import load_or_train
from lirf_kit.widgets.controls import Controls, in_plain_words
from lirf_kit.widgets.drawings import moving_story, plot_story, png
from lirf_kit.widgets.exploring import (
    code_line,
    cut,
    deposited,
    embed_original,
    embed_run,
    explore,
    settings_from_file,
    tsne_part,
)
from lirf_kit.widgets.jobs import TURN, Calls, Job, without_bars
from lirf_kit.widgets.opening import load_opening, save_opening
from lirf_kit.widgets.pieces import Panel, ipywidgets, need_widgets, set_class, toggle
from lirf_kit.widgets.results import Results
from lirf_kit.widgets.story import Story, watch
from lirf_kit.widgets.words import headline, numbers, of_run

PANELS = weakref.WeakSet()  # of this kernel
RUNNING = {False: "running …", True: "running … Make a guess!"}  # by whether guesses are asked for


def interrupted(*_):
    """Stop the runs of all panels; between cells, this handles the kernel's interrupt."""
    for panel in list(PANELS):
        panel.stop("interrupted")


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
    opening : bool
        Whether the panel opens with a run of these settings: a saved one, or else one that starts by itself.

    Raises
    ------
    LirfError
        If ipywidgets or anywidget is missing, or the training of the original was interrupted.
    """

    def __init__(self, config=None, out="explorer-files", opening=True):
        need_widgets("the explorer")
        self.config, self.out = config or preset("digits"), out
        self.job, self._computing = None, threading.Lock()
        self._main, self._loop = Calls(self._fail), None
        with contextlib.suppress(RuntimeError):  # outside a kernel there is no loop
            self._loop = asyncio.get_running_loop()
        self._known, self._homes = {}, {}  # by seed: data and original; the original's embedding
        data, original = self._load(self.config)
        self._build(data)
        PANELS.add(self)
        self._say("Choose what to deposit, turn the knobs, press <b>Run</b>.")
        if opening:
            self._open(data, original)

    def _still(self, static):
        """Return a sentence, the shown run's table and its picture, which stand for the panel."""
        said = "The explorer's panel: run this cell in JupyterLab (make lab) to see it."
        if static:
            self.wait()
        run = self.results.run
        if run is None:
            return said, None, None
        if static and run.story is not None:
            return said, run.table, (moving_story(run), of_run("story", run))
        return said, run.table, self.results.drawn.get((self.results.shown, "story"))

    def _open(self, data, original):
        """Show a run of the config that was saved, or start one, which will be saved."""
        found = load_opening(original, data, self.config)
        if found is None:
            self.run()
            self.job.opening = True
            return
        run, picture = found
        self._homes[self.config.seed] = run.story.home
        self.results.add(run, show=True)
        self.results.drawn[0, "story"] = picture, of_run("story", run)

    def _build(self, data):
        safe = self._main.safe
        self.controls = Controls(data, self.config, safe(self._settings_changed))
        self.results = Results(self._main, self.controls, tuple(data.images.shape[1:]), self._say, self._bring_back)
        self.runs = self.results.runs
        self.results.tabs.observe(safe(self._tab_opened), names="selected_index")
        self.run_button = self._button("▶ Run", "make this deposit", self.run, button_style="primary")
        self.stop_button = self._button("■ Stop", "stop the running deposit", lambda: self.stop(), disabled=True)
        self.auto = toggle("auto-run", "run when you stop turning the controls")
        self.with_tsne = toggle("t-SNE", "embed each run's features", True)
        self.progress = ipywidgets.IntProgress(layout={"flex": "1 1 80px", "width": "auto", "visibility": "hidden"})
        self.message, self.code = (ipywidgets.HTML(layout={"width": "100%"}) for _ in range(2))
        self.results.history.csv.on_click(safe(lambda: self.results.save_history(self.out)))
        self.results.history.file.on_click(safe(lambda: self.results.save_run(self.out)))
        self.results.history.upload.observe(safe(self._open_file), names="value")
        self.guessing = toggle("predict first", "hide a run's result until you have made a guess")
        self.guessing.observe(safe(self._guess_or_not), names="value")
        self.guess = ipywidgets.Text(placeholder="0 to 100", style={"description_width": "initial"})
        self.guess.on_msg(safe(self._reveal))  # which the page sends when Enter is pressed
        reveal = self._button("show the result", "keep your guess, and show the result beside it", self._reveal)
        self.guess_box = ipywidgets.HBox([self.guess, reveal], layout={"display": "none"}).add_class("lirf-guess")
        saving = "write the open tab's figure as PNG, SVG and PDF"
        self.save_button = self._button("save figure", saving, lambda: self.results.save_figure(self.out))
        pins = [
            self._button(f"pin as {letter}", f"keep the shown run as {letter}", partial(self.results.pin, letter))
            for letter in "AB"
        ]
        below = ipywidgets.HBox([self.save_button, *pins, self.code]).add_class("lirf-below")
        said = "show the panel in the whole window, and leave it again (key F)"
        present = ipywidgets.HTML(_page_button("present (F)", said, "lirf-present"))
        buttons = [self.run_button, self.stop_button, self.auto, self.with_tsne, self.guessing]
        top = ipywidgets.HBox([*buttons, self.progress, present, self.message])
        right = ipywidgets.VBox([self.guess_box, self.results.tabs, below])
        columns = ipywidgets.HBox([self.controls.box, right.add_class("lirf-right")]).add_class("lirf-columns")
        self._frame(top.add_class("lirf-top"), columns, presents=True)
        self.frame.observe(safe(lambda: setattr(self.results.tabs, "selected_index", 0)), names="presenting")
        self._compare_with_shown()

    def _button(self, text, tooltip, pressed, **more):
        button = ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": "auto"}, **more)
        button.on_click(self._main.safe(pressed))
        return button

    @property
    def _running(self):
        return self.job is not None and self.job.finished is None

    def _settings_changed(self):
        """Show the code of the new settings, and start the wait for an auto-run."""
        self.results.history.rows.value = None  # so that choosing the same row again counts as a change
        self._compare_with_shown()
        if self.results.open == "surface":
            self.results.draw_open()
        self._main.cancel("run")
        if self.auto.value:
            self._main.rested("run", self.run)

    def _mark(self):
        """Dim the results, and light up Run, as long as they belong to other settings than the controls show."""
        run = self.results.run
        differ = run is not None and not self._running and not self.controls.stand_for(run)
        self.run_button.button_style = "warning" if differ else "primary"
        set_class(self.results.tabs, "lirf-stale", differ)
        return differ

    def _compare_with_shown(self):
        """Show the settings as code, or why they are invalid; mark whether the results belong to them, and say so."""
        try:
            line, invalid = code_line(*self.controls.settings()), None
        except LirfError as error:
            line, invalid = f"# {in_plain_words(str(error))}", error
        copy = _page_button("copy as code", "the line that repeats these settings", "lirf-copy")
        self.code.value = f'<div class="lirf-code">{copy} <code>{html.escape(line)}</code></div>'
        differ, run = self._mark(), self.results.run
        if invalid is not None:
            self._fail(invalid)
        elif differ:
            self._say(f"settings changed: below is still run {self.results.shown + 1}. Press <b>Run</b>.")
        elif run is not None and not self._running and not self._veiled:
            self._say(headline(self.results.shown + 1, run))

    def _tab_opened(self):
        """Replace old news, unless something is still going on."""
        if self.results.surface.filling is None:
            self._compare_with_shown()

    @property
    def _veiled(self):
        return "lirf-veil" in self.results.tabs._dom_classes

    def _veil(self, hidden):
        """Hide the results behind the question for a guess, or show them."""
        self.guess_box.layout.display = None if hidden else "none"
        set_class(self.results.tabs, "lirf-veil", hidden)

    def _ask(self, config, fraction):
        """Ask for a guess, and hide the results until there is one, if guesses are switched on."""
        said = "Dep Acc" if fraction is None else "share of right answers on deposited samples"
        self._question = f"explorer, deposit {deposited(config, fraction)}: the target's {said}"
        self.guess.description, self.guess.value = f"your guess of the target's {said}, in %", ""
        self._veil(self.guessing.value)

    def _guess_or_not(self):
        """Show a hidden result without a guess if guesses are switched off; switched on, the next run asks for one."""
        if self._veiled and not self.guessing.value:
            self._veil(False)
            self._say(RUNNING[False]) if self._running else self._compare_with_shown()

    def _reveal(self):
        """Keep the guess with the student's other predictions, and show the result beside it."""
        guess = kept(self._question, self.guess.value.strip(), "%")
        if self._running:
            return self._say("your guess is kept; the run isn't done yet")
        self._veil(False)
        run = self.results.run
        actual = run.metrics["target: Dep Acc" if run.fraction is None else "target: deposited samples"]
        self._say(f"{headline(self.results.shown + 1, run)}<br>{html.escape(guess.compared(round(actual, 1)))}")

    def _open_file(self):
        """Set the controls to the settings of a run's file, and say its numbers."""
        upload = self.results.history.upload
        files, upload.value = upload.value, ()  # so that the same file can be opened again
        for file in files:
            config, fraction, metrics = settings_from_file(bytes(file.content), self.config)
            self.controls.show(config, fraction)
            self._settings_changed()
            told = numbers(metrics, fraction, "<b>{:.1f}</b>")
            self._say(f"the file's run: {told}. To make it here, press <b>Run</b>.")

    def _fail(self, error):
        """Show what went wrong, in the panel's own words for the knobs."""
        super()._fail(LirfError(in_plain_words(str(error))) if isinstance(error, LirfError) else error)

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
        with TURN:
            self._main.cancel("run")
            try:
                config, fraction = self.controls.settings()
            except LirfError as error:
                return self._fail(error)
            self._drop()
            self.job = job = Job()
            self.stop_button.disabled = False
            self._mark()
            self._ask(config, fraction)
            self._say(RUNNING[self.guessing.value])
            if self._loop is not None:  # between cells, the kernel would ignore an interrupt
                # only the main thread may, and later, because the kernel restores its own handler after this callback
                self._loop.call_soon_threadsafe(signal.signal, signal.SIGINT, interrupted)
            job.thread = threading.Thread(target=self._work, args=(job, config, fraction), daemon=True)
            job.thread.start()

    def stop(self, reason="stopped"):
        """Stop the run, and the auto-run that is about to start."""
        with TURN:
            self._main.cancel("run")
            if self.job is None:
                return
            self.job.ask_to_stop(reason)
            if self.job.finished is not None and self.job.thread.is_alive():  # an embedding can take long to end
                self.stop_button.disabled = True
                self._show_progress(1, 1)
                self._say("t-SNE is stopped; all other tabs show the run")

    def wait(self, timeout=None):
        """Wait until the last requested run and its t-SNE have ended; in a notebook, this would block the panel."""
        if self.job is not None:
            self.job.thread.join(timeout)

    def _drop(self):
        """Let the last run end without a message, if it is still going."""
        self._show_progress(1, 1)
        if self.job is not None:
            self.job.ask_to_stop("dropped")
        self.job = None

    def _tell(self, job, function, *arguments):
        """Call a function when it is its turn, unless another run has been requested since."""
        self._main.post(lambda: function(*arguments) if job is self.job else None)

    def _work(self, job, config, fraction):
        """Compute one run; this is all that the worker thread does."""
        try:
            with self._computing:
                run = self._compute(job, config, fraction)
                if run is None:
                    raise KeyboardInterrupt  # the stop of a deposit is reported like that of an original's training
                job.finished = time.perf_counter() - job.asked
                self._main.post(self._add, job, run)
            self._embed(job, run)
            if job.opening:
                picture = png(plot_story(run))
                self.results.drawn[0, "story"] = picture, of_run("story", run)
                save_opening(run, picture)
        except KeyboardInterrupt:
            job.stopped_after = time.perf_counter() - (job.stop_asked or time.perf_counter())
            self._tell(job, self._show_end, job)
        except Exception as error:
            self._tell(job, self._show_end, job, error)
        finally:
            if job.stop_asked is not None and job.stopped_after is None:
                job.stopped_after = time.perf_counter() - job.stop_asked
            self._tell(job, setattr, self.stop_button, "disabled", True)

    def _show_end(self, job, error=None):
        """Say why a run ended early, and show the one before; there is nothing to guess then."""
        job.finished = job.finished or time.perf_counter() - job.asked
        before = "there is no run yet"
        if self.results.run is not None:
            before = f"below is run {self.results.shown + 1}"
            self.results.tell()
        self._mark()
        self._show_progress(1, 1)
        self._veil(False)
        if error is not None:
            return self._fail(error)
        self._say(f"{job.reason} (it took {job.stopped_after:.2f} s to stop); {before}")

    def _compute(self, job, config, fraction):
        """Make the deposit, and tell its story as it happens; None if it was stopped."""
        if job.stop.is_set():
            return None
        data, original = self._prepare(job, config)
        parts = cut(data, config, fraction)
        story = Story(original, tsne_part(parts), parts.deposit_set, config, self._homes[config.seed])
        self._tell(job, self.results.begin, story)

        def told(done, total, *frame):
            job.first_move = job.first_move or time.perf_counter() - job.asked
            self._tell(job, self._show_progress, done, total)
            self._tell(job, self.results.move, *frame)

        run = explore(original, data, config, fraction, job.stop.is_set, look=watch(story, told))
        if run is not None:
            run.story = story
        return run

    def _add(self, job, run):
        """Add a finished run, and show it if it is the newest; a guess comes first."""
        self.results.add(run, job is self.job, job.note)
        self._mark()
        if job is self.job and self._veiled:
            self._say("the run is done: make your guess, then <b>show the result</b>")

    def _prepare(self, job, config):
        """Return the data and the original; a message says so if they aren't loaded yet."""
        if config.seed in self._homes:
            return self._known[config.seed]
        said = f"loading, or training once, the original of seed {config.seed}: some seconds on the digits …"
        self._tell(job, self._say, said)
        job.training = True
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as caught, without_bars():
                warnings.simplefilter("always")
                data, original = self._known.get(config.seed) or self._load(config)
                seconds = time.perf_counter() - start
                self._homes[config.seed] = embed_original(original, cut(data, config), config)
        finally:
            job.training = False
        job.note = "".join(f"<br>note: {html.escape(str(warning.message))}" for warning in caught)
        if seconds >= 1:
            job.note += f"<br>+ {seconds:.0f} s for the original of seed {config.seed}, once"
        self._tell(job, self._say, RUNNING[self.guessing.value])
        return data, original

    def _show_progress(self, done, total, what=""):
        """Show how far a run or its t-SNE is; at the end the bar is hidden."""
        with self.progress.hold_sync():
            self.progress.max, self.progress.value, self.progress.description = total, done, what
        self.progress.layout.visibility = "hidden" if done == total else "visible"

    def _embed(self, job, run):
        """Add the t-SNE of all three networks."""

        def on_step(done, total):
            if not job.stop.is_set():
                self._tell(job, self._show_progress, done, total, "t-SNE")

        if self.with_tsne.value:
            embed_run(run, self._homes[run.config.seed], job.stop.is_set, on_step)
        if run.embeddings:
            self._main.post(self.results.show_tsne, run)

    def _bring_back(self, place):
        """Show an earlier run, and set the controls to its settings."""
        self._main.cancel("run")
        dropped = self._running and self.job.thread.is_alive()
        self._drop()
        self.stop_button.disabled = True
        self._veil(False)
        run = self.runs[place]
        self.controls.show(run.config, run.fraction)
        self._compare_with_shown()
        self.results.show(place, "<br>the deposit that was running is dropped" if dropped else "")
        self._mark()


def _page_button(text, tooltip, event):
    """Return a button, as HTML, for what the page alone can do: `frame.js` hears its event."""
    asking = f"this.dispatchEvent(new Event('{event}', {{bubbles: true}}))"
    return f'<button class="jupyter-button" title="{tooltip}" onclick="{asking}">{text}</button>'
