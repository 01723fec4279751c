"""The widgets: the explorer and the small interactive figures of the notebooks.

It may use every other wing, and is the only one that knows ipywidgets.
Begin with `exploring`, which computes without a browser; then read `explorer`, the panel around it.
"""
