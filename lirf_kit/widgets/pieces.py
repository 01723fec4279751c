"""The parts that all widgets are made of.

The kit works without ipywidgets and anywidget; only creating a widget fails, with a sentence that says what to install.
"""

import base64
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


def set_class(widget, name, on):
    """Give a widget a CSS class, or take it away."""
    (widget.add_class if on else widget.remove_class)(name)


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


def _asleep(text, shown):
    """Return a MIME bundle, and no metadata, for a text that the panel's style sheet hides."""
    return {"text/plain": text, "text/html": f'<div class="lirf-asleep">{shown}</div>'}, {}


class Panel:
    """What every widget has: a frame with the style sheet, and a message line that also shows errors."""

    def _frame(self, *children, presents=False):
        """Put everything into `self.panel`, the widget's outermost box, with a `self.frame` around it."""
        self.frame = Frame(presents=presents)
        self.panel = ipywidgets.VBox([self.frame, *children]).add_class("lirf")

    def _ipython_display_(self):
        from IPython.display import display  # where there is no IPython, nothing is displayed

        for bundle, about in self._bundles():
            display(bundle, metadata=about, raw=True)

    def _bundles(self):
        """Return what a notebook's cell shows, each a MIME bundle and its metadata: what stands for the panel, and it.

        The panel's style sheet hides what stands for it. So it is seen where there is no panel: in a notebook that was
        saved and opened again, on a page, in print. If LIRF_KIT_STATIC is set in the environment, the panel is left
        out.
        """
        static = bool(os.environ.get("LIRF_KIT_STATIC"))
        text, table, picture = self._still(static)
        bundles = [_asleep(text, f"<p>{html.escape(text)}</p>")]
        if picture is not None:
            png, alt = picture
            bundles.append(
                ({"text/plain": alt, "image/png": base64.b64encode(png).decode()}, {"image/png": {"alt": alt}})
            )
        if table is not None:
            bundles.append(_asleep(table.to_string(na_rep="–"), table.to_html(border=0, na_rep="–")))
        return bundles if static else [*bundles, (self.panel._repr_mimebundle_(), {})]

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
