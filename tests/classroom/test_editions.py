"""The student edition: each blank fails its check, nothing else breaks, and nothing is given away."""

import ast
import linecache
import re
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import lirf_kit as lk
from lirf_kit.classroom import editions
from lirf_kit.evidence.audit import BUDGET, NAMELESS, Audit

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WITH_EXERCISES = [path for path in NOTEBOOKS if "### BEGIN SOLUTION" in path.read_text(encoding="utf-8")]
CHECKED = [path for path in WITH_EXERCISES if path.stem != "12_audit"]  # its plan and verdict have no check
SOLVED = '''def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    result = x * 2
    return result
    ### END SOLUTION'''


def small_notebook():
    exercise = new_code_cell(SOLVED, outputs=[new_output("stream", text="shown")], execution_count=3)
    exercise.metadata = {"jupyter": {"source_hidden": True}}
    check = new_code_cell("double(2)", metadata={"tags": ["nbval-check-output", "kept"]})
    note = new_markdown_cell(
        "<details><summary>For the lecturer</summary>Ask.</details>", metadata={"tags": ["lecturer"]}
    )
    cells = [new_markdown_cell("<details><summary>Hint</summary>Times.</details>"), exercise, check, note]
    return new_notebook(cells=cells)


def test_the_student_edition_has_blanks_hints_and_checks_and_nothing_that_gives_them_away():
    made = editions.student(small_notebook())
    hint, exercise, check = made.cells
    assert "Hint" in hint.source
    assert exercise.source == 'def double(x):\n    """Twice x."""\n    ...'
    assert exercise.outputs == [] and exercise.execution_count is None
    assert "source_hidden" not in exercise.metadata.get("jupyter", {})
    assert check.source == "double(2)" and check.metadata["tags"] == ["kept"]


def test_the_instructor_edition_has_everything_unfolded():
    made = editions.instructor(small_notebook())
    assert len(made.cells) == 4
    assert made.cells[1].source == SOLVED and made.cells[1].outputs
    assert "source_hidden" not in made.cells[1].metadata["jupyter"]
    assert made.cells[3].source.startswith("<details open>")
    assert made.cells[0].source.startswith("<details>")  # a hint stays folded


