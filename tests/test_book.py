"""The book: its routes and the README's copy of them, its API reference, its bibliography, and what it folds away."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

import lirf_kit as lk

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def book(monkeypatch):
    """The folder of the book's own two modules, which `import` finds during the test."""
    monkeypatch.syspath_prepend(ROOT / "book")
    yield ROOT / "book"
    for name in ("pages", "routes"):
        sys.modules.pop(name, None)


def test_every_notebook_is_in_the_table_of_routes_and_on_their_page(book):
    import routes

    names = [file.stem for file in NOTEBOOKS]
    assert [row["notebook"] for row in routes.rows()] == names
    everything = routes.page().split("## Everything")[1]
    assert re.findall(r"\(notebooks/(\w+)\.ipynb\)", everything) == names


def test_the_book_s_contents_list_every_notebook_and_every_page_of_the_reference(book):
    trees = re.findall(r"```\{toctree\}\n((?::.*\n)+)\n([^`]*)```", (book / "index.md").read_text(encoding="utf-8"))
    listed = {pages.strip(): options for options, pages in trees}
    assert ":glob:" in listed["notebooks/*"] and ":glob:" in listed["api/*"]


def test_the_readme_s_table_is_the_one_that_the_routes_make(book):
    import routes

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(routes.START)[1].split(routes.END)[0].strip()
    assert shown == routes.readme_table(), "python book/routes.py writes the table into the README"


def test_notebook_00_s_map_is_the_one_that_the_routes_make(book):
    import routes

    cells = json.loads((ROOT / "notebooks" / f"{routes.FIRST}.ipynb").read_text(encoding="utf-8"))["cells"]
    (text,) = ["".join(cell["source"]) for cell in cells if cell["id"] == routes.MAP]
    assert routes.notebook_map() in text, "python book/routes.py writes the map into the notebook"


def test_no_route_is_longer_than_its_name_says(book):
    import routes

    rows = routes.rows()  # of a notebook that is read only in part, the guide says how long it takes
    assert 0 < sum(row["minutes"] for row in rows if row["in an hour"] == "all") <= 60
    for session in "123":
        whole = [row["minutes"] for row in rows if row["session"] == session and row["of it"] == "all"]
        assert 0 < sum(whole) <= 90


def test_a_notebook_that_does_not_state_its_minutes_is_named(book, tmp_path, monkeypatch):
    import routes

    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "routes.csv").write_text("notebook,what you learn,in an hour,session,of it\n00_x,y,,,\n")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_x.ipynb").write_text(json.dumps({"cells": [{"source": ["# A title\n"]}]}))
    monkeypatch.setattr(routes, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"^00_x: the first cell needs a title and \*\*Time in class:\*\* … minutes$"):
        routes.rows()


def test_the_guide_s_sessions_take_90_minutes_and_have_the_notebooks_of_the_routes(book):
    import routes

    sessions = re.split(r"^## Session \d.*$", (book / "guide.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for number, text in enumerate(sessions, 1):
        plan = text.split("### What students get wrong")[0]
        assert sum(map(int, re.findall(r"^\| (\d+) \|", plan, re.MULTILINE))) == 90
        named = set(re.findall(r"notebooks/(\w+)\.ipynb", plan.split("|--")[0]))
        assert named == {row["notebook"] for row in routes.rows() if row["session"] == str(number)}
    assert number == 3


def asked_in(file):
    """Return the questions of a notebook's predictions, in order, and the stored result of each."""
    cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    printed = [line for cell in cells for out in cell["outputs"] for line in "".join(out.get("text", "")).splitlines()]
    code = "\n".join(line for cell in cells for line in "".join(cell["source"]).splitlines() if line[:1] not in "%!")
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    asks = [call for call in calls if getattr(call.func, "attr", "") == "predict_first"]
    questions = [call.args[0].value for call in sorted(asks, key=lambda call: call.lineno)]
    return {ask: next(line[len(ask) + 2 :] for line in printed if line.startswith(f"{ask}: ")) for ask in questions}


def answered(guide):
    """Return the guide's answers: for each notebook, each question with its answer."""
    tables = re.findall(
        r"\*\*\[[^]]*\]\(notebooks/(\w+)\.ipynb\)\*\*[^|]*\| asked first [^\n]*\n[^\n]*\n((?:\|.*\n)+)", guide
    )
    return {name: dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)) for name, table in tables}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_guide_answers_every_prediction_of_a_notebook_and_no_other(file):
    asked = asked_in(file)
    answers = answered((ROOT / "book" / "guide.md").read_text(encoding="utf-8")).get(file.stem, {})
    assert list(answers) == list(asked)
    if file.stem != "02b_gpu":  # that one measures the machine
        for question, result in asked.items():
            assert re.search(rf"(?<![\d.]){re.escape(result)}(?![\d])", answers[question]), (question, result)


