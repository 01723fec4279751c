"""The explorer's right side: tabs that show the runs, and the files that are written from them."""

import html

from lirf_kit.config import LirfError
from lirf_kit.pictures.figures import save_figure, writable_folder
from lirf_kit.widgets.drawings import FIGURES, clicked_image, plot_journey, plot_pair, plot_run_tsne, png
from lirf_kit.widgets.exploring import compare_runs, history_table, journey
from lirf_kit.widgets.pieces import ipywidgets
from lirf_kit.widgets.surface import SurfaceTab
from lirf_kit.widgets.tabs import NOTHING, CompareTab, HistoryTab, JourneyTab, figure_box, page, put, table_html
from lirf_kit.widgets.words import headline, of_journey, of_ring

TABS = ("curves", "table", "classes", "confusion", "t-SNE", "history", "A | B", "image", "surface")


class Results:
    """The tabs. `say` shows a message; `bring_back` is called with a run's place when it is chosen in the history."""

    def __init__(self, main, controls, say, bring_back):
        self._main, self._controls, self._say = main, controls, say
        self.runs = []  # every finished run
        self.drawn = []  # each run's figures by their tab, as pairs of a PNG and its description
        self.shown = None  # the place of the run that is shown
        self.images = {name: figure_box() for name in FIGURES}
        self.images["t-SNE"].add_class("lirf-clickable").observe(main.safe(self._clicked), names="clicked")
        self.table = ipywidgets.HTML("no run yet")
        self.history = HistoryTab(main.safe(bring_back), controls.config)
        self.compare = CompareTab(main, self.drawn)
        self.journey = JourneyTab(controls.names, lambda: main.rested("image", self.draw_open))
        self.surface = SurfaceTab(main, controls.settings, self.runs, say)
        pages = {name: page(image) for name, image in self.images.items()} | {"table": page(self.table)}
        pages |= {"history": self.history.box, "A | B": self.compare.box}
        pages |= {"image": self.journey.box, "surface": self.surface.box}
        self.tabs = ipywidgets.Tab([pages[name] for name in TABS], titles=TABS)
        self.tabs.observe(main.safe(self.draw_open), names="selected_index")

    @property
    def open(self):
        """The name of the open tab."""
        return TABS[self.tabs.selected_index or 0]

    @property
    def run(self):
        """The run that is shown, or None."""
        return None if self.shown is None else self.runs[self.shown]

    def add(self, run, drawn, show, note=""):
        """Add a finished run to the history; if `show`, also show it, with a note after its headline."""
        self.runs.append(run)
        self.drawn.append(drawn)
        if show:
            self.show(len(self.runs) - 1, note)
        else:
            self.history.fill(self.runs, self.history.rows.value)
            self.draw_open()

    def show(self, place, note=""):
        """Show a run in every tab."""
        self.shown = place
        self.table.value = table_html(self.run.table)
        self.history.fill(self.runs, place if self._controls.stand_for(self.run) else None)
        for name, image in self.images.items():
            put(image, self.drawn[place].get(name, NOTHING))
        self._say(headline(place + 1, self.run) + note)
        self.draw_open()

    def show_figure(self, run, name, drawn):
        """Show a new figure of a run if the run is still shown, or is pinned."""
        if name == self.compare.kind.value and any(run is pinned for _, pinned in self.compare.pinned.values()):
            self.compare.show()
        if run is self.run:
            put(self.images[name], drawn)
            if name == self.open == "t-SNE":
                self._draw_ring()

    def show_tsne_progress(self, done, total):
        """Show in the tab's title how many embeddings are done."""
        self.tabs.set_title(TABS.index("t-SNE"), "t-SNE" if done == total else f"t-SNE {done}/{total}")

    def draw_open(self):
        """Draw the open tab if it is one of those that are only drawn while they are open."""
        drawing = {"t-SNE": self._draw_ring, "A | B": self.compare.show}
        drawing |= {"image": self._draw_journey, "surface": self.surface.draw}
        if self.open in drawing:
            drawing[self.open]()

    def _draw_journey(self):
        """Draw the chosen image's journey through the networks."""
        if self.run is None:
            return
        run, place, self.journey.chosen = self.run, self.journey.place(self.run.parts.validation), True

        def work():
            probabilities, maps = journey(run, place)
            return png(plot_journey(run, place, probabilities, maps)), of_journey(run, place, probabilities)

        self._main.later("image", work, lambda drawn: put(self.journey.image, drawn))

    def _draw_ring(self):
        """Draw a ring around the chosen image in the t-SNE figure."""
        if self.run is None or not self.run.embeddings or not self.journey.chosen:
            return
        run, place = self.run, self.journey.place(self.run.parts.validation)

        def then(drawn):
            if run is self.run:
                put(self.images["t-SNE"], drawn)

        self._main.later("ring", lambda: (png(plot_run_tsne(run, place=place)), of_ring(run, place)), then)

    def _clicked(self):
        """Find the image whose point was clicked, and choose it."""
        run, (x, y, _) = self.run, self.images["t-SNE"].clicked
        if run is not None and run.embeddings:
            self._main.later("click", lambda: clicked_image(run, x, y), lambda place: self._choose(run, place))

    def _choose(self, run, place):
        if run is not self.run:
            return
        if place is None:
            return self._say("there is no point here: click on one, or choose an image in the tab “image”")
        part = run.parts.validation
        self.journey.choose(part, place)
        self.draw_open()
        name = html.escape(part.class_names[self.journey.label.value])
        chosen = f"image <b>{self.journey.number.value}</b> of class <b>{name}</b> is chosen, validation image {place}"
        self._say(f"{chosen}: open the tab “image” to follow it through the networks")

    def pin(self, letter):
        """Keep the run that is shown as A or B."""
        if self.run is None:
            raise LirfError("a run must be shown before it can be pinned: press Run")
        self.compare.pinned[letter] = self.shown + 1, self.run
        self.compare.show()
        self._say(f"run {self.shown + 1} is pinned as {letter}: see the tab A | B")

    def save_figure(self, folder):
        """Write the open tab's figure, and for A | B its table too."""
        figure, name = self._figure()
        paths = save_figure(figure, folder, name)
        if self.open == "A | B":
            (_, first), (_, second) = (self.compare.pinned[letter] for letter in "AB")
            paths.append(_write_csv(compare_runs(first, second), folder, name))
        self._written(paths)

    def _figure(self):
        """Return the open tab's figure, and a name for its file."""
        if self.open == "surface":
            return self.surface.figure()
        if self.open == "A | B":
            if len(self.compare.pinned) < 2:
                raise LirfError("two runs must be pinned before they can be saved side by side: pin as A, pin as B")
            kind, pair = self.compare.kind.value, {letter: self.compare.pinned[letter] for letter in "AB"}
            return plot_pair(kind, pair), f"runs-{pair['A'][0]}-{pair['B'][0]}-{kind}"
        if self.open not in (*FIGURES, "image"):
            allowed = ", ".join((*FIGURES, "A | B", "image", "surface"))
            raise LirfError(f"a tab with a figure must be open, not {self.open!r}: {allowed}")
        if self.run is None:
            raise LirfError("a run must be shown before its figure can be saved: press Run")
        place, file = self.journey.place(self.run.parts.validation), f"run-{self.shown + 1}-{self.open}"
        if self.open == "image":
            return plot_journey(self.run, place, *journey(self.run, place)), f"{file}-{place}"
        if self.open == "t-SNE" and self.journey.chosen:
            return plot_run_tsne(self.run, place=place), file
        return FIGURES[self.open](self.run), file

    def save_history(self, folder):
        """Write the history as CSV."""
        if not self.runs:
            raise LirfError("the history must have a run before it can be saved: press Run")
        self._written([_write_csv(history_table(self.runs), folder, "history")])

    def _written(self, paths):
        self._say(f"written: {html.escape(', '.join(map(str, paths)))}")


def _write_csv(table, folder, name):
    path = writable_folder(folder) / f"{name}.csv"
    try:
        table.to_csv(path)
    except OSError as error:
        raise LirfError(f"{path} can't be written: {error}") from error
    return path
