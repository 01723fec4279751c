"""The explorer in a real browser: by mouse and by keyboard, with what it shows checked against the plain functions."""

import re
import time

import pytest
from jupyter_client import BlockingKernelClient

TABS = ("curves", "table", "classes", "confusion", "t-SNE", "history", "A | B", "image", "surface")


class Panel:
    """The notebook in the browser, and beside it a client of its kernel."""

    def __init__(self, page, lab):
        self.page, self.lab, self.errors = page, lab, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))

    def open(self):
        """Open the notebook, and run all its cells."""
        self.page.goto(self.lab.url("06_explore.ipynb"))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        self.wide()
        self.restart_and_run()

    def wide(self):
        """Fold the file browser away."""
        if self.page.locator("#jp-left-stack").is_visible():
            self.page.keyboard.press("Control+b")

    def restart_and_run(self):
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.page.wait_for_selector(".lirf-classes button", timeout=120_000)
        self.client = self.connect()
        self.ask("1")  # queued behind the notebook's cells
        self.page.locator(".lirf").scroll_into_view_if_needed()

    def connect(self):
        """Return a client of the newest kernel."""
        files = sorted((self.lab.folder / "runtime").glob("kernel-*.json"), key=lambda file: file.stat().st_mtime)
        client = BlockingKernelClient(connection_file=str(files[-1]))
        client.load_connection_file()
        client.start_channels()
        return client

    def ask(self, expression, before="pass"):
        """Return what an expression is in the kernel."""
        message = self.client.execute(before, user_expressions={"it": expression}, store_history=False)
        while True:
            reply = self.client.get_shell_msg(timeout=180)
            if reply["parent_header"].get("msg_id") == message:
                found = reply["content"]["user_expressions"]["it"]
                assert found["status"] == "ok", found
                return eval(found["data"]["text/plain"], {"nan": float("nan"), "inf": float("inf")})

    def press(self, name):
        self.page.locator(".lirf").get_by_role("button", name=name).first.click()

    def tab(self, name):
        self.page.locator(".lirf .lm-TabBar-tab", has_text=name).first.click()

    @property
    def message(self):
        return self.page.locator(".lirf-message").inner_text()

    def wait_message(self, pattern, timeout=60):
        """Wait until the message fits a pattern."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.message):
            assert time.monotonic() < end, f"{pattern!r} did not come; the message is {self.message!r}"
            time.sleep(0.05)
        return self.message

    def finish(self):
        """Wait until the run has ended, its t-SNE included, and the panel has shown it."""
        end = time.monotonic() + 90
        while self.ask("explorer.job is not None and explorer.job.thread.is_alive()"):
            assert time.monotonic() < end, self.message
            time.sleep(0.2)

    def slider(self, title):
        """Return a slider's handle."""
        row = self.page.locator(".lirf-controls .jupyter-widgets", has_text=title).first
        return row.locator(".noUi-handle")


@pytest.fixture(scope="module")
def panel(lab, browser):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    opened = Panel(context.new_page(), lab)
    opened.open()
    yield opened
    context.close()


def test_look(panel, artifacts):
    page = panel.page
    page.screenshot(path=artifacts / "first.png")
    panel.press("Run")
    panel.wait_message(r"run 1 in")
    panel.finish()
    for name in TABS:
        panel.tab(name)
        time.sleep(1.5)
        page.screenshot(path=artifacts / f"look-{name.replace(' | ', '')}.png")
    print(panel.errors, panel.ask("(explorer.job.first_curve, explorer.job.finished)"))
