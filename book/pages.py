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
    "classroom": "Classroom: exercises that check themselves, and predictions",
    "data": "Data: images, and who may see which",
    "method": "Method: the paper",
    "evidence": "Evidence: is it forgotten, and is it back?",
    "pictures": "Pictures: t-SNE and every figure",
    "widgets": "Widgets: the explorer and the small interactive figures",
    "kit": "Knobs, devices and saved runs",
}


def reference_pages():
    """A page for each wing with public names, in reStructuredText: a table of all, then each with its docstring."""
    names = {wing: [] for wing in WINGS}
    for name in sorted(lk.__all__, key=str.lower):
        public = getattr(lk, name)
        wing = getattr(public, "__module__", public.__name__).split(".")[1]  # a module has a name alone
        names[wing if wing in WINGS else "kit"].append(name)
    return {wing: _page(WINGS[wing], listed) for wing, listed in names.items() if listed}


def _page(title, names):
    lines = [title, "=" * len(title), "", ".. currentmodule:: lirf_kit", ""]
    lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names)]
    for name in names:
        public = getattr(lk, name)
        if name == "Config":  # its signature is all of its fields: here is a table instead
            lines += ["", ".. autoclass:: Config(**knobs)", "", *_knobs()]
        elif inspect.ismodule(public):
            lines += ["", name, "-" * len(name), "", f".. automodule:: {public.__name__}", "   :members:"]
            lines += ["", ".. currentmodule:: lirf_kit"]
        elif inspect.isclass(public):
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


def folded(notebook):
    """Fold away solutions and what answers a "Predict", leave a lecturer's notes out; `notebook` is changed."""
    notebook["cells"] = [cell for cell in notebook["cells"] if "lecturer" not in cell["metadata"].get("tags", [])]
    asked = False
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            asked = "**Predict" in source or asked and source.startswith("**Exercise")
        elif "BEGIN SOLUTION" in source:
            _fold(cell, "hide-input", "Try it first. Then show a solution", "Hide the solution")
        elif "predict_first(" in source:
            asked = True
        elif asked and cell["outputs"] and "lk.check." not in source:
            _fold(cell, "hide-output", "Your prediction first. Then show the output", "Hide the output")
    return notebook


def _fold(cell, tag, show, hide):
    cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), tag]
    cell["metadata"].setdefault("mystnb", {}).update(code_prompt_show=show, code_prompt_hide=hide)


def described(notebook):
    """Hand on what an output's own metadata says about its picture; `notebook` is changed.

    Most cells say it themselves, in ``mystnb.image.alt``; Sphinx reads that.
    """
    for cell in notebook["cells"]:
        said = [kind["alt"] for output in cell.get("outputs", []) for kind in output.get("metadata", {}).values()]
        if said:
            cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": said[0]}
    return notebook


def copy_notebooks(folder):
    """Copy the notebooks and their drawings into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks" / "images", folder / "images")
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = described(folded(json.loads(file.read_text(encoding="utf-8"))))
        (folder / file.name).write_text(json.dumps(notebook), encoding="utf-8")
