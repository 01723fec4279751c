"""The explorer without a browser: its plain functions, and the panel as Python sees it."""

import base64
import dataclasses
import html
import importlib
import io
import os
import re
import signal
import threading
import time
from types import SimpleNamespace

import numpy
import pandas
import PIL.Image
import pytest
import torch

import lirf_kit as lk
from lirf_kit.method import training
from lirf_kit.widgets import drawings, exploring, results, tabs, words
from lirf_kit.widgets.controls import OFF
from lirf_kit.widgets.jobs import Calls


@pytest.fixture(scope="module")
def run(tiny_original, tiny_data, tiny):
    return lk.explore(tiny_original, tiny_data, tiny)


@pytest.fixture(scope="module")
def other(tiny_original, tiny_data, tiny):
    return lk.explore(tiny_original, tiny_data, tiny.replace(lambda_at=0.0, deposit_classes=(3, 8)))


@pytest.fixture(scope="module")
def of_samples(tiny_original, tiny_data, tiny):
    return lk.explore(tiny_original, tiny_data, tiny, fraction=0.2)


@pytest.fixture
def panel(tiny, tiny_original, tiny_data, monkeypatch, tmp_path):
    monkeypatch.setattr("lirf_kit.widgets.explorer.load_or_train", lambda data, config: tiny_original)
    made = lk.DepositExplorer(tiny, tmp_path / "out", opening=False)
    made.with_tsne.value = False
    yield made
    made.stop()
    made.wait(30)


def finish(panel):
    panel.run()
    panel.wait(60)
    return panel.message.value


def open_tab(panel, name):
    panel.results.tabs.selected_index = results.TABS.index(name)


