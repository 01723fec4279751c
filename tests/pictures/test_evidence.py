import matplotlib
import numpy
import pandas
import pytest

import lirf_kit as lk
from lirf_kit.evidence.laboratory import with_yardstick
from lirf_kit.evidence.readings import tidy
from lirf_kit.pictures.evidence import plot_custody, plot_evidence

NAMES = ("original", "target", "target, output alone", "retrained", "retrained, other seed", "untrained")


@pytest.fixture
def table():
    return with_yardstick(
        pandas.concat(
            [
                tidy("kNN (10)", "all classes", dict(zip(NAMES, (99, 92, 98, 90, 94, 70))), "%", "more"),
                tidy("auditor", "silent classes", dict(zip(NAMES, (0, 3, 3, 3, 3, 7))), "classes", "more"),
                tidy("own answers", "all classes", dict(zip(NAMES, (99, 0, 0, 0, 0, 30))), "%", "more"),
                tidy("relearning", "steps", {"target": 64.0}, "steps", "more", {"target": "not reached in 64 steps"}),
            ]
        )
    )


def rows_of(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def marks(axes, place):
    """The marks of a row by their horizontal place: those of the retrained networks are lines without a marker."""
    near = [line for line in axes.lines if abs(numpy.mean(line.get_ydata()) - place) < 0.45]
    return sorted(line.get_xdata()[0] for line in near if line.get_marker() not in ("", "None")), sorted(
        line.get_xdata()[0] for line in near if line.get_marker() in ("", "None")
    )


def test_each_test_has_a_row_and_each_unit_an_axis(table):
    percent, classes, steps = plot_evidence(table).axes
    assert rows_of(percent) == ["kNN (10) · all classes", "own answers · all classes"]
    assert rows_of(classes) == ["auditor · silent classes"] and rows_of(steps) == ["relearning · steps"]
    assert [axes.get_xlabel() for axes in (percent, classes, steps)] == ["%", "classes", "training steps"]
    assert percent.get_ylim()[0] > percent.get_ylim()[1]  # the first test stands on top


def test_each_network_has_a_mark_where_its_value_is(table):
    percent = plot_evidence(table).axes[0]
    assert marks(percent, 0) == ([70, 92, 98, 99], [90, 94])
    assert marks(percent, 1) == ([0, 0, 30, 99], [0, 0])


def test_the_band_reaches_as_far_as_the_retrained_networks_differ(table):
    first, second = plot_evidence(table).axes[0].patches
    assert (first.get_x(), first.get_width()) == (88, 8)  # 92 ± 4
    assert (second.get_x(), second.get_width()) == (0, 0)


def test_the_legend_names_every_mark_once_and_targets_stand_out(table):
    figure = plot_evidence(table)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    shown = ["original", "target", "target, output alone", "untrained"]
    assert labels == [*shown, "a retrained network", "as if never seen", "hollow: not converged, or not reached"]
    sizes = dict(zip(labels, (handle.get_markersize() for handle in figure.legends[0].legend_handles[:4])))
    assert sizes["target"] == sizes["target, output alone"] > sizes["original"] == sizes["untrained"]
    kinds = [(handle.get_marker(), handle.get_color()) for handle in figure.legends[0].legend_handles[:4]]
    assert len({marker for marker, _ in kinds}) == len({colour for _, colour in kinds}) == 4


def test_what_was_not_reached_is_hollow(table):
    (mark,) = plot_evidence(table).axes[2].lines
    assert mark.get_markerfacecolor() == "white"
    assert all(line.get_markerfacecolor() != "white" for line in plot_evidence(table).axes[0].lines)


def test_some_tests_can_be_chosen(table):
    (axes,) = plot_evidence(table, tests=["own answers"]).axes
    assert rows_of(axes) == ["own answers · all classes"]


def check_nothing_is_cut_off(figure):
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.01 and drawn.x1 <= width + 0.01 and drawn.y0 >= -0.01 and drawn.y1 <= height + 0.01


def test_it_is_saved_in_three_formats_and_nothing_is_cut_off(table, tmp_path):
    figure = plot_evidence(table)
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 10
    check_nothing_is_cut_off(figure)
    assert all(path.stat().st_size for path in lk.save_figure(figure, tmp_path, "evidence"))


def test_each_kind_of_container_has_one_formula_whichever_does_better():
    kinds = ["difference", "difference", "pruned", "pruned, rounded", "original, rounded"]
    summary = pandas.DataFrame(
        {
            "kind": kinds, "setting": ["2 bits", "4 bits", "keep 0.3", "4 bits", "4 bits"],
            "bytes": [100, 200, 300, 150, 400], "ΔAvg": [-1.0, -2.0, -3.0, -4.0, -5.0],
            "mean": [-6.0, -0.5, -0.1, -0.2, -7.0], "alone": [30.0, 30.0, 90.0, 80.0, 95.0],
        }
    )  # fmt: skip
    figure = plot_custody(summary.set_index(["kind", "setting"]))
    axes = figure.axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {
        "difference": [-6.0, -0.5], "pruned": [-3.0], "pruned, rounded": [-4.0], "original, rounded": [-7.0],
    }  # fmt: skip
    assert "preserved: pruned 'target', others 'mean'" in axes.get_ylabel()
    assert axes.get_ylim()[0] < -7 and axes.get_yscale() == "symlog"  # the lowest is in sight, and tenths are, too
    check_nothing_is_cut_off(figure)


def test_it_can_be_drawn_without_a_yardstick():
    table = with_yardstick(tidy("kNN (10)", "all classes", {"target": 92.0}, "%", "more"))
    figure = plot_evidence(table)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["target"]


def test_wrong_input_is_one_sentence(table):
    with pytest.raises(lk.LirfError, match=r"^tests must be kNN \(10\), auditor, own answers or relearning, not 'kNN'"):
        plot_evidence(table, tests=["kNN"])
    with pytest.raises(lk.LirfError, match="^table must have at least one row to draw, not none"):
        plot_evidence(table, tests=[])
    with pytest.raises(lk.LirfError, match="^table must have the column spread: call with_yardstick first"):
        plot_evidence(table.drop(columns="spread"))
