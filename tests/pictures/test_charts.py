import itertools
import math

import matplotlib
import numpy
import pandas
import pytest
from matplotlib.colors import to_hex

import lirf_kit as lk


def runs_of(variants, **metrics):
    """A sweep of two runs each: the original at 90, the target and the recovered network at what is given."""
    rows = []
    for place, variant in enumerate(variants):
        for seed in (0, 1):
            run = {"variant": variant, "seed": seed, "deposit classes": (0, 1, 2)}
            for network in ("original", "target", "recovered"):
                values = dict.fromkeys(("Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean", "L_at"), 90.0)
                if network != "original":
                    values |= {metric: given[place][seed] for metric, given in metrics.items()}
                rows.append(run | {"network": network} | values)
    return pandas.DataFrame(rows)


@pytest.fixture
def ablation():
    """The target's Dep Acc is 0 and 2 with the whole method, and 30 and 50 without L_kp; Pre Acc 89, 91 and 70, 80."""
    values = {"Dep Acc": [(0, 2), (30, 50)], "Pre Acc": [(89, 91), (70, 80)], "Avg Acc": [(90, 92), (60, 64)]}
    return runs_of(["the whole method", "without L_kp"], **values)


@pytest.fixture
def keeps():
    """Pre Acc at 1.0: 90 and 92; at 0.5: 88 and 90; at 0.25: 80 and 90. The original has 90."""
    return runs_of(["1.0", "0.5", "0.25"], **{"Pre Acc": [(90, 92), (88, 90), (80, 90)]})


@pytest.fixture
def accuracies():
    columns = {"original": [99, 98, 97, 96], "target": [0, 98, 3, 96], "recovered": [98, 98, 97, 95]}
    return pandas.DataFrame(columns, index=["cat", "dog", "eel", "fox"], dtype=float)


@pytest.fixture
def counts():
    """Of 20 images of each class: the original takes one dog for a cat, the target every cat for a dog."""
    names = ["cat", "dog"]
    return {
        "original": pandas.DataFrame([[20, 0], [1, 19]], names, names),
        "target": pandas.DataFrame([[0, 20], [0, 20]], names, names),
    }


@pytest.fixture(params=["variants", "curve", "round trip", "confusions"])
def chart(request, ablation, keeps, accuracies, counts):
    draw = {
        "variants": lambda: lk.plot_variants(ablation),
        "curve": lambda: lk.plot_curve(keeps, "keep"),
        "round trip": lambda: lk.plot_round_trip(accuracies, (0, 2)),
        "confusions": lambda: lk.plot_confusions(counts),
    }
    return draw[request.param]()


def test_a_chart_is_saved_in_three_formats(chart, tmp_path):
    written = lk.save_figure(chart, tmp_path, "chart")
    assert [path.suffix for path in written] == [".png", ".svg", ".pdf"] and all(
        path.stat().st_size for path in written
    )


def test_a_chart_is_written_large_and_nothing_of_it_is_cut_off(chart):
    texts = [text for text in chart.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 10
    chart.draw_without_rendering()
    drawn = chart.get_tightbbox()  # in inches
    width, height = chart.get_size_inches()
    assert drawn.x0 >= -0.01 and drawn.x1 <= width + 0.01 and drawn.y0 >= -0.01 and drawn.y1 <= height + 0.01


def test_variants_have_a_panel_a_metric_and_a_row_a_variant(ablation):
    panels = lk.plot_variants(ablation).axes
    assert [axes.get_title() for axes in panels] == ["target: Dep Acc", "target: ΔPre", "recovered: ΔAvg"]
    assert [axes.get_xlabel() for axes in panels] == [
        "%",
        "points relative to the original",
        "points relative to the original",
    ]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["the whole method", "without L_kp"]
    assert panels[0].get_ylim()[0] > panels[0].get_ylim()[1]  # the first variant stands on top


def test_variants_show_each_run_and_their_mean_works_out_by_hand(ablation):
    lines = lk.plot_variants(ablation).axes[0].lines
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in lines if line.get_marker() == "o"]
    assert drawn == [([0, 2], [0, 0]), ([30, 50], [1, 1])]
    means = [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines if line.get_marker() == "D"]
    assert means == [(1, 0), (40, 1)]
    first, second = (to_hex(line.get_color()) for line in lines if line.get_marker() == "D")
    assert first != second
    marked = lk.plot_variants(ablation, marked="without L_kp").axes[0].lines
    assert [to_hex(line.get_color()) for line in marked if line.get_marker() == "D"] == [second, first]


def test_variants_draw_differences_to_the_original_of_the_same_run(ablation):
    (axes,) = lk.plot_variants(ablation, [("target", "ΔPre")]).axes
    drawn = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert drawn == [[-1, 1], [-20, -10]]


