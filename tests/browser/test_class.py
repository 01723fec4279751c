"""The explorer as a class uses it: scrolled away, by keyboard, with a busy kernel, restarted, and opened again."""

import contextlib
import copy
import io
import os
import time

import PIL.Image
import pytest
from test_explore import Panel, barriers

from lirf_kit.widgets.results import TABS

IMAGES = """() => [...document.querySelectorAll(".lirf img")].filter(image => image.checkVisibility()).map(image => {
    const box = image.getBoundingClientRect();
    return [image.alt, image.complete && image.naturalWidth > 1, [box.left, box.top, box.right, box.bottom]];
})"""


@pytest.fixture(scope="module")
def panel(lab, browser):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = Panel(context.new_page(), lab)
    opened.page.on("dialog", lambda dialog: dialog.accept())
    try:
        opened.open()
        yield opened
    finally:
        context.close()
        lab.end_sessions()


def field(panel, title):
    return panel.box.locator(".lirf-knob", has_text=title).first.locator("input[type=text]")


def type_in(panel, title, text):
    field(panel, title).fill(text)
    field(panel, title).press("Enter")


def test_after_run_all_and_scrolling_back_no_picture_is_blank(panel):
    panel.page.locator(".jp-Cell").last.scroll_into_view_if_needed()
    panel.page.locator(".lirf").evaluate("panel => panel.scrollIntoView()")
    panel.wait(lambda: all(drawn for _, drawn, _ in panel.page.evaluate(IMAGES)), "pictures that are drawn")
    time.sleep(1)
    screen, found = PIL.Image.open(io.BytesIO(panel.page.screenshot())).convert("L"), panel.page.evaluate(IMAGES)
    assert len(found) == 10 + 18  # the classes' and the story's
    for alt, _, box in found:
        darkest, brightest = screen.crop(tuple(map(round, box))).getextrema()
        assert brightest - darkest > 50, alt


def test_the_panel_opens_with_a_result_and_the_sentence_that_stands_for_it_is_hidden(panel):
    assert panel.page.locator(".lirf-target:visible figure.wrong").count() == 3  # the deposited images
    assert panel.page.locator(".lirf-recovered:visible figure.right").count() == 6
    assert panel.page.locator(".lirf-asleep").count() and not panel.page.locator(".lirf-asleep:visible").count()


def test_keys_stay_in_the_panel_and_ctrl_s_still_saves(panel):
    cells = panel.page.locator(".jp-Cell").count()
    kinds = panel.page.locator(".jp-MarkdownCell").count()
    panel.page.locator(".lirf-preset select").focus()
    panel.page.keyboard.press("m")
    panel.class_button(3).focus()
    for key in ("a", "b", "d", "d", "ArrowDown", "Escape"):
        panel.page.keyboard.press(key)
    assert panel.page.locator(".jp-Cell").count() == cells and panel.page.locator(".jp-MarkdownCell").count() == kinds
    assert panel.page.locator(".lirf").count() == 1
    panel.press("reset")
    panel.class_button(3).focus()
    panel.page.keyboard.press("Control+s")
    panel.page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")


def test_settings_that_were_turned_dim_the_results_until_they_are_turned_back(panel):
    type_in(panel, "λkp", "50")
    panel.wait_message("settings changed: below is still run 1")
    assert panel.ask("explorer.controls.settings()[0].lambda_kp") == 50
    assert panel.page.locator(".lirf-stale").count() == 1
    assert panel.slider("λkp").get_attribute("aria-valuetext") == "50"
    type_in(panel, "λkp", "20")
    panel.wait_message("run 1 in")
    assert panel.page.locator(".lirf-stale").count() == 0


def test_a_value_that_is_not_allowed_is_named_in_the_panel_s_words(panel):
    for text in ("-3", "many"):
        type_in(panel, "λkp", text)
        panel.wait_message("hold the rest must be a number at least 0, not")
        panel.wait(lambda: field(panel, "λkp").get_attribute("aria-invalid") == "true", "the mark")
    panel.press("Run")
    assert "hold the rest" in panel.message and panel.runs() == 1
    panel.box.locator(".lirf-more .jupyter-widget-Collapse-header").click()
    panel.slider("seed").scroll_into_view_if_needed()
    notebook = panel.page.locator(".jp-WindowedPanel-outer").bounding_box()
    message = panel.box.locator(".lirf-message").bounding_box()
    assert message["y"] > notebook["y"]  # in sight from the last knob, too
    panel.box.locator(".lirf-more .jupyter-widget-Collapse-header").click()
    panel.press("reset")
    panel.wait_message("run 1 in")


