"""The explorer in a real browser: by mouse and by keyboard, with what it shows checked against the plain functions.

The tests share one page and follow each other as a lecturer's hour would. They wait for what should come to be, as long
as a slow machine may take; only Stop is timed, in the kernel.
"""

import re
import time

import pytest
from jupyter_client import BlockingKernelClient

PATIENCE = 300  # seconds
ERROR_OUTPUT = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'


class Panel:
    """The notebook in the browser, and beside it a client of its kernel."""

    def __init__(self, page, lab):
        self.page, self.lab, self.errors, self.client = page, lab, [], None
        self.box = page.locator(".lirf").first  # of two panels in a notebook, the first
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)

    def open(self):
        """Open the notebook, and run all its cells."""
        self.page.goto(self.lab.url("lab_explorer.ipynb"))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.get_by_text("| Idle").wait_for()
        if self.page.locator("#jp-left-stack").is_visible():
            self.page.keyboard.press("Control+b")
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.page.wait_for_selector(".lirf-classes button")
        self.connect()
        self.ask("1")  # queued behind the notebook's cells
        self.page.locator(".lirf").evaluate("panel => panel.scrollIntoView()")  # what isn't in sight has no text
        self.wait_message(r"run 1 in [\d.]+ s")  # the panel opens with a run
        self.finish()

    def connect(self):
        """Make a client of the notebook's kernel."""
        (file,) = (self.lab.folder / "runtime").glob("kernel-*.json")
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        self.client.start_channels()

    def ask(self, expression, before="pass"):
        """Return what an expression is in the kernel, a plain value."""
        message = self.client.execute(before, user_expressions={"it": expression}, store_history=False)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == message:
                found = reply["content"]["user_expressions"]["it"]
                assert found["status"] == "ok", found
                return eval(found["data"]["text/plain"], {"nan": float("nan")})
        raise AssertionError(f"the kernel did not answer {expression!r} in {PATIENCE} s")

    def press(self, name):
        self.box.get_by_role("button", name=name).first.click()

    def tab(self, name):
        self.box.locator(".lm-TabBar-tab", has_text=name).first.click()

    def class_button(self, number):
        return self.box.locator(".lirf-classes button").nth(number)

    def slider(self, title):
        """Return a knob's slider."""
        return self.box.locator(".lirf-knob", has_text=title).first.locator("input[type=range]")

    def drag(self, title, share):
        """Drag a slider to a share of its length."""
        rail = self.slider(title).bounding_box()
        y, now = rail["y"] + rail["height"] / 2, self.slider(title).evaluate("it => it.value / it.max")
        self.page.mouse.move(rail["x"] + 8 + now * (rail["width"] - 16), y)
        self.page.mouse.down()
        self.page.mouse.move(rail["x"] + share * rail["width"], y, steps=5)
        self.page.mouse.up()

    @property
    def message(self):
        return self.box.locator(".lirf-message").inner_text()

    def wait(self, condition, wanted):
        """Wait until a condition holds, and say what was wanted if it doesn't come."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{wanted} did not come; the message is {self.message!r}"
            time.sleep(0.1)

    def wait_message(self, pattern):
        """Wait until the message fits a pattern, and return it."""
        self.wait(lambda: re.search(pattern, self.message), repr(pattern))
        return self.message

    def run_until_first_move(self):
        """Press Run, and wait until this run's story moves: its message tells it from the run before."""
        self.press("Run")
        self.wait_message("running …")
        self.wait(lambda: self.ask("explorer.job.first_move"), "the first frame")

    def finish(self):
        """Wait until the last run has ended, its t-SNE included, and no other is about to begin."""
        busy = "explorer.job is not None and explorer.job.thread.is_alive()"
        waiting = "any(timer.is_alive() for timer in explorer._main._resting.values())"
        self.wait(lambda: not self.ask(f"{busy} or {waiting}"), "the end of the run")

    def figure(self, words):
        """Wait until the open tab shows a figure that is described by some words, and return it."""
        found = self.page.locator(f'.lirf-picture:visible img[alt*="{words}"]').first
        found.wait_for()
        self.page.wait_for_function("image => image.complete && image.naturalWidth > 800", arg=found.element_handle())
        return found

    def runs(self):
        return self.ask("len(explorer.runs)")


