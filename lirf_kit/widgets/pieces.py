"""The parts that all widgets are made of.

The kit works without ipywidgets and anywidget; only creating a widget fails, with a sentence that says what to install.
"""

import contextlib
import html
import os
import traceback

from lirf_kit.config import LirfError

try:
    import ipywidgets

    from lirf_kit.widgets.views import Curves, Frame, Knob, Pad, Picture, StoryView

    MISSING = None
except ModuleNotFoundError as error:
    ipywidgets, MISSING = None, error.name
    Curves = Frame = Knob = Pad = Picture = StoryView = None


def need_widgets(what):
    """Raise a `LirfError` that says how to install ipywidgets or anywidget if `what` can't be shown without it."""
    if MISSING is not None:
        raise LirfError(
            f"{what} needs {MISSING}, which this kernel doesn't have: python -m pip install ipywidgets anywidget, then "
            "restart the kernel"
        )


def toggle(name, tooltip, value=False):
    """Return a button that stays pressed, with a tick before its name while it is."""
    button = ipywidgets.ToggleButton(value=value, tooltip=tooltip)
    ipywidgets.dlink((button, "value"), (button, "description"), lambda on: f"✓ {name}" if on else name)
    return button


@contextlib.contextmanager
def unobserved(controls, observer):
    """Set some controls' values without telling the observer that is meant for the user's changes."""
    for control in controls:
        control.unobserve(observer, names="value")
    try:
        yield
    finally:
        for control in controls:
            control.observe(observer, names="value")


class Panel:
    """What every widget has: a frame with the style sheet, and a message line that also shows errors."""

    def _frame(self, *children, presents=False):
        """Put everything into `self.panel`, the widget's outermost box."""
        self.panel = ipywidgets.VBox([Frame(presents=presents), *children]).add_class("lirf")

    def _say(self, text, error=False):
        """Show a message, as HTML."""
        kind, role = ("lirf-message lirf-error", "alert") if error else ("lirf-message", "status")
        self.message.value = f'<div class="{kind}" role="{role}">{text}</div>'

    def _fail(self, error):
        """Show what went wrong; an unexpected error comes with its traceback."""
        if isinstance(error, LirfError):
            return self._say(f"✖ {html.escape(str(error))}", error=True)
        trace = html.escape("".join(traceback.format_exception(error)))
        said = html.escape(f"{type(error).__name__}: {error}")
        self._say(f"<details><summary>✖ {said}</summary><pre>{trace}</pre></details>", error=True)


def mime_bundle(panel, text, table=None, **keywords):
    """Return what a notebook shows of a panel: the panel itself, or a text and a table where it has no widgets.

    If LIRF_KIT_STATIC is set in the environment, the panel is left out, because a panel that is saved without its
    kernel shows an error message in place of the text.
    """
    plain = text if table is None else f"{text}\n{table.to_string(na_rep='–')}"
    if not os.environ.get("LIRF_KIT_STATIC"):
        return panel._repr_mimebundle_(**keywords) | {"text/plain": plain}
    if table is None:
        return {"text/plain": plain}
    return {"text/plain": plain, "text/html": f"<p>{html.escape(text)}</p>{table.to_html(border=0, na_rep='–')}"}
