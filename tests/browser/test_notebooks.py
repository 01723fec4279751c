"""The other notebooks in the browser: each opens as it was committed, and those with widgets run and answer.

The widgets are turned by mouse and by keyboard; what they show is compared with what notebook and kernel know.
"""

import json
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from test_explore import barriers

from lirf_kit.classroom import editions

OTHERS = sorted(
    file.name for file in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb") if "explore" not in file.name
)
ERROR_OUTPUT = '[data-mime-type="application/vnd.jupyter.error"]'
PROMPTS = "[...document.querySelectorAll('.jp-InputArea-prompt')].{}(prompt => prompt.textContent.includes('*'))"
PATIENCE = 600_000  # ms; a whole notebook, on a machine that has other work too


@pytest.mark.parametrize("name", OTHERS)
def test_the_notebook_opens(lab, browser, name):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(lab.url(name, workspace=Path(name).stem))
        page.wait_for_selector(".jp-OutputArea-output", timeout=90_000)
        assert page.locator(ERROR_OUTPUT).count() == 0
        assert page.get_by_text("Error displaying widget").count() == 0
        assert errors == []
    finally:
        context.close()
        lab.end_sessions()


class Notebook:
    """A notebook in the browser with all its cells run, and beside it a client of its kernel."""

    def __init__(self, page, lab, name):
        self.page, self.errors = page, []
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        lab.set("apputils-extension/themes", {"theme": "JupyterLab Light"})
        page.goto(lab.url(f"{name}.ipynb", workspace=f"run-{name}"))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.get_by_text("| Idle").wait_for(timeout=90_000)
        if page.locator("#jp-left-stack").is_visible():
            page.keyboard.press("Control+b")
        page.evaluate(
            "jupyterapp.commands.execute('notebook:expand-all-headings')"
        )  # sections headed "More" are folded
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_function(PROMPTS.format("some"), timeout=PATIENCE)
        page.wait_for_function(f"!{PROMPTS.format('some')}", timeout=PATIENCE)
        newest = max((lab.folder / "runtime").glob("kernel-*.json"), key=lambda file: file.stat().st_mtime)
        self.client = BlockingKernelClient(connection_file=str(newest))
        self.client.load_connection_file()
        self.client.start_channels()

    def ask(self, expression):
        """Return what an expression is in the kernel, a plain value."""
        message = self.client.execute("", user_expressions={"it": expression}, store_history=False)
        while True:
            reply = self.client.get_shell_msg(timeout=180)
            if reply["parent_header"].get("msg_id") == message:
                return eval(reply["content"]["user_expressions"]["it"]["data"]["text/plain"])

    def wait_message(self, widget, *pieces):
        """Wait until a widget's message has all these pieces."""
        message = self.page.locator(f".lirf-{widget} .lirf-message")
        end = time.monotonic() + 120
        # the text, drawn or not: JupyterLab draws only what is near the window
        while not all(piece in message.text_content() for piece in pieces):
            assert time.monotonic() < end, f"{pieces} did not come; the message is {message.text_content()!r}"
            time.sleep(0.05)

    def press(self, place, *keys):
        """Focus an element, and press some keys there."""
        self.page.locator(place).first.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def photograph(self, widget, folder):
        """Keep a screenshot of a widget in the light theme and in the dark one; in both, axe-core finds nothing."""
        place = self.page.locator(f".lirf-{widget}")
        for theme in ("Light", "Dark"):
            self.page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})")
            wanted = f"document.body.dataset.jpThemeName === 'JupyterLab {theme}'"
            self.page.wait_for_function(wanted, timeout=60_000)
            place.scroll_into_view_if_needed()
            place.screenshot(path=folder / f"widget-{widget}-{theme.lower()}.png")
            assert barriers(self.page, f".lirf-{widget}") == "", theme