def barriers(page, place):
    """Return what axe-core finds in a place that keeps people with other senses or hands out, as a text."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, context=place, options={"resultTypes": ["violations"]})
    return found.generate_report() if found.violations_count else ""


@pytest.fixture(scope="module")
def panel(lab, browser, artifacts):
    lab.lay_out_notebooks()  # one that was saved with a panel of a kernel that has ended is an error in the console
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    opened = Panel(context.new_page(), lab)
    try:
        opened.open()
        yield opened
    finally:
        opened.page.screenshot(path=artifacts / "explorer-at-the-end.png")
        context.close()


def test_all_cells_run_and_the_panel_fits_the_screen(panel):
    assert panel.page.locator(ERROR_OUTPUT).count() == 0
    box = panel.page.locator(".lirf").bounding_box()
    assert box["height"] < 650 and box["x"] + box["width"] <= 1366
    assert panel.page.locator(".lirf-classes img").count() == 10


def test_classes_and_sliders_by_mouse_then_run_shows_what_the_plain_function_computes(panel, artifacts):
    panel.class_button(2).click()
    panel.class_button(7).click()
    panel.drag("λkp", 0.1)
    config, knob = "explorer.controls.settings()[0]", panel.slider("λkp")
    arrived = lambda: panel.ask(f"{config}.lambda_kp") == float(knob.get_attribute("aria-valuetext"))  # noqa: E731
    panel.wait(arrived, "the slider's value")  # on a busy machine, Run could overtake it
    panel.press("Run")
    panel.wait_message("run 2 in")
    assert panel.ask(f"{config}.deposit_classes") == (0, 1, 7)
    assert panel.ask(f"{config}.lambda_kp") < 1
    panel.finish()
    panel.tab("table")
    shown = panel.page.locator(".lirf-table tr").all_inner_texts()
    table = panel.ask(
        "[[name, *row] for name, row in zip(again.index, again.fillna(-1).to_numpy().tolist())]",
        before=f"again = lk.explore(original, data, {config}).table",
    )
    for name, *row in table:
        (line,) = [line for line in shown if line.startswith(name)]
        assert line.split("\t")[1:] == ["–" if value == -1 else f"{value:.2f}" for value in row]
    figures = {"classes": "Bars", "confusion": "Confusion matrices", "curves": "Curves", "t-SNE": "map of the target"}
    for name, words in figures.items():
        panel.tab(name)
        if name in ("curves", "t-SNE"):  # drawn by the page
            said = panel.page.locator(f'[aria-label*="{words}"]:visible').get_attribute("aria-label")
        else:
            said = panel.figure(words).get_attribute("alt")
        assert "classes 0 1 7" in said and f"recovered Pre {table[2][1]:.1f}" in said
        panel.page.screenshot(path=artifacts / f"explorer-light-{name}.png")


def test_a_click_on_a_point_of_the_t_sne_figure_chooses_an_image_whose_figure_is_saved(panel, artifacts):
    panel.tab("t-SNE")
    canvas = panel.page.locator(".lirf-target canvas:visible")
    box = canvas.bounding_box()
    reach, left, low, (x, y) = panel.ask(
        "(reach, *((both.max(0) + both.min(0)) / 2).tolist(), points[100].tolist())",
        before="""
