"""The widgets: the explorer, and the small interactive figures of the notebooks.

This wing may use all others, and is the only one that knows ipywidgets. To read it, start with `exploring`, which
computes without a browser; then go on to `explorer`, the panel around it.
"""
