"""Every link between notebooks, pages and pictures leads somewhere, and so does every "notebook 07" in a text."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MADE = {"routes.md"}  # the book writes it when it is built
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
PAGES = [page for page in PAGES if page.name not in MADE]
NUMBERS = {file.stem.split("_")[0] for file in NOTEBOOKS}


def text_of(file):
    """Return a page's text, or the text of a notebook's cells that are read: code says file names, too."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return re.sub(r"`[^`]*`", "", text)
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("file", NOTEBOOKS + PAGES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(file):
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text_of(file)):
        path, _, anchor = link.partition("#")
        target = (file.parent / path if path else file).resolve()
        if file.parent.name == "book" and path.startswith("notebooks/"):  # the book has copies there
            target = ROOT / path
        assert target.exists() or target.name in MADE, link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(target), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("file", NOTEBOOKS + PAGES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_notebook_that_a_text_names_by_its_number_is_there(file):
    text = text_of(file)
    named = re.findall(r"\b[Nn]otebooks? (\d\d?b?)\b", text)
    named += re.findall(r"\b(\d\d)_[a-z_]+\b", text)
    assert set(named) <= NUMBERS, set(named) - NUMBERS
    for words, name in re.findall(r"\[([^\]]*)\]\((?:\w+/)*(\w+)\.ipynb\)", text):
        number = re.search(r"\b\d\d?b?\b", words.split("_")[0])  # of "notebook 08", "08 · Is it forgotten?", "08_is_…"
        assert number is None or number[0] == name.split("_")[0], f"[{words}]({name}.ipynb)"


def test_each_notebook_leads_to_the_next():
    course = [file for file in NOTEBOOKS if file.stem[0].isdigit()]
    for file, after in zip(course, course[1:]):
        if file.stem == "02_train_original":  # 02b is an appendix
            after = course[course.index(after) + 1]
        ending = text_of(file)[-700:]
        assert f"({after.name})" in ending, f"{file.name} must end with a link to {after.name}"