import numpy
home, points = (explorer.runs[1].embeddings[name] for name in ('original', 'target'))
both = numpy.concatenate([home, points])
reach = float(0.6 * max(both.max(0) - both.min(0)))""",
    )  # the map's centre, and how far it reaches
    scale = min(box["width"], box["height"]) / 2 / reach
    across, down = box["width"] / 2 + (x - left) * scale, box["height"] / 2 - (y - low) * scale
    canvas.click(position={"x": across, "y": down})
    panel.wait_message("is chosen, validation image")
    place = panel.ask("explorer.results.journey.place(explorer.runs[1].parts.validation)")
    assert panel.ask(f"float(abs(points[{place}] - points[100]).max())") < 8 / scale  # it, or a neighbour in reach
    panel.page.screenshot(path=artifacts / "explorer-light-ring.png")
    panel.tab("image")
    panel.figure(f"Validation image {place},")
    panel.page.screenshot(path=artifacts / "explorer-light-image.png")
    panel.press("save figure")
    panel.wait_message("written")
    folder = panel.lab.folder / "notebooks" / "explorer-files"
    assert {file.name for file in folder.iterdir()} == {f"run-2-image-{place}.{end}" for end in ("png", "svg", "pdf")}


def test_every_figure_has_an_alternative_text(panel):
    said = panel.page.locator(".lirf .lirf-picture img").evaluate_all("images => images.map(image => image.alt)")
    assert len(said) == 6 + 10 and all(said)  # and the classes' samples
    assert panel.page.locator(".lirf img:not([alt]), .lirf canvas:not([aria-label])").count() == 0


def test_by_keyboard_alone(panel):
    before = panel.ask("explorer.controls.settings()[0].lambda_at")
    panel.class_button(7).focus()
    panel.page.keyboard.press("Space")
    panel.slider("λat").focus()
    panel.page.keyboard.press("ArrowRight")
    panel.page.keyboard.press("ArrowRight")
    panel.page.locator(".lirf button", has_text="Run").first.focus()
    panel.page.keyboard.press("Enter")
    panel.wait_message("run 3 in")
    assert panel.ask("explorer.runs[2].config.deposit_classes") == (0, 1)
    assert panel.ask("explorer.runs[2].config.lambda_at") > before


def test_stop_in_the_middle_of_a_long_run(panel):
    panel.slider("epochs").focus()
    panel.page.keyboard.press("End")
    panel.tab("story")
    seconds = []
    while len(seconds) < 3 and not (seconds and seconds[-1] < 0.5):  # on a busy machine a single step can take as long
        panel.run_until_first_move()
        panel.press("Stop")
        panel.wait_message("stopped .it took")
        seconds.append(panel.ask("explorer.job.stopped_after"))
    assert seconds[-1] < 0.5, seconds
    assert panel.runs() == 3


def test_an_interrupt_of_the_kernel_in_the_middle_is_said(panel):
    panel.run_until_first_move()
    panel.page.locator('[data-command="notebook:interrupt-kernel"]').first.click()
    panel.wait_message("interrupted .it took")
    panel.press("reset")
    panel.press("Run")
    panel.wait_message("run 4 in")
    panel.finish()


def test_ten_quick_changes_with_auto_run_give_one_result(panel):
    panel.press("auto-run")
    panel.slider("λat").focus()
    for key in ["ArrowRight"] * 5 + ["ArrowLeft"] * 3 + ["ArrowRight"] * 2:
        panel.page.keyboard.press(key)
    panel.wait_message("run 5 in")
    panel.finish()
    assert panel.runs() == 5
    assert panel.ask("explorer.runs[4].config == explorer.controls.settings()[0]")
    panel.press("auto-run")


def test_no_class_is_said(panel, artifacts):
    for number in (0, 1, 2):
        panel.class_button(number).click()
    panel.press("Run")
    assert "at least one class, not none" in panel.wait_message("class")
    assert panel.page.locator('.lirf-message[role="alert"]').count() == 1
    panel.page.screenshot(path=artifacts / "explorer-light-error.png")
    panel.press("reset")


def test_a_row_of_the_history_brings_a_run_back_and_two_are_compared(panel, artifacts):
    panel.tab("history")
    rows = panel.page.locator(".lirf-rows option")
    assert rows.count() == 5
    panel.page.locator(".lirf-rows select").select_option(index=2)
    panel.wait_message("run 3 in")
    panel.page.screenshot(path=artifacts / "explorer-light-history.png")
    panel.press("pin as A")
    panel.wait_message("pinned as A")
    panel.page.locator(".lirf-rows select").select_option(index=3)
    panel.wait_message("run 4 in")
    panel.press("pin as B")
    panel.wait_message("pinned as B")
    panel.tab("A | B")
    panel.page.locator(".lirf-compare tr", has_text="≠ look elsewhere").wait_for()
    rows = panel.page.locator(".lirf-compare tr").all_inner_texts()
    assert rows[1].startswith("target: Pre Acc") and not [row for row in rows if "transfer" in row]
    panel.figure("classes of run 3, above run 4")
    panel.page.screenshot(path=artifacts / "explorer-light-compare.png")


def test_a_grid_is_filled_in_the_background_and_cancelled(panel, artifacts):
    panel.tab("surface")
    panel.figure("measured points")
    panel.press("fill grid")
    panel.wait_message(r"\d of \d points measured")
    cancel = panel.page.locator(".lirf button", has_text="cancel")
    if cancel.is_enabled():
        cancel.click(force=True)  # it may become disabled meanwhile
    free = "explorer.results.surface.filling is None"
    panel.wait(lambda: panel.ask(free), "the end of the measuring")  # cancelled, or it was through before that
    panel.wait_message(r"measuring is cancelled|(\d+) of \1 points measured")
    panel.page.screenshot(path=artifacts / "explorer-light-surface.png")
    measured = panel.ask("len(explorer.results.surface.measured)")
    panel.page.get_by_text(f"{measured + 2} measured; ").wait_for()  # and the calibrated run, and run 3's λ_at


def test_after_a_reload_it_runs_again_in_the_dark(panel, lab, artifacts):
    lab.set("apputils-extension/themes", {"theme": "JupyterLab Dark"})
    panel.page.on("dialog", lambda dialog: dialog.accept())
    panel.open()
    panel.press("Run")
    panel.wait_message("run 2 in")
    panel.finish()
    assert "Dark" in panel.page.locator("body").get_attribute("data-jp-theme-name")
    for name, words in {"story": "", "curves": "", "table": "", "history": "", "classes": "Bars", "t-SNE": ""}.items():
        panel.tab(name)
        if words:
            panel.figure(words)
        panel.page.screenshot(path=artifacts / f"explorer-dark-{name}.png")


def test_nothing_went_wrong_in_the_browser_s_console(panel):
    assert panel.errors == []
