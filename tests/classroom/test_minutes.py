"""The minutes that each notebook states: at most 45, and close to what its words, code cells and exercises take."""

import re
from pathlib import Path

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WORDS_A_MINUTE, MINUTES_A_CELL = 130, 0.5


def is_left_out(cell):
    """Return whether a cell is no part of the lesson: hidden, or for the lecturer."""
    return bool({"remove-cell", "lecturer"} & set(cell["metadata"].get("tags", [])))


def in_class(cells):
    """Return the cells without hidden ones and without folded sections ("## More: …")."""
    folded, kept = 0, []
    for cell in cells:
        heading = re.match(r"(#+) ", "".join(cell["source"])) if cell["cell_type"] == "markdown" else None
        if heading and (not folded or len(heading[1]) <= folded):
            folded = len(heading[1]) if cell["metadata"].get("jp-MarkdownHeadingCollapsed") else 0
        if not folded and not is_left_out(cell):
            kept.append(cell)
    return kept


def measured(cells):
    """Return the minutes of a notebook: its words, its code cells, and the minutes that its exercises ask for.

    130 words a minute, and half a minute for each code cell. What is folded away isn't counted: hints, hidden cells and
    sections headed "More". An exercise's minutes include its solution and its check.
    """
    cells = in_class(cells)
    sources = ["".join(cell["source"]) for cell in cells]
    text = "\n".join(source for cell, source in zip(cells, sources) if cell["cell_type"] == "markdown")
    text = re.sub(r"<details>.*?</details>|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    exercises = sum(
        int(found) for found in re.findall(r"^\*\*(?:Exercise|Experiment) · .* · (\d+) minutes$", text, re.MULTILINE)
    )
    code = [source for cell, source in zip(cells, sources) if cell["cell_type"] == "code"]
    shown = [source for source in code if "BEGIN SOLUTION" not in source and not source.startswith("lk.check.")]
    return len(re.findall(r"\w[\w'’-]*", text)) / WORDS_A_MINUTE + MINUTES_A_CELL * len(shown) + exercises
