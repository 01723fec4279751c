"""What the book makes before it is built: the notebooks' copies, and the API's pages from the list of public names."""

import csv
import inspect
import io
import json
import shutil
import textwrap
from pathlib import Path

import lirf_kit as lk

ROOT = Path(__file__).parent.parent
WINGS = {
    "data": "Data: images, and who may see which",
    "method": "Method: the paper",
    "evidence": "Evidence: is it forgotten, and is it back?",
    "pictures": "Pictures: t-SNE and every figure",
    "widgets": "Widgets: the explorer and the small interactive figures",
    "kit": "Knobs, devices and saved runs",
}


def reference_page(wing):
    """One wing's public names, in reStructuredText: a table of all, then each with its docstring."""
    title = WINGS[wing]
    names = sorted((name for name in lk.__all__ if _wing(name) == wing), key=str.lower)
    lines = [title, "=" * len(title), "", ".. currentmodule:: lirf_kit", ""]
    lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names)]
    for name in names:
        if name == "Config":  # its signature is all of its fields: here is a table instead
            lines += ["", ".. autoclass:: Config(**knobs)", "", *_knobs()]
        elif inspect.isclass(getattr(lk, name)):
            lines += ["", f".. autoclass:: {name}", "   :members:"]
        else:
            lines += ["", f".. autofunction:: {name}"]
    return "\n".join(lines) + "\n"


def _knobs():
    """Every knob in a table: its name and symbol, its default, what it may be, and what it does."""
    rows = io.StringIO()
    for name, knob in lk.knobs(lk.Config()).iterrows():
        name = f"``{name}`` {knob['symbol']}"
        csv.writer(rows).writerow([name, knob["value"], knob["allowed"], knob["meaning"].replace("*", r"\*")])
    header = [".. csv-table::", "   :header: knob,default,allowed,meaning", "   :widths: 25 15 25 35", ""]
    return [*header, textwrap.indent(rows.getvalue(), "   ")]


def _wing(name):
    wing = getattr(lk, name).__module__.split(".")[1]
    return wing if wing in WINGS else "kit"


def folded(notebook):
    """Fold away the outputs that answer a "Predict", so that a reader can predict first; `notebook` is changed."""
    asked = False
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            asked = "**Predict" in source
        elif "predict_first(" in source:
            asked = True
        elif asked and cell["outputs"]:
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "hide-output"]
    return notebook


def described(notebook):
    """Hand on what the notebook's figures say to those who can't see them; `notebook` is changed."""
    for cell in notebook["cells"]:
        said = [kind["alt"] for output in cell.get("outputs", []) for kind in output.get("metadata", {}).values()]
        cell["metadata"]["mystnb"] = {"image": {"alt": said[0] if said else "A figure, read in the text below it."}}
    return notebook


def copy_notebooks(folder):
    """Copy the notebooks and their drawings into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks" / "images", folder / "images")
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = described(folded(json.loads(file.read_text(encoding="utf-8"))))
        (folder / file.name).write_text(json.dumps(notebook), encoding="utf-8")
