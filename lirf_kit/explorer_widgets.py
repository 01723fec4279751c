"""What the widgets are made of, where it is installed: the package itself does without, and says so only when asked."""

from lirf_kit.config import LirfError

try:
    import ipywidgets

    from lirf_kit.explorer_picture import Picture

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
