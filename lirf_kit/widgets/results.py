"""The explorer's right side: tabs that show the runs, and the files that are written from them."""

import html

import numpy

from lirf_kit.config import LirfError
from lirf_kit.pictures.figures import save_figure, writable_folder
from lirf_kit.widgets.drawings import FIGURES, TERMS, plot_journey, png
from lirf_kit.widgets.exploring import (
    NETWORKS,
    compare_runs,
    history_table,
    journey,
    probabilities,
    run_as_file,
    tsne_part,
)
from lirf_kit.widgets.pieces import Curves, Picture, StoryView, ipywidgets
from lirf_kit.widgets.surface import SurfaceTab
from lirf_kit.widgets.tabs import CompareTab, HistoryTab, JourneyTab, YoursTab, page, table_html
from lirf_kit.widgets.words import grain, headline, of_curves, of_journey, of_maps, of_run

TABS = ("story", "curves", "table", "classes", "confusion", "t-SNE", "history", "A | B", "image", "yours", "surface")
TSNE = (
    "t-SNE of each network's own features, after the run. It pulls neighbours together, so islands look tidier than in "
    "the story: ask which of them run into one another."
)


class Results:
    """The tabs, for images of a shape (C, H, W).

    `say` shows a message; `bring_back` is called with a run's place when it is chosen in the history.
    """

    def __init__(self, main, controls, shape, say, bring_back):
        self._main, self._controls, self._say = main, controls, say
        self.runs = []  # every finished run
        self.drawn = {}  # the figures, as pairs of a PNG and its description, by the run's place and their tab
        self.shown = None  # the place of the run that is shown
        self._chosen = False  # whether the image of the tab “image” was chosen, there or by a click on a map
        self.story = StoryView()
        self.story.observe(main.safe(self._picked), names="picked")
        self.tsne, self._tsne_said = StoryView(), ipywidgets.HTML()
        ipywidgets.link((self.story, "picked"), (self.tsne, "picked"))
        self.curves = Curves(terms=TERMS)
        self._link = ipywidgets.jslink((self.story, "epoch"), (self.curves, "epoch"))
        self.table = ipywidgets.HTML("no run yet")
        self.history = HistoryTab(main.safe(bring_back), controls.config)
        self.compare = CompareTab(main.safe(self.draw_open))
        self.journey = JourneyTab(controls.names, lambda: main.rested("image", self._by_hand))
        self.yours = YoursTab(main, shape, lambda image: self.run and probabilities(self.run, image))
        self.surface = SurfaceTab(main, controls, self.runs, say, self.draw_open)
        self.images = {name: Picture().add_class("lirf-figure") for name in ("classes", "confusion")}
        pages = [page(child) for child in (self.story, self.curves, self.table, *self.images.values())]
        pages += [page(self.tsne, self._tsne_said)]
        pages += [tab.box for tab in (self.history, self.compare, self.journey, self.yours, self.surface)]
        self.tabs = ipywidgets.Tab(pages, titles=TABS)
        # drawn by matplotlib, while their tab is open
        self.images |= {"A | B": self.compare.image, "image": self.journey.image, "surface": self.surface.image}
        self.tabs.observe(main.safe(self.draw_open), names="selected_index")

    @property
    def open(self):
        """The name of the open tab."""
        return TABS[self.tabs.selected_index or 0]

    @property
    def run(self):
        """The run that is shown, or None."""
        return None if self.shown is None else self.runs[self.shown]

    def add(self, run, show, note=""):
        """Add a finished run to the history; if `show`, also show it, with a note after its headline."""
        self.runs.append(run)
        if show:
            self.show(len(self.runs) - 1, note)
        else:
            self.history.fill(self.runs, self.history.rows.value)
            self.draw_open()

    def show(self, place, note=""):
        """Show a run in every tab."""
        self.shown = place
        self.table.value = table_html(self.run.table) + f"<p>{grain(self.run)}</p>"
        self.history.fill(self.runs, place if self._controls.stand_for(self.run) else None)
        for name, image in self.images.items():
            if name != self.open:  # the open one keeps its old figure until the new one is drawn
                image.show(alt="drawing …")
        self.tell()
        self._say(headline(place + 1, self.run) + note)
        self.draw_open()

    def begin(self, story):
        """Begin a new story; `move` goes on with it."""
        with self.story.hold_sync():
            self.story.frames, self.story.places = [], b""
            self.story.scene = story.scene
        self.story.send({"begin": True}, [story.home.tobytes()])
        self.curves.history, self.tsne.frames = [], []
        self._tsne_said.value = "t-SNE comes when the run has ended, if it is switched on."

    def move(self, history, frame, places):
        """Show the story's next frame, and the curves so far."""
        self.story.send({"frame": frame}, [places.tobytes()])
        if history:
            epochs = self.story.scene["epochs"]
            with self.curves.hold_sync():
                self.curves.history, self.curves.epochs, self.curves.epoch = history, epochs, 0.0
                self.curves.alt = of_curves(history, epochs)

    def tell(self):
        """Show the whole story and the curves of the run that is shown."""
        run, story = self.run, self.run.story
        with self.curves.hold_sync():
            self.curves.history, self.curves.epochs = run.history, len(run.history)
            self.curves.epoch, self.curves.alt = float(len(run.history)), of_run("curves", run)
        if story is None:
            return
        with self.story.hold_sync():
            self.story.scene = story.scene
            self.story.places = numpy.concatenate([story.home[None], *story.places]).tobytes()
            self.story.frames, self.story.at, self.story.epoch = story.frames, -1, float(len(run.history))
            self.story.alt = of_run("map", run)
            self._ring()
        self.show_tsne(run)

    def show_tsne(self, run):
        """Show a run's t-SNE if the run is still shown, or is pinned."""
        if self.compare.kind.value == "t-SNE" and any(run is pinned for _, pinned in self.compare.pinned.values()):
            self.draw_open()
        if run is self.run:
            points = numpy.array([run.embeddings[name] for name in NETWORKS if run.embeddings], numpy.float32)
            with self.tsne.hold_sync():
                self.tsne.scene = {name: at for name, at in run.story.scene.items() if name != "samples"}
                self.tsne.places, self.tsne.tsne = points[:1].tobytes(), points.tobytes()
                self.tsne.frames, self.tsne.alt = [{"epoch": 0}] * len(points[:1]), of_run("t-SNE", run)
            self._tsne_said.value = TSNE if len(points) else "This run has no t-SNE."

    def draw_open(self):
        """Bring the open tab up to date if it is one of those that change only while they are open."""
        showing = {"A | B": self.compare, "yours": self.yours, "surface": self.surface}
        if self.open in showing:
            showing[self.open].show()
        if self.open == "image" and self.run is not None:
            part = self.run.parts.validation
            self.journey.choose(part, self.journey.place(part))
            self._ring()
        if self.open in self.images:
            try:
                self.images[self.open].show(*self.drawing(self.open))
            except LirfError:  # there is nothing to draw yet
                self.images[self.open].show()

    def drawing(self, tab):
        """Return a tab's figure, as a PNG and its description; those of a run are drawn once."""
        known = self.drawn if tab in FIGURES else {}
        if (self.shown, tab) not in known:
            figure, _, said = self._figure(tab)
            known[self.shown, tab] = png(figure), said
        return known[self.shown, tab]

    def _by_hand(self):
        """Show the image that was chosen in the tab “image”."""
        self._chosen = True
        self.draw_open()

    def _ring(self):
        """Put the maps' ring around the chosen image, if it has a point; without a choice there is no ring."""
        if self._chosen:
            validation = self.run.parts.validation
            index = validation.indices[self.journey.place(validation)]
            found = (tsne_part(self.run.parts).indices == index).nonzero().flatten().tolist()
            self.story.picked = found[0] if found else -1

    def _picked(self):
        """Choose the image whose point was clicked."""
        if self.run is None or self.story.picked < 0:
            return
        part, index = self.run.parts.validation, tsne_part(self.run.parts).indices[self.story.picked]
        place = int((part.indices == index).nonzero())
        if self._chosen and place == self.journey.place(part):
            return
        self.journey.choose(part, place)
        self._chosen = True
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
        self.draw_open()
        self._say(f"run {self.shown + 1} is pinned as {letter}: see the tab A | B")

    def save_figure(self, folder):
        """Write the open tab's figure, and for A | B its table too."""
        tab = self.open
        figure, name, _ = self._figure(tab)
        paths = save_figure(figure, folder, name)
        if tab == "A | B":
            (_, first), (_, second) = (self.compare.pinned[letter] for letter in "AB")
            paths.append(_write(compare_runs(first, second).to_csv(), folder, f"{name}.csv"))
        self._written(paths)

    def _figure(self, tab):
        """Return a tab's figure, a name for its file, and its description."""
        if tab in ("A | B", "surface"):
            return {"A | B": self.compare, "surface": self.surface}[tab].figure()
        if tab not in (*FIGURES, "image"):
            allowed = ", ".join((*FIGURES, "A | B", "image", "surface"))
            raise LirfError(f"a tab with a figure must be open, not {tab!r}: {allowed}")
        if self.run is None:
            raise LirfError("a run must be shown before its figure can be saved: press Run")
        place, file = self.journey.place(self.run.parts.validation), f"run-{self.shown + 1}-{tab}"
        if tab == "image":
            shares, maps = journey(self.run, place)
            self.journey.said.value = of_maps(maps)
            figure = plot_journey(self.run, place, shares, maps)
            return figure, f"{file}-{place}", of_journey(self.run, place, shares)
        ringed = {"place": place} if tab == "t-SNE" and self._chosen else {}
        return FIGURES[tab](self.run, **ringed), file, of_run(tab, self.run)

    def save_history(self, folder):
        """Write the history as CSV."""
        if not self.runs:
            raise LirfError("the history must have a run before it can be saved: press Run")
        self._written([_write(history_table(self.runs).to_csv(), folder, "history.csv")])

    def save_run(self, folder):
        """Write the shown run's settings and numbers as JSON."""
        if self.run is None:
            raise LirfError("a run must be shown before it can be saved: press Run")
        self._written([_write(run_as_file(self.run), folder, f"run-{self.shown + 1}.json")])

    def _written(self, paths):
        self._say(f"written: {html.escape(', '.join(map(str, paths)))}")


def _write(text, folder, name):
    path = writable_folder(folder) / name
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LirfError(f"{path} can't be written: {error}") from error
    return path