def test_no_two_notebooks_ask_the_same_question():  # in the student's file, one would replace the other
    questions = [question for file in NOTEBOOKS for question in asked_in(file)]
    assert len(questions) == len(set(questions)) > 30


def test_every_public_name_is_on_exactly_one_page_of_the_reference(book):
    import pages

    reference = pages.reference_pages()
    text = "".join(reference.values())
    documented = re.findall(r"^\.\. auto(?:class|function|module):: (?:\w+\.)*(\w+)", text, re.MULTILINE)
    assert sorted(documented) == sorted(lk.__all__)
    assert text.count(".. csv-table::") == 1 and all(f"``{knob}``" in text for knob in lk.knobs(lk.Config()).index)
    assert ".. autofunction:: deposit\n" in reference["method"]


def cell(kind, source, outputs=(1,), **metadata):
    return {"cell_type": kind, "source": [source], "outputs": list(outputs), "metadata": metadata}


def folds(*cells):
    import pages

    shown = pages.folded({"cells": list(cells)})["cells"]
    return [(each["source"][0], [tag for tag in each["metadata"].get("tags", []) if "hide" in tag]) for each in shown]


def test_the_outputs_after_a_predict_are_folded_away_and_no_others(book):
    predict, read = cell("markdown", "**Predict.** How many?"), cell("markdown", "Read it.")
    cells = [
        cell("code", "1"),
        predict,
        cell("code", "2", tags=["x"]),
        cell("code", "3", outputs=()),
        cell("code", "4"),
    ]
    cells += [read, cell("code", "5"), cell("code", "lk.predict_first('Dep Acc')"), cell("code", "6"), read]
    cells += [predict, cell("markdown", "**Exercise · the map**"), cell("code", "lk.check.map(map)"), cell("code", "7")]
    cells += [read, cell("code", "8")]
    assert [source for source, tags in folds(*cells) if tags == ["hide-output"]] == ["2", "4", "6", "7"]


def test_solutions_are_folded_away_and_a_lecturer_s_notes_left_out(book):
    solution = cell("code", "def g():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION")
    shown = folds(cell("markdown", "For the lecturer", tags=["lecturer"]), solution, cell("code", "g()"))
    assert [tags for _, tags in shown] == [["hide-input"], []]


def test_a_figure_keeps_its_description_from_the_output_or_from_the_cell(book):
    import pages

    own = cell("code", "1", outputs=[{"metadata": {"image/png": {"alt": "Two curves."}}}])
    from_cell = cell("code", "2", outputs=[{"metadata": {}}], mystnb={"image": {"alt": "Three bars."}})
    shown = pages.described({"cells": [own, from_cell]})["cells"]
    assert [each["metadata"]["mystnb"]["image"]["alt"] for each in shown] == ["Two curves.", "Three bars."]


@pytest.mark.parametrize("folder, pattern", [("lirf_kit", "*.py"), ("notebooks", "*.ipynb")])
def test_every_work_that_is_cited_is_in_the_bibliography(folder, pattern):
    keys = re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.compile(r"([A-Z][a-z]+)(?: et al\.| & [A-Z][a-z]+),? (?:ECCV )?\(?((?:19|20)\d\d)")
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / folder).rglob(pattern)]
    cited = {f"{name.lower()}{year}" for text in texts for name, year in citation.findall(text)}
    assert len(cited) > 5 and cited <= set(keys)


def test_no_stored_output_of_a_notebook_needs_a_widget_that_a_page_cannot_show():
    for file in NOTEBOOKS:
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {}), file.name