@pytest.mark.parametrize(
    "source,said",
    [
        ("### BEGIN SOLUTION\nx = 1", "the solution block isn't closed; add a line ### END SOLUTION"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "a solution block begins twice"),
        ("x = 1\n### END SOLUTION", "a solution block ends without a beginning"),
    ],
)
def test_a_solution_block_that_is_not_closed_is_named_and_nothing_is_written(tmp_path, source, said):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(small_notebook(), tmp_path / "notebooks" / "a.ipynb")
    broken = new_notebook(cells=[new_markdown_cell("title"), new_code_cell(source)])
    nbformat.write(broken, tmp_path / "notebooks" / "b.ipynb")
    with pytest.raises(lk.LirfError, match=rf"^b\.ipynb, cell 1: {re.escape(said)}"):
        editions.write_editions(tmp_path / "notebooks", tmp_path / "editions")
    assert not (tmp_path / "editions").exists()


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(lk.LirfError, match="^source must be a folder with notebooks"):
        editions.write_editions(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The editions of the notebooks, each in a folder with their names."""
    folder = tmp_path_factory.mktemp("editions")
    found = editions.write_editions(NOTEBOOKS[0].parent, folder)
    assert len(found) == 2 * len(NOTEBOOKS) and set(found.values()) == {"written"}
    return folder


@pytest.fixture
def small_source(tmp_path):
    """A folder with one notebook, and what it says; `change` writes another text into it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()

    def change(text):
        nbformat.write(new_notebook(cells=[new_markdown_cell(text, id="one")]), folder / "a.ipynb")

    change("first")
    return folder, change


def make_student(source, folder):
    (what,) = editions.write_editions(source, folder, names=("student",)).values()
    return what, nbformat.read(folder / "student" / "notebooks" / "a.ipynb", as_version=4).cells[0].source


def test_a_changed_notebook_is_never_written_over_and_an_untouched_one_is_renewed(small_source, tmp_path):
    source, change = small_source
    folder = tmp_path / "editions"
    mine = folder / "student" / "notebooks" / "a.ipynb"
    assert make_student(source, folder) == ("written", "first")
    change("second")
    assert make_student(source, folder) == ("written", "second")
    mine.write_text(mine.read_text().replace("second", "my work"))
    assert make_student(source, folder) == ("kept", "my work")
    change("third")
    for _ in range(2):
        assert make_student(source, folder) == ("outdated", "my work")
    mine.rename(mine.with_name("mine.ipynb"))
    assert make_student(source, folder) == ("written", "third")
    assert not (folder / "instructor").exists()


@pytest.mark.parametrize("record", [None, "", "[1]", "{"])
def test_without_a_good_record_of_what_was_written_everything_is_kept(small_source, tmp_path, record):
    source, change = small_source
    make_student(source, tmp_path)
    change("second")
    kept = tmp_path / "student" / editions.RECORD
    kept.unlink() if record is None else kept.write_text(record)
    assert make_student(source, tmp_path) == ("outdated", "first")


@pytest.mark.parametrize("name", ["student", "instructor"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_link_image_and_file_of_an_edition_is_there(written, path, name):
    folder = written / name / "notebooks"
    for cell in nbformat.read(folder / path.name, as_version=4).cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"\]\((?!https?:|mailto:|#)([^)\s#]+)", cell.source)
        else:
            found = [text.split("{")[0] for text in re.findall(r"""["'](\.\./[^"'*]+)""", cell.source)]
        for link in found:
            assert (folder / link).exists() or list(folder.glob(f"{link}*")), f"{path.name}: {link}"


def run(notebook, folder):
    """Execute a notebook in a folder, where nobody answers; a cell that raises is an error."""
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


@pytest.mark.parametrize("name", ["01_partition", "lab_paper_tables"])
def test_a_student_s_notebook_runs_in_its_folder_and_only_the_blanks_checks_complain(written, name, monkeypatch):
    monkeypatch.setenv("LIRF_KIT_STATIC", "1")
    folder = written / "student" / "notebooks"
    done = run(nbformat.read(folder / f"{name}.ipynb", as_version=4), folder)
    for cell in done.cells:
        shown = "".join(output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", []))
        if cell.source.startswith("lk.check."):
            assert " still has a blank: replace the … with your own lines" in shown
        assert "✗" not in shown or cell.source.startswith("lk.check.")
    assert not list(folder.glob("my-predictions*"))


def solution_lines(notebook):
    """Return the lines of a notebook's solutions, without the short ones that stand anywhere (`return x`)."""
    for cell in notebook.cells:
        for block in re.findall(r"BEGIN SOLUTION[^\n]*\n(.*?)\n[^\n]*END SOLUTION", cell.source, re.DOTALL):
            yield from (line.strip() for line in block.splitlines() if len(line.strip()) > 16)


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_no_line_of_a_solution_is_in_the_student_edition(written, path):
    lines = list(solution_lines(nbformat.read(path, as_version=4)))
    student = nbformat.read(written / "student" / "notebooks" / path.name, as_version=4)
    text = "\n".join(cell.source for cell in student.cells)
    assert lines and [line for line in lines if line in text] == []
    assert not any(cell.get("outputs") for cell in student.cells)


def names(cell, context):
    code = "\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith("%"))
    return {
        node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name) and isinstance(node.ctx, context)
    }


def shown(path):
    """Return a notebook's cells without those that are hidden."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if editions.HELD not in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_needs_a_hidden_one_and_the_student_edition_has_none(written, path):
    hidden = [
        cell for cell in nbformat.read(path, as_version=4).cells if editions.HELD in cell.metadata.get("tags", [])
    ]
    cells = [cell for cell in shown(path) if cell.cell_type == "code"]
    made, own, needed = set(), set(), set()
    for cell in hidden:
        made |= names(cell, ast.Store)
    for cell in cells:
        own |= names(cell, ast.Store) | set(re.findall(r"def \w+\((.*)\)", cell.source))
        needed |= names(cell, ast.Load)
    parameters = set(re.findall(r"\w+", " ".join(own)))
    assert not (made - own - parameters) & needed
    sources = [cell.source for cell in nbformat.read(written / "student" / "notebooks" / path.name, as_version=4).cells]
    assert not [cell.source for cell in hidden if cell.source in sources or cell.get("outputs")]
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in hidden)


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.stem)
def test_each_blank_fails_its_check_each_solution_passes_and_nothing_else_needs_them(written, path):
    solved = [cell for cell in shown(path) if cell.cell_type == "code"]
    blank = nbformat.read(written / "student" / "notebooks" / path.name, as_version=4).cells
    blank = [cell for cell in blank if cell.cell_type == "code"]
    assert len(solved) == len(blank)
    imports = "\n".join(line for line in solved[0].source.splitlines() if re.match(r"(import|from) ", line))
    asked = 0
    for place, (full, empty) in enumerate(zip(solved, blank)):
        if "### BEGIN SOLUTION" not in full.source:
            assert full.source == empty.source
            continue
        asked += 1
        defined = {node.name for node in ast.parse(full.source).body if isinstance(node, ast.FunctionDef)}
        check = solved[place + 1]
        call = re.fullmatch(r"lk\.check\.(\w+)\((\w+)\)", check.source)
        assert call and {call[2]} == defined, f"the cell after {defined} must be its check, alone"
        for source, good in ((full.source, True), (empty.source, False)):
            space, name = {}, f"{path.stem}-{place}-{good}"
            linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # as IPython does
            exec(imports, space)
            exec(compile(source, name, "exec"), space)
            verdict = eval(check.source, space)
            assert bool(verdict) is good, verdict
        assert repr(verdict).startswith(f"✗ {call[2]} still has a blank: replace the … with your own lines")
        for other, cell in enumerate(solved):
            assert other in (place, place + 1) or not defined & names(cell, ast.Load), f"cell {other} uses {defined}"
    assert asked >= 1


def test_the_teaching_notebooks_have_exercises():
    with_exercises = {path.stem[:2] for path in WITH_EXERCISES}
    assert {"01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "12"} <= with_exercises


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.stem)
def test_every_exercise_has_a_card_with_hints_and_its_check_is_compared(path):
    cells = nbformat.read(path, as_version=4).cells
    places = [place for place, cell in enumerate(cells) if "### BEGIN SOLUTION" in cell.source]
    assert 4 <= len(places) <= 6
    for place in places:
        title, why, *rest = cells[place - 1].source.split("\n\n")
        assert re.fullmatch(r"\*\*Exercise · .+\*\* · [●○]{3} · \d+ minutes", title)
        assert why.startswith("*Why it matters:* ") and "*Expected:* " in rest[0]
        hints = re.findall(
            r"<details><summary>Hint (\d)</summary>\n\n.+?\n\n</details>", cells[place - 1].source, re.DOTALL
        )
        assert len(hints) >= 2 and hints == [str(number) for number in range(1, len(hints) + 1)]
        assert cells[place].metadata["jupyter"]["source_hidden"]  # the solution is folded
        assert cells[place + 1].metadata["tags"] == ["nbval-check-output"]
        assert cells[place + 1].outputs[0]["data"]["text/plain"].startswith("✓ Right: ")
        (block,) = re.findall(r"### BEGIN SOLUTION\n(.*?)\n\s*### END SOLUTION", cells[place].source, re.DOTALL)
        assert len(block.splitlines()) <= 10


def answered(tool, network):
    """What four networks of known kinds and two references answer, as in the notebook with its seed."""
    renewed = {"network B": 100.0, "network C": 100.0, "network D": 14.0, "original": 100.0}
    return renewed.get(network, 0.0) if tool == "new statistics" else 100.0 * (network == "network C")


@pytest.mark.parametrize("edition", ["student", "solution"])
def test_the_audit_s_blanks_break_nothing_and_its_solution_scores_ten(written, edition, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path))
    monkeypatch.setenv("LIRF_KIT_STATIC", "1")  # nobody is asked for a prediction
    folder = written / "student" / "notebooks" if edition == "student" else NOTEBOOKS[0].parent
    cells = [cell for cell in nbformat.read(folder / "12_audit.ipynb", as_version=4).cells if cell.cell_type == "code"]
    begin = next(place for place, cell in enumerate(cells) if "audit = lk.blind_audit(" in cell.source)
    end = next(place for place, cell in enumerate(cells) if "lk.evidence_networks(" in cell.source)
    kinds = ("retrained", "head masking", "target, output alone", "target")
    audit = Audit(7, BUDGET, answered, lambda: dict(zip(NAMELESS, kinds)))
    space = {"lk": lk, "audit": audit, "seed": 7, "display": lambda *shown, **metadata: None, "Figure": Figure}
    for cell in cells[begin + 1 : end]:
        if "lk.blind_audit(" not in cell.source:
            exec(cell.source, space)
    said = capsys.readouterr().out
    if edition == "student":
        assert audit.left == BUDGET and "kinds must say what each network is, but lacks network A and network B" in said
    else:
        assert audit.left == 0 and space["verdict"].total == 10


def test_the_student_edition_of_the_audit_has_no_worked_plan_or_verdict(written):
    student = nbformat.read(written / "student" / "notebooks" / "12_audit.ipynb", as_version=4)
    for word in ("My plan", "My verdict", "Read your numbers"):
        texts = [cell.source for cell in student.cells if word in cell.source]
        assert texts and all(text.endswith("YOUR ANSWER HERE") for text in texts)
    source = "\n".join(cell.source for cell in student.cells)
    assert "seed 7" not in source and not re.search(r"network [A-D]\"?: ", source) and "<details>" not in source
