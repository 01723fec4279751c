"""The editions of the notebooks, from one source: `make editions`.

`notebooks/` is the solution edition. A solution stands between the lines ``### BEGIN SOLUTION`` and
``### END SOLUTION`` (nbgrader's format), a lecturer's note in a markdown cell that is tagged `lecturer`. Hidden cells,
tagged `remove-cell`, hold the text's numbers to the run. The student edition has blanks (``...``) for solutions, and no
outputs, notes or hidden cells. The instructor edition has everything, unfolded.
"""

import itertools
import re
from pathlib import Path

import nbformat

from lirf_kit.config import LirfError

BEGIN, END, NOTE, HELD = "BEGIN SOLUTION", "END SOLUTION", "lecturer", "remove-cell"
CHECKED = "nbval-check-output"  # a blank can't give the output of a solution


def write_editions(source="notebooks", destination="editions"):
    """Write the student and the instructor edition of every notebook in a folder; return the paths.

    They go into ``student/`` and ``instructor/`` of the destination. If there is no notebook, or if a solution block
    isn't closed, a `LirfError` names the notebook and the cell, and nothing is written.
    """
    files = sorted(Path(source).glob("*.ipynb"))
    if not files:
        raise LirfError(f"source must be a folder with notebooks, not {str(source)!r}")
    editions = []  # everything is made before anything is written
    for file in files:
        for name, edition in (("student", student), ("instructor", instructor)):
            made = edition(nbformat.read(file, as_version=4), file.name)
            editions.append((Path(destination) / name / file.name, made))
    for path, made in editions:
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(made, path)
    return [path for path, _ in editions]


def student(notebook, name="notebook"):
    """Return a notebook with blanks, and without outputs, lecturer's notes and hidden cells; it is changed."""
    from nbconvert.preprocessors import ClearOutputPreprocessor
    from nbgrader.preprocessors import ClearSolutions  # only `make editions` needs it

    check_solutions(notebook, name)
    # the cells need none of nbgrader's own metadata, which its grading would ask for
    clear = ClearSolutions(code_stub={"python": "..."}, enforce_metadata=False)
    notebook, _ = clear.preprocess(notebook, {})
    notebook, _ = ClearOutputPreprocessor().preprocess(notebook, {})
    notebook.cells = [cell for cell in notebook.cells if not {NOTE, HELD} & set(_tags(cell))]
    for cell in notebook.cells:
        cell.metadata.get("jupyter", {}).pop("source_hidden", None)
        if CHECKED in _tags(cell):
            cell.metadata["tags"].remove(CHECKED)
    return notebook


def instructor(notebook, name="notebook"):
    """Return a notebook with its solutions and lecturer's notes unfolded; it is changed."""
    check_solutions(notebook, name)
    for cell in notebook.cells:
        cell.metadata.get("jupyter", {}).pop("source_hidden", None)
        if NOTE in _tags(cell):
            cell.source = cell.source.replace("<details>", "<details open>")
    return notebook


def check_solutions(notebook, name):
    """Raise a `LirfError` unless each BEGIN SOLUTION of a cell is followed by its END SOLUTION."""
    for number, cell in enumerate(notebook.cells):
        marks = re.findall(f"{BEGIN}|{END}", cell.source)
        for mark, expected in zip(marks, itertools.cycle((BEGIN, END))):
            if mark != expected:
                what = "begins twice" if mark == BEGIN else "ends without a beginning"
                raise LirfError(f"{name}, cell {number}: a solution block {what}; check its ### lines")
        if len(marks) % 2:
            raise LirfError(f"{name}, cell {number}: the solution block isn't closed; add a line ### {END}")


def _tags(cell):
    return cell.metadata.get("tags", [])
