"""The notebooks' drawings: all are written, the committed ones are current, and each is described where it is shown."""

import re
import xml.etree.ElementTree as xml
from pathlib import Path

import matplotlib
import pytest
from matplotlib.patches import FancyBboxPatch

from lirf_kit.cli import main
from lirf_kit.config import LirfError
from lirf_kit.pictures.diagrams import DIAGRAMS, WIDTH, write_diagrams

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
SVG = "{http://www.w3.org/2000/svg}"
ABOUT = "{http://purl.org/dc/elements/1.1/}"


def texts(figure):
    return [text for axes in figure.axes for text in axes.texts if text.get_text().strip()]


def test_the_command_writes_all_of_them(tmp_path, capsys):
    assert main(["diagrams", "--out", str(tmp_path / "new")]) == 0
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == sorted(f"{name}.svg" for name in DIAGRAMS)
    assert written == ["bank.svg", "custody.svg", "cut.svg", "gradients.svg", "merge.svg", "path.svg"]
    assert all(name in capsys.readouterr().out for name in [str(tmp_path / "new")])


def test_the_committed_ones_are_current_and_the_same_each_time(tmp_path):
    for path in write_diagrams(tmp_path):
        committed = (NOTEBOOKS / "images" / path.name).read_text(encoding="utf-8")
        root = xml.fromstring(committed)
        assert root.find(f".//{ABOUT}description").text == DIAGRAMS[path.stem][1]
        if f"Matplotlib v{matplotlib.__version__}," in committed:  # a different version draws it a little differently
            assert path.read_text(encoding="utf-8") == committed, "python -m lirf_kit diagrams writes it again"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LirfError, match="^out must be a folder that can be written, not "):
        write_diagrams(tmp_path / "file")


@pytest.mark.parametrize("name", DIAGRAMS)
def test_nothing_is_cut_off_and_no_text_runs_out_of_its_box_or_into_another(name):
    figure = DIAGRAMS[name][0]()
    figure.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    extents = [text.get_window_extent() for text in texts(figure)]
    for text, extent in zip(texts(figure), extents):
        assert figure.bbox.x0 + 3 <= extent.x0 and extent.x1 <= figure.bbox.x1 - 3, text
        assert figure.bbox.y0 <= extent.y0 and extent.y1 <= figure.bbox.y1, text
        for box in boxes:
            centre = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
            if box.contains(*centre):
                assert box.x0 <= extent.x0 and extent.x1 <= box.x1, text
        others = [other for other in extents if other is not extent and extent.overlaps(other)]
        assert not others, text


@pytest.mark.parametrize("name", DIAGRAMS)
def test_it_is_as_wide_as_a_notebook_opaque_and_readable(name):
    figure = DIAGRAMS[name][0]()
    assert figure.get_figwidth() == WIDTH
    assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#ffffff"  # so that it can be read in a dark theme
    assert min(text.get_size() for text in texts(figure)) >= 10


@pytest.mark.parametrize("name", DIAGRAMS)
def test_its_description_is_full_sentences_and_names_what_is_drawn(name):
    draw, alt = DIAGRAMS[name]
    assert 100 < len(alt) < 600 and alt.endswith(".") and not set(alt) & set('[]"\n')
    drawn = {word for text in texts(draw()) for word in re.findall(r"[a-z]{4,}", text.get_text().lower())}
    told = set(re.findall(r"[a-z]{4,}", alt.lower()))
    assert len(drawn & told) >= 0.5 * len(drawn), drawn - told


def test_every_picture_in_a_notebook_is_there_and_has_its_description():
    shown = []
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        for alt, file in re.findall(r"!\[([^\]]*)\]\((images/[^)]+)\)", notebook.read_text(encoding="utf-8")):
            assert (NOTEBOOKS / file).is_file(), f"{notebook.name}: {file}"
            assert alt == DIAGRAMS[Path(file).stem][1], f"{notebook.name}: {file}"
            shown.append(Path(file).stem)
    assert {"path", "custody"} <= set(shown)
