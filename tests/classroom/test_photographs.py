"""One line at a notebook's top chooses the data: the same notebook runs on photographs in colour."""

import re
from pathlib import Path

import matplotlib
import nbformat
import numpy
import PIL.Image
import pytest
from matplotlib import pyplot

FOLDER = Path(__file__).parents[2] / "notebooks"
LINE = 'config = lk.preset("digits")'
SWITCHED = sorted(file.stem for file in FOLDER.glob("0[0-6]_*.ipynb"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of ten classes with long names: 24 pictures each to train on and 6 to test on, 32×32 in colour."""
    generator, folder = numpy.random.default_rng(0), tmp_path_factory.mktemp("photographs")
    for number in range(10):
        for place in range(30):
            noise = generator.integers(0, 56, (32, 32, 3)) + 20 * number * numpy.eye(3, dtype=int)[number % 3]
            file = folder / ("train" if place < 24 else "test") / f"long name {number}" / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(noise.astype("uint8")).save(file)
    return folder


def code(name):
    """Return the sources of a notebook's code cells."""
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", SWITCHED)
def test_one_line_of_a_notebook_chooses_the_data(name):
    lines = [line for source in code(name) for line in source.splitlines()]
    assert lines.count(LINE) == 1
    assert sum("preset(" in line for line in lines if "config ==" not in line) == 1  # no other line does


@pytest.mark.parametrize("name", SWITCHED)
def test_a_notebook_runs_on_photographs_once_its_line_is_switched(name, photographs, monkeypatch):
    monkeypatch.setenv("LIRF_KIT_STATIC", "1")  # nobody is asked for a prediction
    monkeypatch.chdir(FOLDER)
    small = f'dataset="folder", folder={str(photographs)!r}, epochs=1, deposit_epochs=1'
    switched = f'config = lk.preset("cifar10-class").replace({small})'
    space = {"display": lambda *shown, **metadata: None}
    for source in code(name):
        source = re.sub(r"^%.*$", "", source, flags=re.MULTILINE)
        with matplotlib.rc_context():
            exec(source.replace(LINE, switched), space)
        pyplot.close("all")
