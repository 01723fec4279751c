import itertools

import matplotlib
import numpy
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import lirf_kit as lk
from lirf_kit.pictures.figures import class_styles


def words(figure):
    """Every text in a figure, hidden ones left out."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


@pytest.fixture
def figure():
    drawn = Figure(figsize=(2, 2))
    drawn.subplots().plot([1, 3, 2], label="a line")
    return drawn


@pytest.fixture
def tsne(embeddings, parts, networks):
    return lk.plot_tsne(embeddings, parts.test, lk.results_table(networks, parts))


def test_a_figure_is_saved_in_three_formats(figure, tmp_path):
    png, svg, pdf = [path.read_bytes() for path in lk.save_figure(figure, tmp_path / "new", "name")]
    assert png.startswith(b"\x89PNG") and b"<svg" in svg and pdf.startswith(b"%PDF")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["name.pdf", "name.png", "name.svg"]


def test_the_same_figure_gives_the_same_bytes_drawn_again_or_saved_again(parts, tmp_path):
    first, other = (lk.plot_samples(parts.test, each=2) for _ in range(2))
    bytes_of = [
        [path.read_bytes() for path in lk.save_figure(each, tmp_path, "name")] for each in (first, other, first)
    ]
    assert bytes_of[0] == bytes_of[1]
    assert bytes_of[0] == bytes_of[2]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_figure_that_cannot_be_written_leaves_the_old_files_as_they_were(figure, tmp_path, monkeypatch, ending):
    for old in ("png", "svg", "pdf"):
        (tmp_path / f"name.{old}").write_text(f"old {old}")
    savefig = Figure.savefig

    def full_disk(self, path, **settings):
        if str(path).endswith(ending):
            raise OSError(28, "No space left on device")
        savefig(self, path, **settings)

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(lk.LirfError, match="the figure name can't be written to .*No space left on device"):
        lk.save_figure(figure, tmp_path, "name")
    found = {path.name: path.read_text(errors="replace") for path in tmp_path.iterdir()}
    assert found == {"name.png": "old png", "name.svg": "old svg", "name.pdf": "old pdf"}


def test_a_folder_that_cannot_be_written_is_named(figure, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(lk.LirfError, match="^out must be a folder that can be written, not '.*taken'"):
        lk.save_figure(figure, tmp_path / "taken", "name")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(lk.LirfError, match="^out must be a folder that can be written, not .*Permission denied"):
        lk.save_figure(figure, tmp_path, "name")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_tsne_figure_has_a_panel_a_network_with_its_accuracies(tsne, networks, parts):
    panels = tsne.axes
    assert [axes.get_title() for axes in panels] == ["Original", "Target", "Recovered"]
    table = lk.results_table(networks, parts)
    for axes, name in zip(panels, table.index):
        assert f"Pre Acc {table.loc[name, 'Pre Acc']:.1f}" in axes.get_xlabel()
        assert f"Dep Acc {table.loc[name, 'Dep Acc']:.1f}" in axes.get_xlabel()


def test_every_image_is_a_point_of_every_panel(tsne, embeddings):
    for axes, points in zip(tsne.axes, embeddings.values()):
        drawn = numpy.concatenate([numpy.asarray(each.get_offsets()) for each in axes.collections])
        assert numpy.array_equal(numpy.sort(drawn, axis=0), numpy.sort(points.astype(float), axis=0))
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert left < points[:, 0].min() and points[:, 0].max() < right
        assert low < points[:, 1].min() and points[:, 1].max() < high


def test_all_classes_are_named_in_the_first_panel_and_preserved_ones_in_the_others(tsne):
    first, *others = tsne.axes
    assert [text.get_text() for text in first.texts] == list("0123456789")[3:] + list("012")
    for axes in others:
        assert [text.get_text() for text in axes.texts] == list("3456789")


def test_data_that_is_not_split_has_its_classes_named_in_order(embeddings, data):
    plain = lk.plot_tsne({"original": embeddings["original"]}, data.test)
    assert [text.get_text() for text in plain.axes[0].texts] == list("0123456789")


def test_deposit_classes_have_a_marker_of_their_own_and_preserved_ones_share_theirs(parts):
    styles = class_styles(parts.test)
    assert {styles[number]["marker"] for number in range(3, 10)} == {"o"}
    assert len({styles[number]["marker"] for number in range(3)} - {"o"}) == 3


@pytest.mark.parametrize("count", range(10))
def test_no_two_of_ten_classes_look_alike_however_many_are_deposited(data, count):
    styles = class_styles(data.test.select(slice(None), tuple(range(count)) or None))
    assert sorted(styles) == list(range(10))
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 10


def test_a_preserved_class_keeps_its_colour_whatever_is_deposited(data, parts):
    alone, split = class_styles(data.test), class_styles(parts.test)
    assert all(split[number]["color"] == alone[number]["color"] for number in range(3, 10))


# What a colour in linear RGB becomes for an eye without green, or without red, receptors (Machado et al. 2009).
VISION = {
    "normal": numpy.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


def lab(colour, vision):
    """A colour's place in CIE L*a*b*, where a distance of 2.3 is just noticed."""
    red_green_blue = numpy.array(to_rgb(colour))
    linear = numpy.where(red_green_blue <= 0.04045, red_green_blue / 12.92, ((red_green_blue + 0.055) / 1.055) ** 2.4)
    seen = numpy.clip(VISION[vision] @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = numpy.cbrt(to_xyz @ seen / [0.9505, 1.0, 1.089])
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_classes_with_the_same_marker_differ_in_colour_for_every_eye(data, vision):
    preserved = [style["color"] for style in class_styles(data.test).values()]  # nothing is deposited
    for one, other in itertools.combinations(preserved, 2):
        assert numpy.linalg.norm(lab(one, vision) - lab(other, vision)) > 8, (one, other)


def test_the_sample_grid_shows_images_of_each_class_and_marks_the_deposit_classes(parts):
    grid = lk.plot_samples(parts.test, each=3)
    marked = [f"deposit ▸ {number}" for number in "012"]
    assert words(grid) == marked + list("3456789")
    shown = [axes.images[0].get_array() for axes in grid.axes]
    assert len(shown) == 30
    assert numpy.array_equal(shown[4 * 3 + 1], parts.test.images[parts.test.labels == 4][1, 0])
    heavy = [text.get_text() for text in grid.findobj(matplotlib.text.Text) if text.get_weight() == "bold"]
    assert heavy == marked


def test_the_sample_grid_shows_colour_images_and_leaves_missing_ones_out():
    images = torch.randint(256, (3, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grid = lk.plot_samples(lk.ImageData(images, torch.tensor([0, 1, 0]), torch.arange(3), ("cat", "dog")), each=2)
    assert words(grid) == ["cat", "dog"]
    first, second, third, fourth = grid.axes
    assert numpy.array_equal(second.images[0].get_array(), images[2].permute(1, 2, 0))
    assert third.images and not fourth.images


def test_the_history_has_a_panel_a_number_and_shows_its_values(original):
    drawn = lk.plot_history(original.history, "training")
    panels = {axes.get_title(): axes for axes in drawn.axes if axes.lines}
    assert list(panels) == ["loss", "validation accuracy"]
    (line,) = panels["loss"].lines
    assert list(line.get_xdata()) == list(range(1, len(original.history) + 1))
    assert list(line.get_ydata()) == [entry["loss"] for entry in original.history]
    assert "training" in words(drawn)


def test_a_history_without_an_epoch_is_refused():
    with pytest.raises(lk.LirfError, match="^history must have at least one finished epoch, not none"):
        lk.plot_history([])
