"""The book on a phone: nothing is wider than the screen. `make book` first."""

from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "book" / "_build" / "html"
PHONE = {"width": 390, "height": 844}
# what stands out on the right, unless something around it can be scrolled (a wide table, a long line of code)
TOO_WIDE = """() => [...document.querySelectorAll("article *")].filter(each => {
    const wide = element => element.getBoundingClientRect().right > innerWidth + 1;
    for (let around = each; around.tagName !== "ARTICLE"; around = around.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(around).overflowX) && !wide(around)) return false;
    return wide(each);
}).map(each => each.outerHTML.slice(0, 80))"""
PAGES = ("index", "guide", "notebooks/03_losses", "notebooks/08_is_it_forgotten")  # tables, formulas, figures


@pytest.fixture(scope="module")
def phone(browser):
    if not (BUILT / "index.html").exists():
        pytest.skip("there is no book yet: make book")
    context = browser.new_context(viewport=PHONE)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_book_fits_on_a_phone_and_its_pictures_are_there(phone, name):
    phone.goto((BUILT / f"{name}.html").as_uri())
    phone.wait_for_load_state("load")
    assert phone.evaluate(TOO_WIDE) == []
    missing = "[...document.querySelectorAll('article img')].filter(image => !image.alt || !image.naturalWidth).length"
    assert phone.evaluate(missing) == 0


def test_what_is_too_wide_is_found(phone):
    phone.goto((BUILT / "guide.html").as_uri())
    phone.evaluate("document.querySelector('article').firstElementChild.innerHTML = '<p style=width:800px>wide</p>'")
    assert phone.evaluate(TOO_WIDE) == ['<p style="width:800px">wide</p>']