@pytest.fixture
def run_notebook(lab, browser):
    """Open a notebook and run all its cells; at the end nothing may have gone wrong, in it or in the browser."""
    context, opened = browser.new_context(viewport={"width": 1366, "height": 768}), []

    def run(name):
        opened.append(Notebook(context.new_page(), lab, name))
        assert opened[0].page.locator(f".jp-OutputArea-output{ERROR_OUTPUT}").count() == 0
        return opened[0]

    try:
        yield run
        assert opened[0].errors == []
    finally:
        context.close()
        lab.end_sessions()


def test_the_class_picker_answers_and_the_next_cell_uses_it(run_notebook, artifacts):
    notebook = run_notebook("01_partition")
    buttons = notebook.page.locator(".lirf-picker .lirf-classes button")
    assert buttons.count() == notebook.page.locator(".lirf-picker .lirf-classes img[alt]").count() == 10
    buttons.nth(8).click()
    notebook.wait_message("picker", "711 of 1,797 images")  # 178 + 182 + 177 + 174
    notebook.photograph("picker", artifacts)
    notebook.press(".lirf-picker .lirf-classes button >> nth=0", "Space")
    notebook.wait_message("picker", "533 of 1,797 images")
    notebook.page.locator(".lirf-picker .lirf-classes img").nth(0).click()
    notebook.wait_message("picker", "711 of 1,797 images")
    assert notebook.ask("picker.deposit_classes") == (0, 1, 2, 8)
    for number in (0, 1, 2, 8):
        buttons.nth(number).click()
    notebook.wait_message("picker", "at least one class, not none")
    assert notebook.page.locator('.lirf-picker [role="alert"]').count() == 1


def test_the_cut_and_the_temperature_turn(run_notebook, artifacts):
    notebook = run_notebook("03_losses")
    notebook.wait_message("cut", "77,104 weights of the target learn", "650 are frozen")
    notebook.press(".lirf-cut input[type=range]", "ArrowLeft", "ArrowLeft")
    notebook.wait_message("cut", "4,848 weights of the target learn", "72,906 are frozen", "64 positions")
    notebook.photograph("cut", artifacts)
    notebook.wait_message("temperature", "L_pt = 0.328")
    shown = notebook.page.locator(".lirf-softened")
    assert "τ = 1," in shown.get_attribute("aria-label")
    first = shown.locator("b").first.bounding_box()["height"]
    notebook.press(".lirf-temperature input[type=range]", "ArrowRight", "ArrowRight")
    notebook.wait_message("temperature", "τ = 2,", "L_pt = 0.444")
    assert shown.locator("b").first.bounding_box()["height"] < first - 20  # 0.826 and 0.553 of 190 pixels
    notebook.photograph("temperature", artifacts)


def test_a_click_and_a_key_ring_a_point_in_all_panels(run_notebook, artifacts):
    notebook = run_notebook("07_tsne")
    points = "embeddings['target']"
    apart = f"numpy.linalg.norm({points}[:, None] - {points}, axis=2) + 1e9 * numpy.eye(len({points}))"
    place = notebook.ask(f"int(({apart}).min(axis=1).argmax())")  # the loneliest: a click beside it finds no other
    canvas = notebook.page.locator(".lirf-tracker canvas").last  # the target is the last of three panels
    canvas.scroll_into_view_if_needed()
    box, both = canvas.bounding_box(), "numpy.concatenate([embeddings['original'], embeddings['target']])"
    low, high = (notebook.ask(f"{both}.{end}(axis=0).tolist()") for end in ("min", "max"))
    scale = min(box["width"], box["height"]) / 1.2 / max(high[axis] - low[axis] for axis in (0, 1))  # as story.js does
    across, up = (
        scale * (value - (low[axis] + high[axis]) / 2)
        for axis, value in enumerate(notebook.ask(f"{points}[{place}].tolist()"))
    )
    canvas.click(position={"x": box["width"] / 2 + across, "y": box["height"] / 2 - up})
    end = time.monotonic() + 120
    while notebook.ask("tracker.place") != place:
        assert time.monotonic() < end, (place, notebook.ask("tracker.place"))
        time.sleep(0.1)
    notebook.photograph("tracker", artifacts)
    other = (notebook.ask("tracker.choice.label.value") + 1) % 10
    notebook.page.locator(".lirf-tracker select").select_option(label=str(other))
    said = ("original says", "target, output alone says", "target says")
    notebook.wait_message("tracker", f"image 0 of class {other}", *said)
    notebook.press(".lirf-tracker input[type=range]", "ArrowRight", "ArrowRight")
    notebook.wait_message("tracker", f"image 2 of class {other}")
    assert f"image 2 of class {other}" in canvas.get_attribute("aria-label")


