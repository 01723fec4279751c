"""What the explorer's tabs hold: figures of a fixed height, the table, the history, two runs side by side, an image."""

import html

from lirf_kit.widgets.drawings import blank
from lirf_kit.widgets.exploring import EXPLORED, compare_runs, deposited
from lirf_kit.widgets.pieces import Picture, ipywidgets

NOTHING = (blank(), "nothing to see yet")  # a figure that isn't there: its place, and its alternative text
SPACE = "\N{NO-BREAK SPACE}"  # a list collapses others
STYLE = """<style>
.lirf {--jp-widgets-font-size: 15px; --jp-widgets-inline-height: 27px; --jp-widgets-inline-label-width: 112px;
  --jp-widgets-horizontal-tab-width: 86px; --jp-widgets-inline-width-short: 130px; font-size: 15px}
.lirf .jupyter-button {padding: 0 8px}
.lirf .lm-TabBar-tab {padding: 0 4px; text-align: center; color: var(--jp-ui-font-color1)}
.lirf-controls {width: 350px; flex: none; overflow: hidden}
.lirf-controls > .widget-inline-hbox {width: 342px}
.lirf-controls .widget-readout {min-width: 50px}
.lirf-controls .widget-toggle-buttons .jupyter-button, .lirf-controls .widget-toggle-button {width: 100px; padding: 0}
.lirf-classes {flex-flow: row wrap; max-height: 152px; overflow-y: auto; gap: 2px}
.lirf-classes > .widget-vbox {width: 64px; align-items: center; overflow: hidden}
.lirf-classes img {height: 38px; width: 38px; image-rendering: pixelated}
.lirf-classes .widget-toggle-button {width: 60px}
.lirf-classes .mod-active {font-weight: bold; outline: 2px solid var(--jp-ui-font-color1)}
.lirf button:focus-visible, .lirf select:focus-visible, .lirf .noUi-handle:focus, .lirf .lm-TabBar-tab:focus-visible,
.lirf input:focus-visible {outline: 3px solid #D55E00; outline-offset: 1px}
.lirf-right {flex: 1 1 560px; min-width: 480px; overflow: hidden}
.lirf-figure {width: 100%; height: 392px; background: white; margin: 0; flex: none}
.lirf-half {height: 194px}
.lirf-image {height: 358px}
.lirf-small {height: 330px}
.lirf-clickable img {cursor: crosshair}
.lirf-page {height: 396px; overflow: auto}
.lirf-page > .widget-hbox {flex: none}
.lirf .widget-tab-contents {padding: 4px 8px; overflow: hidden}
.lirf-message {height: 46px; overflow: auto; line-height: 1.35; font-size: 16px}
.lirf-message b {font-size: 17px}
.lirf-error {border-left: 6px solid #D55E00; padding-left: 8px}
.lirf-table table {border-collapse: collapse; font-size: 17px; color: var(--jp-ui-font-color1)}
.lirf-table td, .lirf-table th {padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--jp-border-color1);
  white-space: nowrap}
.lirf-compare {overflow: auto}
.lirf-compare .lirf-table table {font-size: 13px; line-height: 1.3}
.lirf-compare .lirf-table td, .lirf-compare .lirf-table th {padding: 1px 3px; overflow: hidden; max-width: 165px}
.lirf-compare tr.differs td, .lirf-compare tr.differs th {font-weight: bold; background: var(--jp-layout-color3)}
.lirf-rows select {font-family: monospace; font-size: 14px; height: 300px; width: 100%}
.lirf-rows pre {font-size: 14px; margin: 0 0 0 5px; line-height: 1.3; overflow: hidden}
.lirf-code {display: flex; gap: 6px}
.lirf-code button {flex: none}
.lirf .lirf-code code {line-height: 16px; font-size: 13px; height: 34px; overflow: auto; user-select: all;
  white-space: pre-wrap}
</style>"""
HISTORY = (
    ("target: Pre Acc", "T Pre"),
    ("target: Dep Acc", "T Dep"),
    ("target: H Mean", "H"),
    ("recovered: Avg Acc", "R Avg"),
)


def figure_box(kind=""):
    """Return a place for a figure, of a height that stays."""
    picture = Picture()
    put(picture, NOTHING)
    picture.add_class("lirf-figure")
    if kind:
        picture.add_class(kind)
    return picture


def put(picture, drawn):
    """Let a picture show what was drawn: a PNG, and its alternative text."""
    with picture.hold_sync():
        picture.png, picture.alt = drawn


def page(*children, kind=""):
    """Return a tab's contents, of a height that stays."""
    box = ipywidgets.VBox(children)
    box.add_class("lirf-page")
    if kind:
        box.add_class(kind)
    return box


def table_html(table):
    """Return a results table as HTML, with dashes where a number does not apply."""
    cells = table.rename_axis(index=None, columns=table.index.name).to_html(
        na_rep="–", float_format=lambda value: f"{value:.2f}", border=0
    )
    return f'<div class="lirf-table">{cells}</div>'