def test_a_curve_has_a_line_a_metric_in_the_order_of_the_knob(keeps):
    (axes,) = lk.plot_curve(keeps, "keep", ("ΔPre", "ΔDep")).axes
    assert axes.get_xlabel() == "keep" and axes.get_ylabel() == "points relative to the original"
    lines = {line.get_label(): line for line in axes.lines if line.get_marker() not in ("", "None")}
    assert list(lines) == ["ΔPre", "ΔDep"]
    assert lines["ΔPre"].get_xdata().tolist() == [0.25, 0.5, 1.0]
    assert lines["ΔPre"].get_ydata().tolist() == [-5, -1, 1]  # (−10 + 0) / 2, (−2 + 0) / 2, (0 + 2) / 2
    assert lines["ΔDep"].get_ydata().tolist() == [0, 0, 0]


def test_a_curve_s_band_is_the_standard_deviation(keeps):
    (axes,) = lk.plot_curve(keeps, "keep", ("Pre Acc",)).axes
    corners = axes.collections[0].get_paths()[0].vertices
    reach = {value: numpy.ptp(corners[corners[:, 0] == value][:, 1]) / 2 for value in (0.25, 0.5, 1.0)}
    # two runs d apart: √(2 · (d / 2)² / (2 − 1)) = d / √2
    assert reach == pytest.approx({0.25: 10 / math.sqrt(2), 0.5: math.sqrt(2), 1.0: math.sqrt(2)})


def test_a_curve_of_accuracies_does_not_waste_its_height_down_to_zero(keeps):
    (axes,) = lk.plot_curve(keeps, "keep", ("Pre Acc",)).axes
    assert axes.get_ylim()[0] > 50 and axes.get_ylabel() == "%"


def test_a_curve_is_the_same_from_a_file(keeps, tmp_path):
    keeps.to_csv(tmp_path / "sweep.csv", index=False)
    pictures = [lk.plot_curve(runs, "keep") for runs in (keeps, pandas.read_csv(tmp_path / "sweep.csv"))]
    first, second = ([line.get_xydata().tolist() for line in picture.axes[0].lines] for picture in pictures)
    assert first == second