def test_an_audit_is_begun_by_typing_and_its_verdict_is_shown(run_notebook):
    notebook = run_notebook("12_audit")
    assert notebook.ask("verdict.total") == 10
    keyboard = notebook.page.keyboard
    for key in ("Escape", "Escape", "b", "Enter"):  # a new cell below the selected one
        keyboard.press(key)
    keyboard.insert_text(
        'mine = lk.blind_audit(original, data, config, seed=8)\nmine.ask("kNN", mine.networks[0])\n'
        "print(mine.verdict(dict(zip(mine.networks, verdict.table['it is']))))"
    )
    keyboard.press("Shift+Enter")
    notebook.page.get_by_text("of 4 networks named right").last.wait_for(timeout=120_000)
    assert notebook.ask("mine.left") == 28 and notebook.ask("mine.log.notna().sum().sum().item()") == 1
    right = notebook.ask("sum(mine._reveal()[name] == verdict.table['it is'][name] for name in mine.networks)")
    shown = notebook.page.get_by_text("of 4 networks named right").last.inner_text()
    assert f"{right} of 4 networks named right" in shown and "with seed 8: 1." in shown


SOLVED = """def part_sizes(count, test_fraction, validation_fraction):
    test = math.ceil(count * test_fraction)
    validation = math.ceil((count - test) * validation_fraction)
    return count - test - validation, validation, test"""


def test_a_student_solves_an_exercise_and_gives_a_prediction_by_typing(lab, run_notebook):
    source = Path(__file__).parents[2] / "notebooks" / "01_partition.ipynb"
    blank = editions.student(nbformat.read(source, as_version=4), source.name)
    nbformat.write(blank, lab.folder / "notebooks" / "student.ipynb")
    notebook = run_notebook("student")
    page = notebook.page
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)")
    exercise = page.locator(".jp-CodeCell", has_text="def part_sizes").first
    exercise.scroll_into_view_if_needed()
    page.get_by_text("✗ part_sizes still has a blank").first.wait_for()
    exercise.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(SOLVED)
    for _ in ("the function", "its check"):
        page.keyboard.press("Shift+Enter")
    page.get_by_text("✓ Right: the test part is taken first").first.wait_for()

    for key in ("Escape", "b", "Enter"):  # a new cell below the check
        page.keyboard.press(key)
    page.keyboard.insert_text(
        'import os\nos.environ.pop("LIRF_KIT_PREDICT")\nlk.predict_first("images, typed", unit="%").beside(40)'
    )
    page.keyboard.press("Shift+Enter")
    asked = page.locator(".jp-Stdin-input")
    for answer in ("a lot", "35 %"):
        asked.last.wait_for()
        asked.last.fill(answer)
        asked.last.press("Enter")
    page.get_by_text("images, typed: you said 35 %, it is 40 %").last.wait_for()
    page.get_by_text("The prediction must be a number, such as 12.5, not 'a lot'.").last.wait_for()
    kept = json.loads((lab.folder / "notebooks" / "my-predictions.json").read_text(encoding="utf-8"))
    assert kept["images, typed"] == {"predicted": 35.0, "unit": "%", "choices": None, "actual": 40.0}