def test_by_keyboard_alone_from_the_first_tab_to_a_finished_run(panel):
    def tab(inside="true", key="Tab", presses=5):
        """Press a key until the focus is where a condition holds, and return what it is on."""
        for _ in range(presses):
            panel.page.keyboard.press(key)
            if panel.page.evaluate(f"(it => Boolean({inside}))(document.activeElement)"):
                return panel.page.evaluate("document.activeElement.textContent")
        raise AssertionError(f"not within {presses} presses: {inside}")

    panel.page.evaluate("document.activeElement.blur()")
    panel.page.locator(".jp-Cell:has(.lirf-columns) .jp-InputPrompt").click()
    tab("it.closest('.lirf')")
    if not panel.page.evaluate("document.activeElement.textContent").startswith("▶ Run"):
        tab("it.textContent.startsWith('▶ Run')")
    assert "3px" in panel.page.evaluate("getComputedStyle(document.activeElement).outline")
    at = tab("it.closest('.lirf-classes')", presses=7)
    assert int(tab(key="ArrowRight", presses=1)[-1]) == int(at[-1]) + 1
    tab("it.closest('.lirf-preset')", presses=1)  # all classes are one stop
    tab("it.closest('.lirf-classes')", "Shift+Tab", 1)
    tab("it.textContent.startsWith('▶ Run')", "Shift+Tab", 6)
    runs = panel.runs()
    panel.page.keyboard.press("Enter")
    panel.wait_message(f"run {runs + 1} in")
    panel.finish()


def test_the_story_moves_while_a_deposit_runs_and_is_played_again(panel):
    panel.tab("story")
    said = panel.page.locator(".lirf-replay output:visible")
    runs, seen = panel.runs(), set()
    panel.press("Run")
    while not panel.message.startswith(f"run {runs + 1} in"):
        seen.add(said.inner_text())
        time.sleep(0.05)
    assert len(seen) > 3
    panel.finish()
    slider = panel.page.locator(".lirf-replay input:visible")
    pixels = (
        "Array.from(document.querySelector('.lirf-target canvas').getContext('2d').getImageData(0, 0, 200, 150).data)"
    )
    before = panel.page.evaluate(pixels)
    panel.tab("t-SNE")
    panel.page.get_by_text("t-SNE of each network's own features").wait_for()
    panel.tab("story")
    assert panel.page.evaluate(pixels) == before  # the moving map stays as it was when t-SNE comes
    slider.focus()
    panel.page.keyboard.press("Home")
    assert said.inner_text() == "epoch 0 of 32" and panel.page.locator(".lirf-target:visible figure.wrong").count() == 0
    panel.page.get_by_role("button", name="replay").first.click()
    panel.wait(lambda: said.inner_text() == "epoch 32 of 32", "the end of the replay")
    assert panel.page.locator(".lirf-target:visible figure.wrong").count() == 3


def test_f_shows_the_panel_in_the_whole_window_and_leaves_it(panel):
    full = "document.fullscreenElement?.classList.contains('lirf') ?? false"
    panel.tab("table")
    panel.page.locator(".lirf-top button").first.focus()
    panel.page.keyboard.press("f")
    panel.page.wait_for_function(full)
    panel.page.get_by_role("button", name="leave (F)").wait_for()
    assert not panel.page.locator(".lirf-more").is_visible()
    panel.page.locator(".lirf-replay:visible").wait_for()  # the story is opened
    told = "[...document.querySelectorAll('.lirf-story :is(b, small, p), .lirf-message')]"
    sizes = f"{told}.filter(it => it.checkVisibility()).map(it => parseFloat(getComputedStyle(it).fontSize))"
    assert min(panel.page.evaluate(sizes)) >= 16
    assert panel.page.evaluate("document.fullscreenElement.scrollHeight <= document.fullscreenElement.clientHeight")
    assert panel.page.locator(".lirf-message").bounding_box()["height"] < 45  # one line
    panel.page.locator(".lirf-target canvas:visible").click(position={"x": 3, "y": 3})  # which takes the focus away
    panel.page.keyboard.press("f")
    panel.page.wait_for_function(f"!({full})")
    panel.page.get_by_role("button", name="present (F)").wait_for()