def test_the_round_trip_has_a_station_a_network_and_names_the_deposit_classes(accuracies):
    chart = lk.plot_round_trip(accuracies, (0, 2))
    (axes,) = chart.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["original", "target", "recovered"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["cat", "eel", "the preserved classes"]
    assert sorted(line.get_ydata().tolist() for line in axes.lines) == sorted(accuracies.to_numpy().tolist())


def test_deposit_classes_of_a_round_trip_differ_in_colour_and_marker_and_none_hides_another(accuracies):
    (axes,) = lk.plot_round_trip(accuracies.assign(target=0.0), (0, 1, 2)).axes
    deposited = [line for line in axes.lines if line.get_marker() != "o"]
    assert len({to_hex(line.get_color()) for line in deposited}) == 3
    assert len({line.get_marker() for line in deposited}) == 3
    places = numpy.array([line.get_xdata() for line in deposited])
    for one, other in itertools.combinations(places, 2):
        assert (abs(one - other) > 0.05).all()
    assert (abs(places - numpy.arange(3)) < 0.2).all()  # still at its station
    (preserved,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert to_hex(preserved.get_color()) not in {to_hex(line.get_color()) for line in deposited}


def test_a_round_trip_of_many_deposit_classes_names_twelve(accuracies):
    many = pandas.concat([accuracies] * 10, ignore_index=True)
    names = [text.get_text() for text in lk.plot_round_trip(many, range(30)).axes[0].get_legend().get_texts()]
    assert len(names) == 14 and names[12:] == ["… 18 more", "the preserved classes"]


def test_a_round_trip_of_all_classes_or_none_is_drawn(accuracies):
    for deposited, named in (((), ["the preserved classes"]), (range(4), ["cat", "dog", "eel", "fox"])):
        (axes,) = lk.plot_round_trip(accuracies, deposited).axes
        assert [text.get_text() for text in axes.get_legend().get_texts()] == named
        assert len(axes.lines) == 4


def test_confusions_have_a_panel_a_network_in_percent_of_each_class(counts):
    chart = lk.plot_confusions(counts)
    panels = chart.axes[:2]
    assert [axes.get_title() for axes in panels] == ["Original", "Target"]
    assert numpy.array_equal(panels[0].images[0].get_array(), [[100, 0], [5, 95]])
    assert numpy.array_equal(panels[1].images[0].get_array(), [[0, 100], [0, 100]])
    written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in panels[0].texts}
    assert written == {(0, 0): "100", (1, 0): "5", (1, 1): "95"}
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["cat", "dog"]
    assert chart.axes[2].get_ylabel() == "% of the class"


def test_a_few_wrong_answers_can_be_told_from_none(counts):
    image = lk.plot_confusions(counts).axes[0].images[0]
    none, few = (numpy.array(image.cmap(image.norm(share))[:3]) for share in (0, 5))
    assert abs(none - few).max() > 0.1


def test_a_class_without_images_is_a_row_of_zeros(counts):
    empty = {"original": counts["original"].mul([0, 1], axis=0)}
    assert lk.plot_confusions(empty).axes[0].images[0].get_array()[0].tolist() == [0, 0]


def test_nothing_to_draw_is_refused(ablation, keeps, accuracies):
    sentences = {
        "^results must have at least one run, not none": [
            lambda: lk.plot_variants(ablation[:0]),
            lambda: lk.plot_curve(keeps[:0], "keep"),
        ],
        "^shown must name at least one network and metric, not none": [lambda: lk.plot_variants(ablation, ())],
        "^marked must be one of the variants, the whole method, without L_kp, not 'L_kp'$": [
            lambda: lk.plot_variants(ablation, marked="L_kp")
        ],
        "^metrics must name at least one, not none": [lambda: lk.plot_curve(keeps, "keep", ())],
        "^accuracies must have at least one class and one network, not none": [
            lambda: lk.plot_round_trip(accuracies[:0]),
            lambda: lk.plot_round_trip(accuracies[[]]),
        ],
        "^confusions must hold at least one matrix, not none": [lambda: lk.plot_confusions({})],
    }
    for sentence, attempts in sentences.items():
        for attempt in attempts:
            with pytest.raises(lk.LirfError, match=sentence):
                attempt()


def test_what_the_results_do_not_have_is_named(ablation, keeps):
    with pytest.raises(lk.LirfError, match="^network must be original, target or recovered, not 'retrained'"):
        lk.plot_curve(keeps, "keep", network="retrained")
    with pytest.raises(lk.LirfError, match="^metric must be Pre Acc, .* or ΔAvg, not 'ΔF'"):
        lk.plot_variants(ablation, [("target", "ΔF")])
    with pytest.raises(lk.LirfError, match="^results must have numbers as variants, not 'the whole method'"):
        lk.plot_curve(ablation, "keep")
    with pytest.raises(lk.LirfError, match="^results must have a column 'variant', as those of sweep do"):
        lk.plot_variants(ablation.drop(columns="variant"))


def test_a_bank_s_states_are_drawn_with_their_numbers_and_places():
    accuracies = pandas.DataFrame({"original": [99.0, 100.0], "− a": [0.0, 98.0]}, index=["cat", "dog"])
    places = pandas.DataFrame({"original": [""], "− a": ["bank"]}, index=["a"])
    above, below = lk.plot_bank(accuracies, places).axes
    assert [text.get_text() for text in below.texts] == ["99", "0", "100", "98"]
    squares = [line for line in above.lines if line.get_marker() == "s"]
    assert [list(line.get_xdata()) for line in squares] == [[1]]
    hollow = lk.plot_bank(accuracies, places.replace("bank", "network")).axes[0].lines[-1]
    assert hollow.get_markerfacecolor() == "white" != squares[0].get_markerfacecolor()
    with pytest.raises(lk.LirfError, match="places must hold 'bank', 'network' or '', not 'safe'"):
        lk.plot_bank(accuracies, places.replace("bank", "safe"))
    with pytest.raises(lk.LirfError, match="places must have the columns of accuracies"):
        lk.plot_bank(accuracies, places.iloc[:, :1])


def test_the_depth_of_a_bank_is_drawn_from_its_runs():
    states = ["deposit 1", "deposit 2", "2 back"]
    runs = pandas.DataFrame({"state": states * 2, "kept": [-1.0, -2, 0, -3, -4, 0], "known": [0, 0, -1.0, 0, 0, -2]})
    (axes,) = lk.plot_bank_depth(runs.assign(sizes="1,1")).axes
    assert list(axes.lines[0].get_ydata()) == [-2, -3] and list(axes.lines[0].get_xdata()) == [1, 2]
    assert [list(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "D"] == [[2, -1.5]]


def test_sizes_are_drawn_in_kilobytes():
    (axes,) = lk.plot_sizes({"pruned": {32: (1000, 90.0), 8: (250, 89.0)}}, 95.0).axes
    line = next(line for line in axes.lines if line.get_label() == "pruned")
    assert line.get_xydata().tolist() == [[1.0, 90.0], [0.25, 89.0]]
    assert [text.get_text() for text in axes.texts] == ["32", "8"]
