"""The minutes that each notebook states: at most 45, and close to what its words, code cells and exercises take."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WORDS_A_MINUTE, MINUTES_A_CELL = 130, 0.5
EXERCISE = r"^\*\*(?:Exercise|Experiment) · .* · (\d+) minutes$"


def cells_of(file):
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def source(cell):
    return "".join(cell["source"])


def in_class(cells):
    """Return the cells without hidden ones, a lecturer's, and those of folded sections (headed "More")."""
    level, kept = 0, []
    for cell in cells:
        heading = re.match(r"(#+) ", source(cell)) if cell["cell_type"] == "markdown" else None
        if heading and (not level or len(heading[1]) <= level):
            level = len(heading[1]) if cell["metadata"].get("jp-MarkdownHeadingCollapsed") else 0
        if not level and not {"remove-cell", "lecturer"} & set(cell["metadata"].get("tags", [])):
            kept.append(cell)
    return kept


def measured(cells):
    """Return the minutes of a notebook: one for 130 words, half a one for a code cell, and those of its exercises.

    What is folded away isn't counted: hints, hidden cells, and sections headed "More". An exercise's own minutes
    include its solution and its check.
    """
    cells = in_class(cells)
    text = "\n".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    words = re.findall(r"\w[\w'’-]*", re.sub(r"<details>.*?</details>|\]\([^)]*\)", " ", text, flags=re.DOTALL))
    code = [source(cell) for cell in cells if cell["cell_type"] == "code"]
    shown = [each for each in code if "BEGIN SOLUTION" not in each and not each.startswith("lk.check.")]
    exercises = sum(map(int, re.findall(EXERCISE, text, re.MULTILINE)))
    return len(words) / WORDS_A_MINUTE + MINUTES_A_CELL * len(shown) + exercises


def stated(cells):
    """Return the minutes that the first cell states, and those of them that are for the exercises."""
    text = source(cells[0])
    minutes = re.search(r"\*\*Time in class:\*\* (\d+) minutes", text)
    more = re.search(r"and (\d+) more for the exercises?", text)
    exercises = int(more[1]) if more else 0
    return int(minutes[1]) + exercises, exercises


def markdown(text, **metadata):
    return {"cell_type": "markdown", "source": [text], "metadata": metadata}


def code(text, **metadata):
    return {"cell_type": "code", "source": [text], "metadata": metadata}


def test_the_formula_by_hand():
    words = " ".join(["word"] * 259)  # and "Title": 260 words, 2 minutes
    card = "**Exercise · x** · ●○○ · 7 minutes\n\n" + " ".join(["w"] * 126)  # Exercise, x, 7, minutes: 130 words
    lesson = [markdown(f"# Title\n\n{words}"), code("1"), code("2", tags=["remove-cell"])]
    exercise = [markdown(card), code("### BEGIN SOLUTION\n### END SOLUTION"), code("lk.check.x(x)")]
    folded = [markdown("## More: x", **{"jp-MarkdownHeadingCollapsed": True}), markdown(words), code("3")]
    assert measured(lesson) == pytest.approx(2.5)
    assert measured(lesson + exercise) == pytest.approx(2.5 + 7 + 1)
    assert measured(lesson + folded) == pytest.approx(2.5)
    assert measured(lesson + folded + [markdown("## Next"), code("4")]) == pytest.approx(3 + 1 / 130)
    assert measured([markdown("<details>" + words + "</details>"), markdown(words, tags=["lecturer"])]) == 0


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_takes_at_most_45_minutes_and_about_as_many_as_it_says(file):
    cells = cells_of(file)
    (minutes, exercises), needed = stated(cells), measured(cells)
    assert 0 < minutes <= 45
    assert abs(minutes - needed) <= needed / 3, f"{file.stem} says {minutes} minutes and needs {needed:.0f}"
    text = "\n\n".join(map(source, in_class(cells)))
    if "**Exercise · " in text:
        assert exercises == sum(map(int, re.findall(EXERCISE, text, re.MULTILINE)))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_only_sections_headed_more_are_folded_and_no_cell_of_one_begins_the_next(file):
    cells = cells_of(file)
    for cell in cells:
        if cell["metadata"].get("jp-MarkdownHeadingCollapsed"):
            assert re.match(r"#+ More\b", source(cell))
    left_out = [cell for cell in cells if cell["cell_type"] == "markdown" and cell not in in_class(cells)]
    for cell in left_out:
        assert not re.search(r"\n#{1,2} ", source(cell)), source(cell)[:60]