def test_a_guess_comes_before_the_result(panel):
    panel.press("predict first")
    panel.press("Run")
    panel.wait_message("the run is done: make your guess")
    assert panel.page.locator(".lirf-target:visible").count() == 0
    panel.press("show the result")
    panel.wait_message("must be a number")  # nothing is a guess but what was typed
    assert panel.page.locator(".lirf-target:visible").count() == 0
    panel.page.locator(".lirf-guess input").fill("12")
    panel.page.locator(".lirf-guess input").press("Enter")
    panel.wait_message("the target's Dep Acc: you said 12 %, it is 0 %")
    assert panel.page.locator(".lirf-target:visible").count() == 1
    assert panel.ask("lk.my_predictions().iloc[-1][['predicted', 'actual']].tolist()") == [12, 0]
    panel.press("predict first")
    panel.finish()


def test_a_digit_that_is_drawn_is_answered(panel):
    panel.tab("yours")
    pad = panel.page.locator(".lirf-pad canvas").bounding_box()
    panel.page.mouse.move(pad["x"] + 95, pad["y"] + 20)
    panel.page.mouse.down()
    panel.page.mouse.move(pad["x"] + 95, pad["y"] + 170, steps=10)
    panel.page.mouse.up()
    panel.page.locator(".lirf-yours td").first.wait_for()
    assert panel.page.locator(".lirf-yours tbody tr").count() == 3
    pixels = panel.ask("bytes(explorer.results.yours.pad.pixels).hex()")
    assert len(pixels) == 2 * 64
    rows = [bytes.fromhex(pixels)[at : at + 8] for at in range(0, 64, 8)]
    assert all(max(row[3:5]) > 100 and max(row[:2] + row[6:]) == 0 for row in rows)  # a line down the middle
    panel.tab("story")


GIVE = """async (pad, [event, kind, content]) => {  // drop or paste a file on the pad
    const pen = new OffscreenCanvas(80, 40).getContext("2d");  // blue, and its middle square half red, half green
    for (const [colour, x, wide] of [["#0000ff", 0, 80], ["#ff0000", 20, 20], ["#00ff00", 40, 20]]) {
        pen.fillStyle = colour;
        pen.fillRect(x, 0, wide, 40);
    }
    const file = new File([content || await pen.canvas.convertToBlob({type: kind})], "photo", {type: kind});
    const given = new DataTransfer();
    given.items.add(file);
    const made = {bubbles: true, cancelable: true, dataTransfer: given, clipboardData: given};
    pad.dispatchEvent(new (event === "drop" ? DragEvent : ClipboardEvent)(event, made));
}"""


def test_a_photograph_that_is_dropped_or_pasted_is_what_the_networks_would_see(panel):
    with cell_below(panel, "from lirf_kit.widgets.views import Pad\npad = Pad(shape=[4, 4, 3])\npad"):
        pad = panel.page.locator(".jp-OutputArea-output .lirf-pad:not(.lirf *)")
        for event in ("drop", "paste"):
            pad.locator("canvas").evaluate(GIVE, [event, "image/png", ""])
            panel.wait(lambda: panel.ask("len(pad.pixels)") == 48, "the image's pixels")
            assert panel.ask("list(bytes(pad.pixels))") == ([255, 0, 0] * 2 + [0, 255, 0] * 2) * 4
            pad.get_by_role("button", name="clear").click()
            panel.wait(lambda: panel.ask("len(pad.pixels)") == 0, "the empty pad")
        for kind in ("text/plain", "image/png"):  # no image, and a damaged one
            pad.locator("canvas").evaluate(GIVE, ["drop", kind, "no pixels"])
            pad.get_by_text("That is no image").wait_for()
            pad.get_by_role("button", name="clear").click()
            assert pad.get_by_text("That is no image").count() == 0
        assert panel.ask("len(pad.pixels)") == 0


SELECT = """(notebook => {
    notebook.activeCellIndex = notebook.widgets.findIndex(cell => cell.node.querySelector(".lirf-columns"))
})(jupyterapp.shell.currentWidget.content)"""


