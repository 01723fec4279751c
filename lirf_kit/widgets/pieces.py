"""What the widgets are made of, where it is installed: the package itself does without, and says so only when asked."""

import html
import os
import traceback

from lirf_kit.config import LirfError

try:
    import ipywidgets

    from lirf_kit.widgets.picture import Picture

    MISSING = None
except ModuleNotFoundError as error:
    ipywidgets, Picture, MISSING = None, None, error.name


def need_widgets(what):
    """Raise a `LirfError` that says how to install what is missing, if something is.

    Parameters
    ----------
    what : str
        What can't be shown without it.
    """
    if MISSING is not None:
        raise LirfError(
            f"{what} needs {MISSING}, which this kernel doesn't have: python -m pip install ipywidgets anywidget, then "
            "restart the kernel"
        )


class Messages:
    """What every panel has: a line, its `message`, that says how things stand, and shows an error."""

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


def mime_bundle(panel, text, table=None, **keywords):
    """Return what a notebook shows of a panel: the panel itself, and a text for where it can't be.

    With LIRF_KIT_STATIC in the environment there is only the text: a saved panel without its kernel would be an error
    message where the text can be read.

    Parameters
    ----------
    panel : ipywidgets.Widget
    text : str
    table : pandas.DataFrame, optional
        Stands below the text.
    **keywords
        As IPython gives them to ``_repr_mimebundle_``.

    Returns
    -------
    dict of str to object
    """
    plain = text if table is None else f"{text}\n{table.to_string(na_rep='–')}"
    if not os.environ.get("LIRF_KIT_STATIC"):
        return panel._repr_mimebundle_(**keywords) | {"text/plain": plain}
    if table is None:
        return {"text/plain": plain}
    return {"text/plain": plain, "text/html": f"<p>{html.escape(text)}</p>{table.to_html(border=0, na_rep='–')}"}
