"""The slides: eight at 16:9, as PNG and as one PDF, and a sentence where a figure is missing."""

import re
from pathlib import Path

import numpy
import pytest
from matplotlib.image import imread

from lirf_kit.cli import main
from lirf_kit.config import LirfError
from lirf_kit.pictures.slides import SLIDES, _slide, write_slides

FIGURES = Path(__file__).parent.parent.parent / "figures"


def test_the_command_writes_every_slide_at_16_to_9_and_all_in_one_pdf(tmp_path, capsys):
    assert main(["slides", "--figures", str(FIGURES), "--out", str(tmp_path / "new")]) == 0
    written = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in written] == [f"{place}-{name}.png" for place, name in enumerate(SLIDES, 1)] + [
        "slides.pdf"
    ]
    assert len(SLIDES) >= 5 and all(str(path) in capsys.readouterr().out for path in written[:1])
    for path in written[:-1]:
        pixels = imread(path)
        assert pixels.shape[:2] == (1080, 1920)
        assert 0.03 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.9  # it shows something
    pdf = written[-1].read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) == len(SLIDES) and b"/MediaBox [ 0 0 1152 648 ]" in pdf


def test_no_text_runs_off_a_slide():
    for title, sentence in SLIDES.values():
        slide = _slide(numpy.zeros((9, 16, 3)), title, sentence)
        slide.draw_without_rendering()
        for text in slide.texts:
            extent = text.get_window_extent()
            assert slide.bbox.x0 < extent.x0 and extent.x1 < slide.bbox.x1, text


@pytest.mark.parametrize("content", [None, b"not a picture", b""])
def test_a_figure_that_is_missing_or_damaged_is_named_before_anything_is_written(content, tmp_path):
    (tmp_path / "figures").mkdir()
    if content is not None:
        (tmp_path / "figures" / "tsne-outside-digits.png").write_bytes(content)
    with pytest.raises(LirfError, match=r"^figures must hold tsne-outside-digits.png, but .* make figures writes it$"):
        write_slides(tmp_path / "figures", tmp_path / "slides")
    assert not (tmp_path / "slides").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LirfError, match="^out must be a folder that can be written, not "):
        write_slides(FIGURES, tmp_path / "file")