@contextlib.contextmanager
def cell_below(panel, code):
    """Run some code in a new cell below the panel's, and take the cell away afterwards."""
    notebook, run = "jupyterapp.shell.currentWidget.content", "await jupyterapp.commands.execute"
    below = f"""async code => {{
        const notebook = {notebook};
        {SELECT};
        {run}("notebook:insert-cell-below");
        notebook.activeCell.model.sharedModel.setSource(code);
        {run}("notebook:run-cell");
    }}"""
    panel.page.evaluate(below, code)
    try:
        yield
    finally:
        panel.page.evaluate(f"async () => {{{run}('notebook:delete-cell')}}")
        panel.box.evaluate("panel => panel.scrollIntoView()")


def test_axe_finds_nothing_in_either_theme(panel):
    for theme in ("Dark", "Light"):
        panel.page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})")
        panel.page.wait_for_function(f"document.body.dataset.jpThemeName === 'JupyterLab {theme}'")
        for name in TABS:
            panel.tab(name)
            time.sleep(0.5)
            assert barriers(panel.page, ".lirf") == "", (theme, name)


SCROLLING = """() => [...document.querySelectorAll(".lirf, .lirf *")].filter(it => it.checkVisibility()
    && /auto|scroll/.test(getComputedStyle(it).overflow)
    && (it.scrollWidth > it.clientWidth || it.scrollHeight > it.clientHeight)).map(it => it.className)"""
CUT = """() => [...document.querySelectorAll(".lirf-story, .lirf-net, .lirf-net p, .lirf-bars b, .lirf-top")]
    .filter(it => it.checkVisibility() && it.scrollWidth > it.clientWidth + 2).map(it => it.textContent)"""


def fits(panel):
    """Nothing in any tab is cut, or has a scroll bar of its own."""
    for name in TABS:
        panel.tab(name)
        time.sleep(0.5)
        assert panel.page.evaluate(SCROLLING) == [] and panel.page.evaluate(CUT) == [], name
    panel.tab("story")


@pytest.mark.parametrize("width, height", [(683, 384), (1024, 700), (1366, 768), (1920, 1080)])  # 683: 1366 at 200 %
def test_it_fits_every_width_and_run_stays_in_sight(panel, width, height):
    panel.tab("story")
    panel.page.set_viewport_size({"width": width, "height": height})
    try:
        panel.page.locator(".lirf-replay:visible").scroll_into_view_if_needed()
        box = panel.page.locator(".lirf-top button").first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        fits(panel)
    finally:
        panel.page.set_viewport_size({"width": 1366, "height": 768})


def test_it_fits_beside_jupyterlab_s_side_bar(panel):
    toggle = "jupyterapp.commands.execute('application:toggle-left-area')"
    panel.page.evaluate(toggle)
    try:
        panel.page.locator("#jp-left-stack").wait_for()
        fits(panel)
        rows = panel.box.locator(".lm-TabBar-tab").evaluate_all("tabs => tabs.map(tab => tab.offsetTop)")
        tops = panel.box.locator(".lirf-six:visible").evaluate_all("all => all.map(it => it.offsetTop)")
        assert max(rows) - min(rows) < 5 and len(set(tops)) == 1
    finally:
        panel.page.evaluate(toggle)


def test_every_knob_has_a_label_of_its_own(panel):
    labels = "fields => fields.map(it => it.labels.length)"
    counts = panel.box.locator(".lirf-knob :is(select, input[type=text])").evaluate_all(labels)
    assert counts == [1] * len(counts) and len(counts) > 20


def test_a_busy_kernel_doesn_t_stop_the_panel(panel):
    run = "jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute"
    runs = panel.runs()
    panel.page.evaluate(f"void {run}({{code: 'import time; time.sleep(20)'}})")
    begun = time.monotonic()
    type_in(panel, "λkp", "30")
    panel.wait_message("settings changed")
    panel.press("Run")
    panel.wait_message(f"running|run {runs + 1} in")
    assert time.monotonic() - begun < 20
    panel.wait_message(f"run {runs + 1} in")
    panel.finish()
    panel.press("reset")


CLOCK = """async ([act, wanted]) => {  // seconds from a click, or from running the cell, until a text is there
    const panel = () => document.querySelector(".lirf:has(.lirf-columns)");
    const shown = () => [...panel()?.querySelectorAll(".lirf-message, .lirf-replay output") ?? []]
        .filter(it => it.checkVisibility()).map(it => it.textContent).join(" ");
    const start = performance.now(), before = panel();
    if (act === "cell") jupyterapp.commands.execute("notebook:run-cell");
    else [...before.querySelectorAll("button")].filter(it => it.checkVisibility())
        .find(it => it.textContent.includes(act)).click();
    const seen = new Set();
    while ((act === "cell" && panel() === before) || !new RegExp(wanted).test(shown())) {
        seen.add(shown());
        await new Promise(requestAnimationFrame);
    }
    return [(performance.now() - start) / 1000, seen.size];
}"""


