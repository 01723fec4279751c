"""What the page draws for the widgets: one anywidget a view, each with a small script of its own beside this file.

The scripts load nothing else, so they work offline. A view's traits are its whole state: a second view, or the same one
after the page was reloaded, shows the same.
"""

from pathlib import Path

import anywidget
import traitlets

from lirf_kit.widgets.jobs import TURN

HERE = Path(__file__).parent


def _shared(trait):
    """Return a trait that page and kernel share."""
    return trait.tag(sync=True)


class View(anywidget.AnyWidget):
    """A widget that takes its turn before it hears from the page."""

    def _handle_msg(self, msg):
        with TURN:
            super()._handle_msg(msg)


class Frame(View):
    """The frame around a panel: its style sheet, its keys, its whole-window mode, and a word if the kernel is away.

    Keys that are pressed inside the panel don't reach JupyterLab, where a letter would change or add cells; key
    combinations with Ctrl, Alt or Cmd do. `presents` is whether F shows the panel in the whole window, and `presenting`
    whether it is shown there.
    """

    _esm, _css = HERE / "frame.js", HERE / "widgets.css"
    presents = _shared(traitlets.Bool(False))
    presenting = _shared(traitlets.Bool(False))


class Picture(View):
    """A PNG that fills its place and keeps its proportions; `clicked` counts the clicks on it."""

    _esm = HERE / "picture.js"
    png = _shared(traitlets.Bytes())  # a new picture replaces the old one as soon as it is decoded
    alt = _shared(traitlets.Unicode("nothing to see yet"))  # what it shows, for people who can't see it
    clicked = _shared(traitlets.Int(0))

    def show(self, png=b"", alt="nothing to see yet"):
        """Show another picture, or nothing."""
        with self.hold_sync():
            self.png, self.alt = png, alt


class Knob(View):
    """A knob: a slider over some values with a field for any other, or a list of choices.

    `value` is what the user set, valid or not: a number, a choice, or whatever was typed.
    """

    _esm = HERE / "knob.js"
    value = _shared(traitlets.Any())
    description = _shared(traitlets.Unicode())  # the plain word
    symbol = _shared(traitlets.Unicode())  # the paper's
    steps = _shared(traitlets.List())  # pairs of a text and a value: where the slider stops
    choices = _shared(traitlets.List())  # pairs of a text and a value, instead of a slider
    wrong = _shared(traitlets.Bool(False))  # whether the value isn't allowed
    shown = _shared(traitlets.Bool(True))  # whether the knob applies


class StoryView(View):
    """A `story.Story`, in motion; without images, the maps alone.

    While a deposit runs, its frames are sent one by one, as messages; `frames` and `places` hold the finished story.
    """

    _esm = HERE / "story.js"
    names = _shared(traitlets.List(["original", "target", "recovered"]))  # of the networks, the original first
    scene = _shared(traitlets.Dict())
    frames = _shared(traitlets.List())
    places = _shared(traitlets.Bytes())  # float32: the original's points (N, 2), then each frame's (2, N, 2)
    tsne = _shared(traitlets.Bytes())  # float32, (networks, N, 2): where t-SNE puts the points, to be shown instead
    at = _shared(traitlets.Int(-1))  # the frame that is shown
    epoch = _shared(traitlets.Float(0.0))  # its epoch
    picked = _shared(traitlets.Int(-1))  # the point that has the ring
    alt = _shared(traitlets.Unicode())


class Curves(View):
    """The terms of a deposit's loss over its epochs, and a line at `epoch`."""

    _esm = HERE / "curves.js"
    history = _shared(traitlets.List())
    epochs = _shared(traitlets.Int(1))  # how many there will be
    terms = _shared(traitlets.List())  # of the history: key, title, colour, dashes
    epoch = _shared(traitlets.Float(0.0))
    alt = _shared(traitlets.Unicode())


class Pad(View):
    """A square to draw on, or to drop or paste an image on; `pixels` is what a network would see of it."""

    _esm = HERE / "pad.js"
    shape = _shared(traitlets.List([8, 8, 1]))  # height, width and channels of the networks' images
    pixels = _shared(traitlets.CBytes())  # uint8, height × width × channels; empty while there is nothing