class HistoryTab:
    """A row a run; the one that is chosen, by mouse or arrow key, is brought back.

    Parameters
    ----------
    chosen : callable
        Called with a run's place.
    calibrated : Config
        A row names the knobs that differ from it.
    """

    def __init__(self, chosen, calibrated):
        self._chosen, self._calibrated, self._filling = chosen, calibrated, False
        heading = SPACE.join(f"{word:>{width}}" for word, width in self._widths())
        self.heading = ipywidgets.HTML(f"<pre>{heading.replace(' ', SPACE)}  knobs turned</pre>")
        self.rows = ipywidgets.Select(options=[], rows=12, tooltip="choose a run to bring it back")
        self.rows.layout.width = "100%"
        self.rows.observe(self._pick, names="value")
        self.csv = ipywidgets.Button(description="save as CSV", tooltip="write the history into the explorer's folder")
        self.box = page(self.heading, self.rows, self.csv, kind="lirf-rows")

    @staticmethod
    def _widths():
        return [("run", 3), ("deposit", 14), *((short, 6) for _, short in HISTORY), ("s", 5)]

    def fill(self, runs, place):
        """List the runs, and choose one without bringing it back."""
        self._filling = True
        self.rows.options = [(self._text(number, run), number) for number, run in enumerate(runs)]
        self.rows.value = place
        self._filling = False

    def unselect(self):
        """Let no row be chosen, so that choosing the one that was is a change: `Select` tells of nothing else."""
        self._filling = True
        self.rows.value = None
        self._filling = False

    def _text(self, number, run):
        metrics = run.metrics
        cells = [number + 1, deposited(run.config, run.fraction)[:14]]
        cells += [f"{metrics[name]:.2f}" if name in metrics else "–" for name, _ in HISTORY] + [f"{run.seconds:.1f}"]
        text = " ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, self._widths()))
        changed = {name: getattr(run.config, name) for name in EXPLORED}
        knobs = [f"{name}={value}" for name, value in changed.items() if value != getattr(self._calibrated, name)]
        return f"{text}  {', '.join(knobs)}".replace(" ", SPACE)

    def _pick(self, change):
        if not self._filling and change["new"] is not None:
            self._chosen(change["new"])


class CompareTab:
    """Two pinned runs side by side, with the differences marked."""

    KINDS = ("classes", "curves", "confusion", "t-SNE")

    def __init__(self):
        self.pinned = {}
        self.table = ipywidgets.HTML("Pin one run as A and another as B, with the buttons below.")
        self.kind = ipywidgets.Dropdown(options=self.KINDS, description="figure", tooltip="which figure of A and B")
        self.images = {name: figure_box("lirf-half") for name in "AB"}
        left = ipywidgets.VBox([self.kind, self.table])
        left.add_class("lirf-compare")
        left.layout.flex = "0 0 50%"
        right = ipywidgets.VBox(list(self.images.values()))
        right.layout.flex = "1 1 48%"
        self.box = page(ipywidgets.HBox([left, right]))

    def show(self, drawn):
        """Show what is pinned: pairs of a run's number and the run by A and B, and a figure of either."""
        for name, image in self.images.items():
            put(image, drawn.get(name, NOTHING))
        if len(self.pinned) < 2:
            said = ", ".join(f"{name} is run {number}" for name, (number, _) in self.pinned.items())
            self.table.value = html.escape(f"{said}. Pin another as well.")
            return
        (first, one), (second, other) = self.pinned["A"], self.pinned["B"]
        rows = "".join(
            f"<tr{' class=differs' if row.differs else ''}><th>{'≠ ' if row.differs else ''}{name}</th>"
            f"<td>{_cell(row.A)}</td><td>{_cell(row.B)}</td></tr>"
            for name, row in compare_runs(one, other).iterrows()
        )
        head = f"<tr><th></th><th>A: run {first}</th><th>B: run {second}</th></tr>"
        self.table.value = f'<div class="lirf-table"><table>{head}{rows}</table></div>'


def _cell(value):
    return (
        "–"
        if value is None or value != value
        else html.escape(f"{value:g}" if isinstance(value, float) else str(value))
    )


class JourneyTab:
    """One validation image: chosen by class and number, or by a click elsewhere.

    Parameters
    ----------
    class_names : sequence of str
    changed : callable
        Called without arguments when another image is chosen by hand.

    Attributes
    ----------
    chosen : bool
        Whether an image was chosen yet, by whatever means.
    """

    def __init__(self, class_names, changed):
        self._changed, self._choosing, self.chosen = changed, False, False
        self.label = ipywidgets.Dropdown(
            options=[(str(name), number) for number, name in enumerate(class_names)], description="class",
            tooltip="the image's true class",
        )  # fmt: skip
        self.number = ipywidgets.BoundedIntText(value=0, min=0, description="image", tooltip="which image of the class")
        self.image = figure_box("lirf-image")
        for control in (self.label, self.number):
            control.observe(self._turned, names="value")
            control.layout.width, control.style.description_width = "220px", "52px"
        hint = ipywidgets.HTML("or click a point of the t-SNE figure")
        self.box = page(ipywidgets.HBox([self.label, self.number, hint]), self.image)

    def place(self, part):
        """Return where the chosen image stands in a part; the number counts on from the start again at its end."""
        places = self._places(part, self.label.value)
        return places[self.number.value % len(places)]

    def choose(self, part, place):
        """Choose the image that stands at a place in a part, without calling that a change by hand."""
        number, self._choosing = int(part.labels[place]), True
        self.label.value, self.number.value = number, self._places(part, number).index(place)
        self._choosing, self.chosen = False, True

    @staticmethod
    def _places(part, number):
        return (part.labels == number).nonzero().flatten().tolist()

    def _turned(self, _):
        if not self._choosing:
            self.chosen = True
            self._changed()