def test_how_long_things_take_is_printed(panel, capsys):
    panel.tab("story")
    panel.ask("1", before="explorer.with_tsne.value = False")
    took = {}

    def clock(name, act, wanted):
        took[name], seen = panel.page.evaluate(CLOCK, [act, wanted])
        return seen

    clock("first movement after Run", "Run", "epoch 0 of 32")
    panel.wait_message(r"run \d+ in")
    panel.finish()
    runs = panel.runs()
    clock("a run without t-SNE", "Run", f"run {runs + 1} in")
    panel.finish()
    begin = "import time; begun, part = time.perf_counter(), data.train.select(slice(0, 600)); "
    twice = "[lk.embed_tsne(lk.extract_features(original, part), config) for _ in range(2)]"
    took["t-SNE of 600 points, target and recovered"] = panel.ask("time.perf_counter() - begun", before=begin + twice)
    frames = clock("replay", "replay", "epoch 32 of 32")
    took["replay, frames a second"] = frames / took.pop("replay")
    type_in(panel, "epochs", "256")
    panel.run_until_first_move()
    clock("Stop, until it is said", "Stop", "stopped")
    took["Stop, in the kernel"] = panel.ask("explorer.job.stopped_after")
    panel.press("reset")
    panel.page.evaluate(SELECT)
    clock("the cell run again, until its result is seen", "cell", "run 1 in")
    panel.finish()
    with capsys.disabled():
        said = (f"{name} {seconds:.2f}" for name, seconds in took.items())
        print(f"\nseconds, at a load of {os.getloadavg()[0]:.1f}:", *said, sep="\n  ")
    assert took["replay, frames a second"] > 3


def test_two_panels_at_once_leave_each_other_alone(panel):
    type_in(panel, "epochs", "256")
    with cell_below(panel, "another = lk.DepositExplorer(config)\nanother"):
        panel.wait(lambda: panel.page.locator(".lirf-columns").count() == 2, "a second panel")
        second = copy.copy(panel)
        second.box = panel.page.locator(".lirf").last
        second.wait_message("run 1 in")
        runs = panel.runs()
        panel.press("Run")
        panel.wait_message("running")
        panel.wait(lambda: panel.ask("explorer.job.first_move"), "the first panel's frames")
        second.class_button(7).click()
        second.press("Run")
        second.wait_message(r"run 2 in")  # while the first one goes on
        assert panel.ask("another.runs[1].config.deposit_classes") == (0, 1, 2, 7)
        assert panel.ask("explorer.job.finished") is None and panel.runs() == runs
        field(second, "epochs").fill("256")
        field(second, "epochs").press("Enter")
        second.press("Run")
        second.wait_message("running")
        second.press("Stop")
        second.wait_message("stopped .it took")
        assert "running" in panel.message and panel.ask("explorer.job.stop.is_set()") is False
        panel.press("Stop")
        panel.wait_message("stopped .it took")
        assert panel.ask("(explorer.controls.settings()[0].deposit_classes, len(another.runs))") == ((0, 1, 2), 2)
        panel.finish()
    panel.press("reset")


def test_a_restarted_kernel_and_a_notebook_that_is_opened_again_say_what_to_do(panel):
    panel.page.evaluate(SELECT)
    panel.page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")  # now it opens with a saved run
    panel.ask("1")
    panel.wait_message("run 1 in")
    panel.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    panel.page.evaluate("void jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    panel.wait(lambda: "run this cell again" in panel.page.locator(".lirf-away").inner_text(), "the sentence")
    panel.page.get_by_text("| Idle").wait_for()
    panel.page.reload()
    said = panel.page.locator(".lirf-asleep").first
    said.wait_for()
    assert "run this cell in JupyterLab" in said.inner_text()
    assert panel.page.locator(".lirf-asleep table").count() == 1
    assert panel.page.locator(".jp-OutputArea:has(.lirf-asleep) .jp-RenderedImage img").count() == 1
