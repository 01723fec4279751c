"""Every other notebook opens in the browser, as it was committed: its outputs are drawn, without an error."""

from pathlib import Path

import pytest

OTHERS = sorted(
    file.name for file in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb") if "explore" not in file.name
)


@pytest.mark.parametrize("name", OTHERS)
def test_the_notebook_opens(lab, browser, name):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(lab.url(name, workspace=Path(name).stem))
        page.wait_for_selector(".jp-OutputArea-output", timeout=90_000)
        assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
        assert page.get_by_text("Error displaying widget").count() == 0
        assert errors == []
    finally:
        context.close()
        lab.end_sessions()
