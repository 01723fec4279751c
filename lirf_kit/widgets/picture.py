"""A picture in a notebook that has a description, can be clicked, and changes without flicker.

The Image of ipywidgets has neither a description nor clicks. That is why the kit uses anywidget, which runs
``picture.js`` in the page. The script loads nothing else, so pictures work offline.
"""

from pathlib import Path

import anywidget
import traitlets


class Picture(anywidget.AnyWidget):
    """A PNG that fills its place and keeps its proportions.

    `clicked` is the last click: x and y as shares (0 to 1) of the picture from its top left, and the number of clicks
    so far, so that two clicks on the same place differ. It is empty before the first click.
    """

    _esm = Path(__file__).with_suffix(".js")
    png = traitlets.Bytes().tag(sync=True)  # a new picture replaces the old one as soon as it is decoded
    alt = traitlets.Unicode().tag(sync=True)  # what the picture shows, for people who can't see it
    clicked = traitlets.Tuple().tag(sync=True)
