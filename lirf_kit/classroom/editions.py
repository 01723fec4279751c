"""The editions of the notebooks, from one source: `make editions`, and `make lab` for the student's alone.

`notebooks/` is the solution edition. A solution stands between the lines ``### BEGIN SOLUTION`` and
``### END SOLUTION`` (nbgrader's format), a lecturer's note in a markdown cell that is tagged `lecturer`. Hidden cells,
tagged `remove-cell`, hold the text's numbers to the run. The student edition has blanks (``...``) for solutions, and no
outputs, notes or hidden cells. The instructor edition has everything, unfolded.

Each edition is a folder that can be handed out: ``notebooks/``, and beside it what they read.
"""

import hashlib
import itertools
import json
import re
import shutil
from pathlib import Path

import nbformat

from lirf_kit.config import LirfError

BEGIN, END, NOTE, HELD = "BEGIN SOLUTION", "END SOLUTION", "lecturer", "remove-cell"
CHECKED = "nbval-check-output"  # a blank can't give the output of a solution
EDITIONS = ("student", "instructor")
READ = ("benchmarks", "figures")  # what the notebooks read, beside their own folder
RECORD = ".written.json"  # how each notebook was when it was written, to see whether somebody has changed it


def write_editions(source="notebooks", destination="editions", names=EDITIONS):
    """Write editions of every notebook in a folder, but not over a notebook that somebody has changed since.

    They go into ``student/`` and ``instructor/`` of the destination. Returns what became of each path: it is
    ``written``, ``kept`` because somebody changed it, or ``outdated``: kept like that, although there is a newer one.
    If there is no notebook, or if a solution block isn't closed, a `LirfError` names the notebook and the cell, and
    nothing is written.
    """
    source, destination = Path(source), Path(destination)
    files = sorted(source.glob("*.ipynb"))
    if not files:
        raise LirfError(f"source must be a folder with notebooks, not {str(source)!r}")
    makes, editions = dict(zip(EDITIONS, (student, instructor))), {}
    for name in names:  # everything is made before anything is written
        made = {file.name: makes[name](nbformat.read(file, as_version=4), file.name) for file in files}
        editions[destination / name] = {file: nbformat.writes(each) + "\n" for file, each in made.items()}
    found = {}
    for folder, texts in editions.items():
        found |= _write(folder, texts)
        _copy(source / "images", folder / "notebooks" / "images")
        for name in READ:
            _copy(source.parent / name, folder / name)
    return found


def _write(folder, texts):
    """Write an edition's notebooks, except over those that somebody has changed; say what became of each."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    try:
        record = dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        record = {}  # nothing is known about the files that are there, so they are kept
    found = {}
    for name, text in texts.items():
        path, new = folder / "notebooks" / name, _fingerprint(text.encode())
        old = _fingerprint(path.read_bytes()) if path.exists() else None
        if old in (None, new, record.get(name)):
            path.write_text(text, encoding="utf-8", newline="\n")
            record[name], found[path] = new, "written"
        else:
            found[path] = "kept" if record.get(name) == new else "outdated"
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return found


def _fingerprint(content):
    return hashlib.sha256(content).hexdigest()


def _copy(folder, to):
    if folder.is_dir():
        shutil.copytree(folder, to, dirs_exist_ok=True)


def student(notebook, name="notebook"):
    """Return a notebook with blanks, and without outputs, lecturer's notes and hidden cells; it is changed."""
    check_solutions(notebook, name)
    notebook.cells = [cell for cell in notebook.cells if not {NOTE, HELD} & set(_tags(cell))]
    block = re.compile(rf"^([ \t]*)[^\n]*{BEGIN}.*?{END}[^\n]*$", re.MULTILINE | re.DOTALL)
    for cell in notebook.cells:
        blank = "..." if cell.cell_type == "code" else "YOUR ANSWER HERE"
        cell.source = block.sub(rf"\1{blank}", cell.source)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
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