def until(condition, seconds=30):
    """Wait until something is so, which another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def shortest_stop(panel, begun):
    """Return how long Stop took, the shortest of three times: on a busy machine a single step can take as long."""
    seconds = []
    for _ in range(3):
        panel.run()
        until(begun)
        panel.stop()
        panel.wait(30)
        seconds.append(panel.job.stopped_after)
    return min(seconds)


# the plain functions


def test_a_run_is_the_path_s_own(run, tiny_original, tiny_parts, tiny_deposited, tiny, same_weights):
    assert same_weights(run.networks["target"], tiny_deposited[0])
    assert run.history == tiny_deposited[0].history
    trio = {"original": tiny_original, "target": tiny_deposited[0], "recovered": lk.withdraw(*tiny_deposited)}
    trio["head masking"] = lk.mask_head(tiny_original, (0, 1, 2))
    pandas.testing.assert_frame_equal(run.table, lk.results_table(trio, tiny_parts, on="validation"))
    assert list(run.classes.columns) == ["original", "target", "recovered", "head masking"]
    assert list(run.confusions) == ["original", "target", "recovered"]
    assert run.metrics["target: Pre Acc"] == run.table.loc["target", "Pre Acc"]
    assert "recovered: F" not in run.metrics


def test_the_original_and_the_test_part_are_left_alone(run, tiny_original, tiny_parts):
    assert run.networks["original"] is tiny_original
    assert run.table.index.name.startswith("validation")


def test_samples_are_deposited_too(of_samples, tiny_data):
    assert of_samples.parts.deposit_set.deposit_classes is None
    assert len(of_samples.parts.deposit_set) == pytest.approx(0.2 * len(tiny_data.train), abs=1)
    assert "gap" in of_samples.table and "head masking" not in of_samples.networks
    assert exploring.deposited(of_samples.config, 0.2) == "20 % of the samples"


def test_each_step_is_told_and_stop_is_asked_each_time(tiny_original, tiny_data, tiny):
    told = []
    lk.explore(tiny_original, tiny_data, tiny, on_step=lambda *step: told.append((*step[:2], len(step[2]))))
    total = told[0][1]
    assert [done for done, *_ in told] == [*range(1, total + 1), total]
    assert told[-1] == (total, total, tiny.deposit_epochs)
    asked = []
    stopped = lk.explore(tiny_original, tiny_data, tiny, stopped=lambda: asked.append(1) or len(asked) == 3)
    assert stopped is None and len(asked) == 3


def test_a_deposit_that_diverges_says_which_knob_to_turn(tiny_original, tiny_data, tiny):
    wild = tiny.replace(deposit_learning_rate=1e6, max_gradient_norm=1e9, deposit_epochs=9)
    with pytest.raises(lk.LirfError, match="stopped being finite in epoch .*: lower deposit_learning_rate"):
        lk.explore(tiny_original, tiny_data, wild)


def test_the_recipes_are_valid_and_calibrated_turns_nothing(config):
    turned = {name: config.replace(**changes) for name, changes in lk.recipes(config).items()}
    assert turned["calibrated"] == config
    logits = config.replace(preservation="logits")
    paper = [name for name, changes in lk.recipes(logits).items() if logits.replace(**changes).preservation == "paper"]
    assert paper == ["paper", "what goes wrong"]
    assert len(set(turned.values())) == len(turned) == 5
    assert all(set(changes) <= set(exploring.EXPLORED) for changes in lk.recipes(config).values())


@pytest.mark.parametrize("name", ["digits", "cifar10-small", "cub200"])
def test_the_line_of_code_makes_the_config_again(name):
    for config in (lk.preset(name), lk.preset(name).replace(lambda_at=0.5, deposit_classes=(1,), recovery="paper")):
        scope = {"lk": lk}
        exec(lk.code_line(config), scope)
        assert scope["config"] == config
    assert lk.code_line(lk.preset(name)) == f'config = lk.preset("{name}")'


def test_the_line_of_code_draws_the_samples_again(of_samples, config):
    scope = {"lk": lk}
    exec(lk.code_line(config, 0.2), scope)
    assert scope["parts"].deposit_set.indices.equal(
        exploring.cut(lk.load_dataset(config), config, 0.2).deposit_set.indices
    )


def test_the_history_has_a_row_a_run(run, other, of_samples):
    table = lk.history_table([run, other, of_samples])
    assert list(table.index) == [1, 2, 3]
    assert list(table["deposit"]) == ["0 1 2", "3 8", "20 % of the samples"]
    assert list(table["lambda_at"]) == [0.3, 0.0, 0.3]
    assert table.loc[2, "target: Pre Acc"] == other.metrics["target: Pre Acc"]
    assert (
        numpy.isnan(table.loc[3, "target: Pre Acc"])
        and table.loc[3, "target: gap"] == of_samples.metrics["target: gap"]
    )


def test_the_history_s_rows_have_the_same_numbers_for_classes_and_samples(run, of_samples):
    tab = tabs.HistoryTab(print, run.config)
    tab.fill([run, of_samples], None)
    (classes, _), (samples, _) = tab.rows.options
    for one, row in ((run, classes), (of_samples, samples)):
        shown = [f"{one.table.loc[*place]:.2f}" for place in NUMBERS[one.fraction is None]]
        assert re.findall(r"\d+\.\d\d", row)[: len(shown)] == shown
    assert "–" not in classes and samples.count("–") == 1 and "unseen images" in tab.heading.value  # H Mean alone


def test_the_history_names_the_nearest_preset_and_what_differs_from_it(run):
    tab, paper = tabs.HistoryTab(print, run.config), lk.recipes(run.config)["paper"]
    said = {
        "calibrated": {}, "paper": paper, "paper, λ_kp 50": paper | {"lambda_kp": 50.0},
        "calibrated, gradient limit off": {"max_gradient_norm": OFF},
    }  # fmt: skip
    tab.fill([dataclasses.replace(run, config=run.config.replace(**changes)) for changes in said.values()], None)
    for (row, _), wanted in zip(tab.rows.options, said):
        assert row.split(2 * tabs.SPACE)[-1] == wanted


def test_small_settings_that_differ_are_told_apart(run):
    tab = tabs.CompareTab(print)
    for letter, rate in {"A": 0.001, "B": 0.003}.items():
        tab.pinned[letter] = 1, dataclasses.replace(run, config=run.config.replace(deposit_learning_rate=rate))
    tab.show()
    assert "<td>0.001</td>" in tab.table.value and "<td>0.003</td>" in tab.table.value


NUMBERS = {
    True: [("target", "Pre Acc"), ("target", "Dep Acc"), ("target", "H Mean"), ("recovered", "Avg Acc")],
    False: [("target", "validation, all classes"), ("target", "deposited samples")],
}


def test_two_runs_side_by_side_have_their_differences_marked(run, other):
    table = lk.compare_runs(run, other)
    assert table.loc["lambda_at"].tolist() == [0.3, 0.0, True]
    assert table.loc["lambda_kp", "differs"] == False  # noqa: E712
    assert table.loc["deposit"].tolist() == ["0 1 2", "3 8", True]
    assert not lk.compare_runs(run, run)["differs"].any()


def test_an_image_s_journey_is_what_the_networks_say(run, tiny_parts):
    probabilities, maps = lk.journey(run, 4)
    image = tiny_parts.validation.images[4:5]
    for name in ("original", "target", "recovered"):
        own = 100 * lk.predict(run.networks[name], image).softmax(1)[0].numpy()
        assert probabilities[name].to_numpy() == pytest.approx(own, abs=1e-3)
    assert list(maps) == ["original", "target", "deposit module", "recovered"]
    for attention in maps.values():
        assert attention.shape == (4, 4) and (attention**2).sum() == pytest.approx(1, abs=1e-4)
    with pytest.raises(lk.LirfError, match="place must be from 0 to"):
        lk.journey(run, len(tiny_parts.validation))


def test_the_recovered_network_s_map_is_of_both_networks_channels(run):
    _, maps = lk.journey(run, 4)
    image = run.parts.validation.images[4:5]
    target, recovered = run.networks["target"], run.networks["recovered"]
    with torch.no_grad():
        both = torch.cat([target.lower(image), recovered.deposit_module(image)], dim=1)  # (1, 2·C, H, W)
    assert maps["recovered"].ravel() == pytest.approx(lk.attention_map(both)[0].numpy(), abs=1e-5)
    assert not numpy.allclose(maps["recovered"], maps["target"], atol=1e-3)


@pytest.fixture(scope="module")
def embedded(run):
    lk.embed_run(run)
    return run


def test_every_figure_says_what_is_in_it(embedded, other, of_samples):
    for name in drawings.FIGURES:
        said = words.of_run(name, embedded)
        assert "Deposited: classes 0 1 2." in said
        assert f"target Pre {embedded.metrics['target: Pre Acc']:.1f}" in said
    assert f"{len(embedded.parts.validation)} validation images" in words.of_run("t-SNE", embedded)
    assert "Deposited: 20 % of the samples." in words.of_run("classes", of_samples)
    probabilities, _ = lk.journey(other, 4)
    label = other.parts.validation.class_names[int(other.parts.validation.labels[4])]
    said = words.of_journey(other, 4, probabilities)
    assert f"of class {label}" in said and f"recovered {probabilities.loc[label, 'recovered']:.0f} %" in said
    points = pandas.DataFrame({"lambda_at": [0.0, 1.0, 3.0], "value": [5.0, 9.0, 7.0]})
    said = words.of_surface(points, "m")
    knob = "look elsewhere · λ_at"
    assert said == f"m over {knob}: 3 measured points, from 5.0 at {knob} 0 to 9.0 at {knob} 1."


def test_t_sne_has_its_own_progress_and_stops(run):
    told = []
    run = dataclasses.replace(run, embeddings={})
    lk.embed_run(run, stopped=lambda: True)
    assert run.embeddings == {}
    asked = iter([False, False, False, True])
    lk.embed_run(run, stopped=lambda: next(asked))
    assert run.embeddings == {}
    lk.embed_run(run, on_step=lambda *step: told.append(step))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    part = exploring.tsne_part(run.parts)
    assert {points.shape for points in run.embeddings.values()} == {(len(part), 2)}
    assert part.deposit_classes == (0, 1, 2)


def test_t_sne_shows_at_most_600_images(run, monkeypatch):
    monkeypatch.setattr(exploring, "MOST_POINTS", 50)
    part = exploring.tsne_part(run.parts)
    assert len(part) == len(part.indices.unique()) == 50


def test_a_surface_has_only_points_that_agree_in_everything_else(tiny):
    found = [(tiny.replace(lambda_at=value), {"m": value}) for value in (1.0, 0.0)]
    found += [(tiny.replace(lambda_at=3.0, lambda_kp=1.0), {"m": 3.0}), (tiny.replace(seed=1), {"m": 9.0})]
    line = lk.surface_points(found, tiny, ["lambda_at"], "m")
    assert line.to_numpy().tolist() == [[0.0, 0.0], [1.0, 1.0]]
    both = lk.surface_points(found, tiny, ["lambda_at", "lambda_kp"], "m")
    assert both.to_numpy().tolist() == [[0.0, 20.0, 0.0], [1.0, 20.0, 1.0], [3.0, 1.0, 3.0]]
    assert lk.surface_points(found, tiny, ["lambda_at"], "another").empty


def test_a_grid_is_filled_from_the_experiments_store(tiny, own_home):
    grid = lk.knob_grid(tiny, {"lambda_at": [0.0, 1.0], "keep": [0.5, 1.0]})
    assert [(one.lambda_at, one.keep) for one in grid] == [(0.0, 0.5), (0.0, 1.0), (1.0, 0.5), (1.0, 1.0)]
    ((config, metrics),) = list(lk.fill_grid(grid[:1], jobs=1))
    assert config == grid[0]
    results = lk.results_over_seeds(config, [0], [(0, 1, 2)], on="validation", references=(), jobs=1)
    target = results.set_index("network").loc["target"]
    assert metrics["target: Pre Acc"] == target["Pre Acc"] and metrics["target: L_at"] == target["L_at"]
    assert list(own_home.glob("result-*"))


def test_a_grid_s_point_shows_no_bars(tiny, monkeypatch):
    def looked(*_, **__):
        raise lk.LirfError(f"disabled: {os.environ.get('TQDM_DISABLE')}")

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(exploring, "results_over_seeds", looked)
    assert list(lk.fill_grid([tiny], jobs=1)) == [(tiny, "disabled: 1")]


def test_a_grid_that_is_closed_early_warns_of_nothing(tiny, own_home, recwarn):
    filled = lk.fill_grid(lk.knob_grid(tiny, {"lambda_at": [0.0, 1.0, 3.0, 10.0]}))
    next(filled)
    filled.close()
    assert not [one for one in recwarn if "cancelled" in str(one.message)]


def test_a_grid_s_point_that_fails_says_why(tiny):
    wild = tiny.replace(deposit_learning_rate=1e6, max_gradient_norm=1e9, deposit_epochs=9)
    ((config, said),) = list(lk.fill_grid([wild], jobs=1))
    assert config == wild and "stopped being finite" in said


def test_every_figure_has_the_same_shape_run_after_run(run, other, of_samples):
    drawn = {
        "terms": lambda run: drawings.plot_terms(run),
        "classes": drawings.plot_classes,
        "confusion": drawings.plot_run_confusions,
        "journey": lambda run: drawings.plot_journey(run, 0, *lk.journey(run, 0)),
    }
    for name, draw in drawn.items():
        assert len({tuple(draw(one).get_size_inches()) for one in (run, other, of_samples)}) == 1, name


def test_a_surface_s_dots_are_the_measured_points(tiny):
    points = pandas.DataFrame(
        {"lambda_at": [0.0, 1.0, 0.0, 1.0], "keep": [0.5, 0.5, 1.0, 1.0], "value": [1, 2, 3, 4.0]}
    )
    axes = drawings.plot_surface(points, "m").axes[0]
    assert axes.collections[-1].get_offsets().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    diagonal = points.assign(lambda_at=[0.0, 1.0, 3.0, 10.0], keep=[0.2, 0.5, 0.8, 1.0])
    assert len(drawings.plot_surface(diagonal, "m").axes[0].collections) == 1  # no contour through a line
    line = drawings.plot_surface(points[["lambda_at", "value"]][:2], "m").axes[0]
    assert [line.lines[0].get_linestyle(), line.lines[1].get_linestyle()] == [":", "None"]


def test_a_surface_shows_how_much_one_image_counts_and_does_not_stretch_its_noise(tiny):
    line = pandas.DataFrame({"lambda_at": [0.0, 1.0], "value": [99.0, 99.5]})
    axes = drawings.plot_surface(line, "m", one=0.5).axes[0]
    assert "one image is ±0.5 points" in axes.get_title()
    low, high = axes.get_ylim()
    assert high - low > 9 and high <= 101
    (bars,) = [found for found in axes.collections if hasattr(found, "get_segments")]
    assert [part[:, 1].tolist() for part in bars.get_segments()] == [[98.5, 99.5], [99.0, 100.0]]
    both = pandas.DataFrame({"lambda_at": [0.0, 1.0, 0.0], "keep": [0.5, 0.5, 1.0], "value": [99.0, 99.5, 99.2]})
    dots = drawings.plot_surface(both, "m", one=0.5).axes[0].collections[-1]
    assert dots.norm.vmax - dots.norm.vmin == 10
    labels = torch.tensor([0] * 4 + [1] * 16)  # one of 16 preserved and one of 4 deposited images
    assert words.one_image(labels, (0,)) == {"Pre Acc": 6.25, "Dep Acc": 25, "Avg Acc": 5, "H Mean": 25}


# the panel


def test_a_run_shows_what_the_plain_function_computes(panel, run):
    said = finish(panel)
    assert "run 1 in" in said and f"<b>{run.metrics['target: Pre Acc']:.1f}</b>" in said
    pandas.testing.assert_frame_equal(panel.runs[0].table, run.table)
    assert f"{run.table.loc['target', 'Pre Acc']:.2f}" in panel.results.table.value
    assert panel.results.curves.history == run.history and panel.results.curves.epochs == len(run.history)
    assert panel.results.story.frames[-1]["target"]["bars"] == pytest.approx(
        run.table.loc["target", ["Pre Acc", "Dep Acc"]].tolist(), abs=0.01
    )
    for name in ("classes", "confusion"):
        open_tab(panel, name)
        until(lambda name=name: "Deposited: classes 0 1 2. On the validation" in panel.results.images[name].alt)
        assert bytes(panel.results.images[name].png[:4]) == b"\x89PNG"
    assert panel.job.first_move < panel.job.finished
    assert len(panel.results.history.rows.options) == 1 and panel.stop_button.disabled


@pytest.mark.parametrize("by", ["by class", "by sample"])
def test_a_guess_is_kept_with_the_other_predictions_and_is_about_what_is_deposited(panel, by, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    panel.controls.by.value = by
    panel.guessing.value = True
    panel.run()
    asked = panel.guess.description
    panel.wait(60)
    panel.controls.knobs["lambda_at"].value = 1.0
    panel.controls.reset.click()
    panel.controls.by.value = by
    assert "target" not in panel.message.value and panel.guess.value == ""  # nothing is given away
    panel._main.post(panel._reveal)
    assert "must be a number" in panel.message.value and not (tmp_path / "my-predictions.json").exists()
    panel.guess.value = " 12 "
    panel.guess._handle_custom_msg({"event": "submit"}, [])  # Enter
    (row,) = lk.my_predictions().itertuples()
    name = "target: Dep Acc" if by == "by class" else "target: deposited samples"
    assert (row.predicted, row.actual) == (
        12,
        round(panel.runs[0].metrics[name], 1),
    ) and "you said 12 %" in panel.message.value
    assert ("deposited samples" in asked) == (by == "by sample")


def test_stop_stops_at_once_and_the_panel_goes_on(panel):
    panel.controls.knobs["deposit_epochs"].value = 256
    assert shortest_stop(panel, lambda: panel.job.first_move is not None) < 0.5
    assert "stopped (it took" in panel.message.value and not panel.runs
    panel.controls.knobs["deposit_epochs"].value = 2
    assert "run 1 in" in finish(panel)


def test_the_last_of_many_quick_runs_is_the_one_that_shows(panel):
    for value in (0.0, 0.01, 0.03, 0.1, 1.0, 3.0):
        panel.controls.knobs["lambda_at"].value = value
        panel.run()
    panel.wait(60)
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and "_work" in thread.name:
            thread.join(60)
    assert panel.runs[panel.results.shown].config.lambda_at == 3.0
    assert "run" in panel.message.value


def test_auto_run_waits_until_the_controls_rest(panel):
    panel.controls.knobs["lambda_at"].value = 1.0
    assert panel.job is None
    panel.auto.value = True
    for value in (0.0, 0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 1.0, 0.1, 3.0):
        panel.controls.knobs["lambda_at"].value = value
    until(lambda: panel.runs, 60)
    panel.wait(30)
    assert not panel._main._resting  # no other is about to begin
    assert [run.config.lambda_at for run in panel.runs] == [3.0]


def test_no_class_is_said_and_a_class_mends_it(panel):
    for button in panel.controls.classes:
        button.value = False
    panel.run()
    assert "must name at least one class, not none" in panel.message.value and "alert" in panel.message.value
    for button in panel.controls.classes:
        button.value = True
    panel.run()
    assert "not name all 10" in panel.message.value
    panel.controls.reset.click()
    assert "run 1 in" in finish(panel)


def test_settings_that_can_t_be_leave_the_running_deposit_alone(panel):
    panel.controls.knobs["deposit_epochs"].value = 32
    panel.run()
    for button in panel.controls.classes:
        button.value = False
    job = panel.job
    panel.run()
    assert "at least one class" in panel.message.value and panel.job is job and not job.stop.is_set()
    panel.wait(60)
    assert "run 1 in" in panel.message.value


def test_a_row_of_the_history_drops_the_running_deposit_and_the_waiting_auto_run_and_says_so(panel):
    finish(panel)
    finish(panel)
    assert len(panel.runs) == 2
    panel.auto.value = True
    panel.controls.knobs["deposit_epochs"].value = 256
    panel.run()
    job = panel.job
    panel.controls.knobs["lambda_at"].value = 1.0
    panel.results.history.rows.value = 0
    assert "run 1 in" in panel.message.value and "the deposit that was running is dropped" in panel.message.value
    job.thread.join(60)
    assert not panel._main._resting and panel.job is None and len(panel.runs) == 2


def test_stop_during_t_sne_is_said_at_once_and_nothing_of_it_stays(panel, monkeypatch):
    begun, gate = threading.Event(), threading.Event()

    def embedded(*_):
        begun.set()
        gate.wait(30)
        return numpy.zeros((1, 2))

    monkeypatch.setattr(exploring, "embed_tsne", embedded)
    data, _ = panel._known[0]
    panel._homes[0] = numpy.zeros((len(exploring.tsne_part(exploring.cut(data, panel.config))), 2))
    panel.with_tsne.value = True
    panel.run()
    assert begun.wait(60)
    assert (panel.progress.value, panel.progress.max) == (1, 3)  # the original's is known
    panel.stop()
    assert "t-SNE is stopped" in panel.message.value and panel.stop_button.disabled
    assert panel.progress.layout.visibility == "hidden"
    gate.set()
    panel.wait(30)
    assert not panel.runs[0].embeddings and "t-SNE is stopped" in panel.message.value


def test_stop_ends_the_waiting_auto_run_too(panel):
    panel.auto.value = True
    panel.controls.knobs["lambda_at"].value = 1.0
    panel.stop()
    assert not panel._main._resting and panel.job is None


def test_a_divergence_is_said_and_the_panel_goes_on(panel):
    panel.controls.show(panel.config.replace(deposit_learning_rate=1e6, max_gradient_norm=1e9, deposit_epochs=9))
    assert "stopped being finite in epoch" in finish(panel)
    panel.controls.reset.click()
    assert "run 1 in" in finish(panel)


def test_an_unexpected_error_is_shown_with_its_traceback(panel, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("<boom>")

    monkeypatch.setattr("lirf_kit.widgets.explorer.explore", broken)
    said = finish(panel)
    assert "RuntimeError: &lt;boom&gt;" in said and "Traceback" in said


def test_an_interrupt_is_a_stop_with_another_name(panel):
    panel.controls.knobs["deposit_epochs"].value = 256
    panel.run()
    panel.job.ask_to_stop("interrupted")
    panel.wait(30)
    assert "interrupted (it took" in panel.message.value


def test_an_interrupt_of_the_kernel_stops_the_runs_of_all_panels(panel, tiny, monkeypatch):
    other, before = lk.DepositExplorer(tiny, opening=False), signal.getsignal(signal.SIGINT)
    try:
        for one in (panel, other):
            monkeypatch.setattr(one, "_loop", SimpleNamespace(call_soon_threadsafe=lambda call, *given: call(*given)))
            one.controls.knobs["deposit_epochs"].value = 256
            one.run()
        signal.raise_signal(signal.SIGINT)
        for one in (panel, other):
            one.wait(30)
            assert "interrupted (it took" in one.message.value
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_seed_has_its_original_trained_once(panel, monkeypatch, tiny_original):
    trained = []
    monkeypatch.setattr(
        "lirf_kit.widgets.explorer.load_or_train", lambda data, config: trained.append(config.seed) or tiny_original
    )
    panel.controls.knobs["seed"].value = 1
    finish(panel)
    finish(panel)
    assert trained == [1] and [run.config.seed for run in panel.runs] == [1, 1]


def test_a_new_seed_s_training_time_is_said_and_the_story_s_message_is_running(panel, monkeypatch, tiny_original):
    def slow(data, config):
        time.sleep(1.1)
        return tiny_original

    monkeypatch.setattr("lirf_kit.widgets.explorer.load_or_train", slow)
    said, move = [], panel.results.move
    monkeypatch.setattr(panel.results, "move", lambda *frame: said.append(panel.message.value) or move(*frame))
    panel.controls.knobs["seed"].value = 3
    assert "+ 1 s for the original of seed 3, once" in finish(panel)
    assert said and all(">running …<" in one for one in said)
    assert "once" not in finish(panel)


def test_stop_while_the_original_is_trained_keeps_what_was_learnt(panel, monkeypatch, own_home):
    epochs, snapshot = [], training._snapshot
    monkeypatch.setattr(training, "_snapshot", lambda state: epochs.append(panel.job) or snapshot(state))
    monkeypatch.setattr("lirf_kit.widgets.explorer.load_or_train", lk.load_or_train)
    panel.config = panel.controls.config = panel.config.replace(epochs=5000)
    panel.controls.knobs["seed"].value = 1
    assert shortest_stop(panel, lambda: sum(job is panel.job for job in epochs) > 2) < 0.5
    assert "stopped after epoch" in panel.message.value
    assert list(own_home.glob("unfinished-*"))


def test_a_stored_notebook_has_a_text_in_the_panel_s_place(panel, monkeypatch):
    monkeypatch.delenv("LIRF_KIT_STATIC", raising=False)
    assert "application/vnd.jupyter.widget-view+json" in panel._bundles()[-1][0]
    monkeypatch.setenv("LIRF_KIT_STATIC", "1")
    assert [list(bundle) for bundle, _ in panel._bundles()] == [["text/plain", "text/html"]]
    finish(panel)
    (said, _), (picture, about), (table, _) = panel._bundles()  # with a run, its picture and its table
    assert "run this cell" in said["text/html"] and about["image/png"]["alt"].startswith("Three columns")
    assert "head masking" in table["text/plain"] and "<table" in table["text/html"]
    moving = PIL.Image.open(io.BytesIO(base64.b64decode(picture["image/png"])))
    assert moving.format == "PNG" and moving.n_frames > 3
    last = numpy.asarray(moving.convert("RGB"))  # what is seen where nothing moves is the end
    moving.seek(moving.n_frames - 1)
    assert (numpy.asarray(moving.convert("RGB")) == last).all()


def test_the_panel_opens_with_the_run_of_its_config_which_is_saved(tiny, tiny_original, monkeypatch, own_home):
    monkeypatch.setattr("lirf_kit.widgets.explorer.load_or_train", lambda data, config: tiny_original)
    first = lk.DepositExplorer(tiny)
    first.wait(60)
    assert len(first.runs) == 1 and first.job is not None
    again = lk.DepositExplorer(tiny)
    assert again.job is None and len(again.runs) == 1 and "run 1 in" in again.message.value  # at once, and not run
    old, new = first.runs[0], again.runs[0]
    pandas.testing.assert_frame_equal(old.table, new.table)
    assert new.story.frames == old.story.frames and new.history == old.history and new.seconds == old.seconds
    assert all(map(numpy.array_equal, old.story.places, new.story.places))
    assert all(numpy.array_equal(new.embeddings[name], old.embeddings[name]) for name in ("original", "target"))
    assert "image/png" in again._bundles()[1][0]
    shown = again.results  # the story keeps its moving maps, t-SNE has a tab of its own
    assert shown.story.tsne == b"" and shown.tsne.tsne == numpy.stack(list(new.embeddings.values())).tobytes()
    other = lk.DepositExplorer(tiny.replace(lambda_at=0.5))
    assert other.job is not None  # another config has a run of its own
    other.stop()
    other.wait(60)


def test_a_callback_s_error_is_shown(panel):
    panel._main.safe(lambda: panel.results.pin("A"))()
    assert "press Run" in panel.message.value
    open_tab(panel, "surface")
    panel.controls.classes[0].value = panel.controls.classes[1].value = panel.controls.classes[2].value = False
    panel.results.surface.fill.click()
    assert "at least one class" in panel.message.value


def test_the_surface_s_grid_is_filled_in_the_background_and_can_be_cancelled(panel, monkeypatch):
    gates = threading.Semaphore(0)

    def measured(configs):
        for config in configs:
            gates.acquire(timeout=30)
            yield config, {"target: H Mean": config.lambda_at}

    monkeypatch.setattr("lirf_kit.widgets.surface.fill_grid", measured)
    open_tab(panel, "surface")
    panel.results.surface.fill.click()
    gates.release()
    until(lambda: "1 of 8 points measured" in panel.message.value)
    panel.results.surface.cancel.click()
    assert "cancelling" in panel.message.value and panel.results.surface.fill.disabled
    panel.results.surface.fill.click()  # nothing, as long as the one before is at it
    gates.release()
    until(lambda: panel.results.surface.filling is None)
    assert "cancelled; what was measured stays" in panel.message.value
    assert len(panel.results.surface.measured) == 1 and "1 measured" in panel.results.surface.note.value
    assert not panel.results.surface.fill.disabled and panel.results.surface.cancel.disabled


def test_samples_have_no_surface_and_that_is_said(panel):
    panel.controls.by.value = "by sample"
    open_tab(panel, "surface")
    assert "deposits of classes only: choose by class" in panel.results.surface.note.value
    assert "run 1 in" in finish(panel)
    panel.results.surface.fill.click()
    assert "choose by class" in panel.message.value and panel.results.surface.filling is None


def test_a_row_of_the_history_brings_its_settings_and_figures_back(panel):
    finish(panel)
    open_tab(panel, "classes")
    until(lambda: "classes 0 1 2." in panel.results.images["classes"].alt)
    first = panel.results.images["classes"].png
    seen = []
    panel.results.images["classes"].observe(lambda change: seen.append(change["new"]), names="png")
    panel.controls.recipe.value = "paper"
    panel.controls.classes[5].value = True
    finish(panel)
    until(lambda: "classes 0 1 2 5." in panel.results.images["classes"].alt)
    assert panel.controls.recipe.value == "paper" and panel.results.images["classes"].png != first
    assert len(seen) == 1 and seen[0]  # the figure wasn't empty in between
    panel.results.history.rows.value = 0
    assert panel.controls.recipe.value == "calibrated" and panel.controls.settings() == (panel.config, None)
    until(lambda: panel.results.images["classes"].png == first)
    assert "run 1 in" in panel.message.value
    panel.results.pin("A")
    panel.results.history.rows.value = 1
    panel.results.pin("B")
    assert "≠ hold the rest · λ_kp" in panel.results.compare.table.value
    assert "λ_pt" not in panel.results.compare.table.value and "lambda" not in panel.results.compare.table.value
    assert panel.results.history.rows.options[1][0].endswith("paper")
    open_tab(panel, "A | B")
    assert panel.results.compare.image.alt == "classes of run 1, above run 2"
    assert bytes(panel.results.compare.image.png[:4]) == b"\x89PNG"
    assert "<td>99.24</td>" not in panel.results.compare.table.value and "B − A" in panel.results.compare.table.value


def test_the_row_of_the_shown_run_brings_its_settings_back_after_the_controls_were_turned(panel):
    finish(panel)
    rows = panel.results.history.rows
    assert rows.value == 0
    panel.controls.knobs["lambda_at"].value = 1.0
    assert rows.value is None
    rows.value = 0
    assert panel.controls.settings() == (panel.config, None) and rows.value == 0


def test_a_tab_that_is_opened_ends_old_news_and_an_image_gets_its_ring_by_hand_only(panel):
    finish(panel)
    panel.results.pin("A")
    open_tab(panel, "image")
    assert "run 1 in" in panel.message.value and panel.results.story.picked == -1
    panel.results.journey.label.value = 4
    until(lambda: panel.results.story.picked >= 0)
    panel._say("measuring …")
    panel.results.surface.filling = threading.Event()
    open_tab(panel, "table")
    assert "measuring" in panel.message.value


def test_guesses_that_are_switched_off_give_the_result_free(panel):
    panel.guessing.value = True
    finish(panel)
    assert panel._veiled and "run 1" not in panel.message.value
    panel.guessing.value = False
    assert not panel._veiled and "run 1 in" in panel.message.value


def test_a_run_s_file_says_its_numbers_when_it_is_opened(panel, other):
    file = {"name": "run.json", "type": "", "size": 1, "last_modified": 0}  # as the page sends it
    content = memoryview(exploring.run_as_file(other).encode())
    for _ in range(2):  # a file that was opened before can be opened again
        panel.results.history.upload.set_state({"value": [file | {"content": content}]})
        assert f"target Pre <b>{other.metrics['target: Pre Acc']:.1f}</b>" in panel.message.value
        assert panel.controls.settings() == (other.config, None)
        panel.controls.reset.click()


def test_a_grid_s_failure_is_said_in_plain_words(panel, monkeypatch):
    failing = [(panel.config, "it diverged: lower deposit_learning_rate")]
    monkeypatch.setattr("lirf_kit.widgets.surface.fill_grid", lambda missing: (found for found in failing))
    panel.results.surface.fill.click()
    until(lambda: panel.results.surface.filling is None)
    assert "1 points failed; it diverged: lower learning rate" in panel.message.value


def test_samples_switch_the_classes_off(panel):
    panel.controls.by.value = "by sample"
    panel.controls.fraction.value = 0.2
    assert panel.controls.settings() == (panel.config, 0.2)
    assert "run 1 in" in finish(panel) and "gap" in panel.message.value
    assert "split_by_sample" in panel.code.value


def test_every_control_says_what_it_does_and_its_symbol(panel):
    for name, control in panel.controls.knobs.items():
        assert f"({name})" in control.tooltip
    assert panel.controls.knobs["lambda_at"].tooltip.startswith("λ_at: ")
    assert all(button.tooltip for button in panel.controls.classes)


def test_files_are_written_and_a_folder_that_can_t_be_is_said(panel, tmp_path):
    panel.results.history.csv.click()
    assert "press Run" in panel.message.value
    finish(panel)
    open_tab(panel, "classes")
    panel.save_button.click()
    panel.results.history.csv.click()
    assert {file.name for file in panel.out.iterdir()} == {
        "history.csv", "run-1-classes.png", "run-1-classes.svg", "run-1-classes.pdf",
    }  # fmt: skip
    assert len(pandas.read_csv(panel.out / "history.csv")) == 1
    (tmp_path / "file").touch()
    panel.out = tmp_path / "file" / "below"
    panel.save_button.click()
    assert "out must be a folder that can be written" in panel.message.value


def test_a_home_that_can_t_be_written_is_said_beside_the_result(panel, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("lirf_kit.widgets.explorer.load_or_train", lk.load_or_train)
    panel.controls.knobs["seed"].value = 1
    said = finish(panel)
    assert "run 1 in" in said and "note: " in said and str(tmp_path / "file") in html.unescape(said)
    assert len(panel.runs) == 1 and panel.runs[0].config.seed == 1
    assert "note: " not in finish(panel)


def test_the_copied_line_makes_the_very_settings(panel):
    def copied():
        scope = {"lk": lk}
        exec(html.unescape(re.search("<code>(.*)</code>", panel.code.value, re.DOTALL)[1]), scope)
        return scope

    assert copied()["config"] == panel.config
    for name, value in {"lambda_at": 10.0, "keep": 0.2, "seed": 3, "recovery": "paper", "split_after": 1}.items():
        panel.controls.knobs[name].value = value
    panel.controls.classes[9].value = True
    assert copied()["config"] == panel.controls.settings()[0] != panel.config
    assert copied()["config"].deposit_classes == (0, 1, 2, 9)
    panel.controls.by.value = "by sample"
    config, fraction = panel.controls.settings()
    given = copied()["parts"].deposit_set.indices
    assert given.equal(exploring.cut(lk.load_dataset(config), config, fraction).deposit_set.indices)


def test_the_image_s_number_waits_until_it_rests(panel, monkeypatch):
    finish(panel)
    open_tab(panel, "image")
    until(lambda: "Validation image" in panel.results.journey.image.alt)
    assert "A map has 4×4 positions" in panel.results.journey.said.value
    followed = []
    monkeypatch.setattr(results, "journey", lambda run, place: followed.append(place) or lk.journey(run, place))
    for number in (1, 2, 3, 4, 5):
        panel.results.journey.number.value = number
    assert not followed
    until(lambda: followed)
    until(lambda: f"image {followed[0]}, of class 0" in panel.results.journey.image.alt)
    assert followed == [(panel.runs[0].parts.validation.labels == 0).nonzero().flatten()[5]]


def test_a_click_on_a_point_chooses_its_image(panel, embedded, monkeypatch):
    panel.results.add(embedded, show=True)
    open_tab(panel, "t-SNE")
    story, image, part = panel.results.story, panel.results.journey, embedded.parts.validation
    panel.results.tsne.set_state({"picked": 77})  # as the page sends it; all images are shown, so a point is a place
    assert "validation image 77" in panel.message.value and "open the tab" in panel.message.value
    assert image.label.value == part.labels[77] and image.place(part) == 77
    open_tab(panel, "image")
    until(lambda: "Validation image 77," in image.image.alt)
    image.label.value = (image.label.value + 1) % 10
    until(lambda: "Validation image 77," not in image.image.alt)
    assert story.picked == image.place(part) != 77  # the ring follows
    monkeypatch.setattr(exploring, "MOST_POINTS", 50)  # from here on a point isn't a place
    shown = exploring.tsne_part(embedded.parts).indices
    story.set_state({"picked": 49})
    assert part.indices[image.place(part)] == shown[49]


def test_a_photograph_s_pixels_reach_the_networks_channel_by_channel():
    seen = []

    def answers(images):
        seen.append(images)
        return pandas.DataFrame({"original": [80.0, 20.0]}, index=["cat", "<dog>"])

    tab = tabs.YoursTab(Calls(pytest.fail), (3, 2, 2), answers)  # C, H, W
    assert "Drop an image" in tab.said.value and tab.pad.shape == [2, 2, 3] and not seen
    tab.pad.set_state({"pixels": memoryview(bytes(range(12)))})  # as the page sends it: row by row, R G B
    (image,) = seen
    assert image.dtype == torch.uint8 and image.tolist() == [
        [[[0, 3], [6, 9]], [[1, 4], [7, 10]], [[2, 5], [8, 11]]],
    ]
    assert "cat" in tab.said.value and "80 %" in tab.said.value and "&lt;dog&gt;: 20 %" in tab.said.value
    assert numpy.asarray(PIL.Image.open(io.BytesIO(tab.seen.png)))[0, 0].tolist() == [0, 1, 2]


def test_a_figure_is_drawn_when_it_is_looked_at_and_only_once(panel, run, monkeypatch):
    drawn = []
    draw = drawings.FIGURES["classes"]
    monkeypatch.setitem(drawings.FIGURES, "classes", lambda run: drawn.append(run) or draw(run))
    panel.results.add(run, show=True)
    assert not drawn
    for name in ("classes", "table", "classes"):
        open_tab(panel, name)
    assert drawn == [run] and "Bars" in panel.results.images["classes"].alt


def test_what_the_open_tab_shows_is_saved(panel):
    panel.save_button.click()
    assert "press Run" in panel.message.value
    finish(panel)
    open_tab(panel, "A | B")
    panel.save_button.click()
    assert "two runs must be pinned" in panel.message.value
    panel.results.pin("A")
    panel.results.pin("B")
    names = {"A | B": "runs-1-1-classes", "surface": "surface-target-H-Mean-over-lambda_at"}
    names["image"] = f"run-1-image-{panel.results.journey.place(panel.runs[0].parts.validation)}"
    for tab in names:
        open_tab(panel, tab)
        panel.save_button.click()
        assert "written" in panel.message.value
    endings = {name: {"png", "svg", "pdf"} | ({"csv"} if tab == "A | B" else set()) for tab, name in names.items()}
    wanted = {f"{name}.{ending}" for name in endings for ending in endings[name]}
    assert {file.name for file in panel.out.iterdir()} == wanted
    assert "differs" in pandas.read_csv(panel.out / "runs-1-1-classes.csv")
    open_tab(panel, "history")
    panel.save_button.click()
    assert "a tab with a figure must be open, not" in panel.message.value


@pytest.mark.parametrize("name", ["ipywidgets", "anywidget"])
def test_without_its_libraries_the_kit_works_and_the_explorer_says_how_to_install_them(without, name):
    without(name)
    alone = importlib.import_module("lirf_kit.widgets.explorer")
    with pytest.raises(lk.LirfError, match=f"needs {name}, .*python -m pip install ipywidgets anywidget"):
        alone.DepositExplorer()
