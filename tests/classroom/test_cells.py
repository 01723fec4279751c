"""What a student reads in a notebook: cells of a screen's height, and figures described in words."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LONGEST = 16  # lines of code in a cell that is shown
LONG = {"11_from_scratch": 27}  # the method as one program: a loss, a network or a training loop isn't cut in two


def code_cells(file):
    return [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def lines_to_read(cell):
    """Return a cell's lines of code without imports, magics, empty lines, and the solution of an exercise."""
    text = re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "...", "".join(cell["source"]), flags=re.DOTALL)
    return [line for line in text.splitlines() if line.strip() and not re.match(r"import |from \S+ import |%", line)]


def described(cell, output):
    """Return what is said about an output's picture: in the cell's metadata, or in the output's own."""
    own = output.get("metadata", {}).get("image/png", {}).get("alt")
    return own or cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_no_cell_that_is_shown_is_longer_than_a_screen(file):
    for number, cell in enumerate(code_cells(file)):
        if "remove-cell" not in cell["metadata"].get("tags", []):
            assert len(lines_to_read(cell)) <= LONG.get(file.stem, LONGEST), f"code cell {number} of {file.stem}"


def test_a_cell_s_lines_are_counted_without_imports_and_solutions():
    source = (
        "import a\nfrom b import c\n%magic\n\ndef f():\n    ### BEGIN SOLUTION\n    1\n    2\n    ### END SOLUTION\nf()"
    )
    assert lines_to_read({"source": [source]}) == ["def f():", "    ...", "f()"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_figure_is_described_each_in_its_own_words(file):
    alts = []
    for cell in code_cells(file):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                alts.append(described(cell, output))
                assert re.fullmatch(r".{30,}[.!?]", alts[-1]), (cell["id"], alts[-1])
            for tag in re.findall(r"<img [^>]*>", "".join(output.get("data", {}).get("text/html", ""))):
                assert re.search(r'\balt="[^"]{10,}"', tag), cell["id"]
    assert len(alts) == len(set(alts))
