"""The small widgets without a browser: what they compute, what they draw, and how they take a turned knob."""

import base64
import html
import importlib
import io
import re
import subprocess
import sys

import numpy
import pytest
import torch
from PIL import Image

import lirf_kit as lk
from lirf_kit.widgets import small_drawings, small_views
from lirf_kit.widgets.drawings import png

TOY = torch.tensor([5.0, 3.0, 1.0, 2.0, 0.0])
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def places(tiny_parts):
    """Made-up embeddings of the validation part: three panels with points in different places."""
    draw = numpy.random.default_rng(0)
    return {name: draw.normal(size=(len(tiny_parts.validation), 2)) for name in ("original", "target", "recovered")}


@pytest.fixture(scope="module")
def trio(tiny_original, tiny_deposited):
    return {"original": tiny_original, "target": tiny_deposited[0], "recovered": lk.withdraw(*tiny_deposited)}


@pytest.fixture
def tracker(places, tiny_parts, trio):
    return lk.PointTracker(places, tiny_parts.validation, trio)


def pixels(png):
    """A PNG's pixels, (height, width, 3)."""
    return numpy.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


# what they compute


@pytest.mark.parametrize("chosen", [(0, 1, 2), (7,), (3, 8), tuple(range(1, 10))])
def test_what_is_counted_is_what_the_split_deposits(data, chosen):
    counts, parts = lk.part_counts(data, chosen), lk.split_by_class(data, chosen)
    pairs = {"train": ("deposit_set", "preservation_set")}
    pairs |= {name: (f"deposit_{name}", f"preservation_{name}") for name in ("validation", "test")}
    assert counts.T.to_dict("list") == {
        name: [len(getattr(parts, part)) for part in pair] for name, pair in pairs.items()
    }


def test_the_digits_counts_by_hand(data):
    # notebook 01 counts them: 105 + 108 + 105 of 1068, 3 · 19 of 189, 54 + 55 + 53 of 540
    assert lk.part_counts(data, (0, 1, 2)).to_numpy().tolist() == [[318, 750], [57, 132], [162, 378]]


@pytest.mark.parametrize("after", [1, 2])
def test_the_cut_s_table_is_what_a_deposit_starts_with(tiny_original, tiny_parts, tiny, after):
    images = tiny_parts.deposit_set.images
    table = lk.cut_table(tiny_original, images[:1], after, tiny.keep)
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(split_after=after))
    for state, wanted in (("learns", True), ("frozen", False)):
        counted = sum(weights.numel() for weights in target.parameters() if weights.requires_grad is wanted)
        assert table["parameters"][table["target"] == state].sum() == counted
    assert table["module"].sum() == lk.count_parameters(module)
    assert table.loc[f"stage {after}", "shape"] == tuple(target.lower(images[:1]).shape[1:])
    assert table.loc["classifier", "shape"] == (10,) and table.loc["pooling", "shape"] == (8,)
    assert (table["module"][table["target"] == "frozen"] == 0).all()


def test_the_cut_s_table_leaves_the_network_as_it_was(tiny_original, tiny_data):
    before = {name: tensor.clone() for name, tensor in tiny_original.state_dict().items()}
    tiny_original.train()
    lk.cut_table(tiny_original, tiny_data.images[:1], 1, 0.5)
    after = tiny_original.state_dict()
    assert tiny_original.training and list(after) == list(before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    tiny_original.eval()


def test_there_is_no_cut_after_a_stage_that_isn_t_there(tiny_original, tiny_data):
    with pytest.raises(lk.LirfError, match="split_after must be 1 or 2, not 3"):
        lk.cut_table(tiny_original, tiny_data.images[:1], 3, 0.5)


def test_the_softened_toy_by_hand():
    # g leaves (1, 2, 0): e, e², 1 of 11.107; ḡ leaves (5, 3), which is (2, 0): e², 1 of 8.389
    table = lk.softened(TOY, (0, 1), 1.0)
    assert table["g"].tolist() == pytest.approx([numpy.nan] * 2 + [0.245, 0.665, 0.090], abs=5e-4, nan_ok=True)
    assert table["ḡ"].tolist() == pytest.approx([0.881, 0.119] + [numpy.nan] * 3, abs=5e-4, nan_ok=True)
    assert table.sum().tolist() == pytest.approx([1, 1, 1])
    assert lk.softened(TOY, (0, 1), 2.0)["ḡ"][0] == pytest.approx(0.731, abs=5e-4)
    assert lk.softened(TOY, (3,), 1.0)["ḡ"].tolist() == pytest.approx([numpy.nan] * 3 + [1, numpy.nan], nan_ok=True)


def test_the_distillation_of_the_toy_by_hand():
    students = small_views.toy_students(TOY, (0, 1))
    # teacher (2, 0), student (0, 0): notebook 03 works out 0.328 and 0.444; the limit is half the variance of (5, 3)
    for temperature, wanted in ((1.0, 0.328), (2.0, 0.444), (1000.0, 0.5)):
        assert lk.distillations(students["knows nothing"], TOY, (0, 1), temperature)["ḡ"] == pytest.approx(
            wanted, abs=5e-4
        )
    forgot = lk.distillations(students["has forgotten"], TOY, (0, 1), 1.0)
    assert forgot["g"] == 0 and forgot["all"] > 1 and students["has forgotten"].tolist() == [-9, -9, 1, 2, 0]
    assert lk.distillations(students["is the original"], TOY, (0, 1), 4.0) == {"all": 0, "g": 0, "ḡ": 0}


def test_the_distillations_are_the_kit_s_losses():
    student, teacher = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).double()
    found, pair = lk.distillations(student, teacher, (1, 4), 3.0), (student[None], teacher[None])
    assert found["all"] == pytest.approx(float(lk.distilled_recovery_loss(*pair, 3.0)))
    assert found["g"] == pytest.approx(float(lk.preservation_loss(*pair, (1, 4), 3.0)))
    assert found["ḡ"] == pytest.approx(float(lk.partial_transfer_loss(*pair, (1, 4), 3.0)))


def test_a_point_s_table_by_hand(tiny_parts):
    part = tiny_parts.validation
    zeros, ones = ((part.labels == number).nonzero().flatten().tolist()[:3] for number in (0, 1))
    part = part.select(torch.tensor([*zeros, *ones]), part.deposit_classes)  # labels 0 0 0 1 1 1
    line = numpy.array([[0.0, 0], [1, 0], [9, 0], [2, 0], [3, 0], [10, 0]])
    shares = numpy.full((6, 10), 0.05)
    shares[0, 7] = 0.55
    table = lk.point_table({"panel": line}, part, {"panel": shares}, 0, neighbours=3)
    # beside the point at 0 stand those at 1, 2 and 3: a zero and two ones
    assert table.to_dict("index") == {"panel": {"answer": "7", "probability": pytest.approx(55), "neighbours": 1}}


# what they draw


def test_the_bars_are_as_high_as_the_softmax_and_the_lines_as_the_student_s():
    slider = lk.TemperatureSlider(TOY, temperature=2.0)
    panels = slider.panels.value.split("<section>")[1:]
    for panel, column, same in zip(panels, ("all", "g", "ḡ"), (1 / 5, 1 / 3, 1 / 2)):
        teacher = lk.softened(TOY, (0, 1), 2.0)[column].dropna()
        heights = [float(height) for height in re.findall(r"height: ([\d.]+)%", panel)]
        assert heights == pytest.approx(100 * teacher.to_numpy(), abs=0.05)
        lines = [float(line) for line in re.findall(r"<hr style=.bottom: ([\d.]+)%", panel)]
        assert lines == pytest.approx([100 * same] * len(teacher), abs=0.05)  # the student knows nothing
        assert [float(said) for said in re.findall(r">([\d.]+)</span>", panel)] == pytest.approx(teacher, abs=5e-4)
        assert panel.count("dropped") == 5 - len(teacher) and panel.count('"deposited"') == 2
        assert f"KD = {slider.terms[column]:.3f}" in panel


# the class picker


def test_a_click_changes_what_is_deposited(tiny_data):
    picker = lk.ClassPicker(tiny_data)
    assert picker.deposit_classes == (0, 1, 2)
    picker.buttons[2].value = False
    picker.buttons[8].value = True
    assert picker.deposit_classes == (0, 1, 8) and picker.buttons[8].description == "✓ 8"
    counts = lk.part_counts(tiny_data, (0, 1, 8))
    assert f"deposits {counts['deposited'].sum():,} of 1,797 images" in picker.message.value
    for number in counts.to_numpy().flatten():
        assert f"<td>{number:,}</td>" in picker.counts.value
    assert len(lk.split_by_class(tiny_data, picker.deposit_classes).deposit_set) == counts.loc["train", "deposited"]


def test_a_click_on_a_picture_turns_its_class(tiny_data):
    picker = lk.ClassPicker(tiny_data)
    picker.pictures[5].clicked = 1
    assert picker.deposit_classes == (0, 1, 2, 5)
    picker.pictures[5].clicked = 2
    assert picker.deposit_classes == (0, 1, 2)
    assert picker.pictures[5].alt == "a training image of class 5"


def test_no_class_and_all_classes_are_said_and_a_click_mends_it(tiny_data):
    picker = lk.ClassPicker(tiny_data, (4,))
    picker.buttons[4].value = False
    assert "must name at least one class, not none" in picker.message.value and 'role="alert"' in picker.message.value
    assert "–" in picker.counts.value and picker.deposit_classes == ()
    assert [set(bundle) >= {"text/plain"} for bundle, _ in picker._bundles()] == [True, True]  # a sentence, the panel
    for button in picker.buttons:
        button.value = True
    assert "not name all 10" in picker.message.value
    picker.buttons[0].value = False
    assert 'role="status"' in picker.message.value and "–" not in picker.counts.value
    with pytest.raises(lk.LirfError, match="class numbers from 0 to 9, not 12"):
        lk.ClassPicker(tiny_data, (12,))


# the two sliders of notebook 03


def test_the_cut_moves_with_its_slider(tiny_original, tiny_data, tiny):
    slider = lk.CutSlider(tiny_original, tiny_data.images, tiny)
    assert slider.slider.value == tiny.split_after == slider.slider.steps[-1][1]
    for after in (1, 2):
        slider.slider.value = after
        table = lk.cut_table(tiny_original, tiny_data.images[:1], after, tiny.keep)
        learns = table["parameters"][table["target"] == "learns"].sum()
        assert f"<b>{learns:,}</b> weights of the target learn" in slider.message.value
        assert f"the module has <b>{table['module'].sum():,}</b>" in slider.message.value
        assert slider.blocks.value.count('class="cut"') == 2  # in either row
        assert slider.blocks.value.count('class="frozen"') == (table["target"] == "frozen").sum()


def test_a_module_too_small_is_said_and_another_cut_mends_it(tiny_original, tiny_data, tiny):
    least = lk.cut_table(tiny_original, tiny_data.images[:1], 2, 0.3)["module"].sum()
    assert least
    slider = lk.CutSlider(tiny_original, tiny_data.images, tiny.replace(keep=0.3))
    slider.slider.value = 1
    assert "keep must leave each block a channel" in slider.message.value
    slider.slider.value = 2
    assert 'role="status"' in slider.message.value
    for wrong in (3, 0, "many", 1.5):
        slider.slider.value = wrong
        assert f"split_after must be 1 or 2, not {wrong!r}" in html.unescape(slider.message.value)


def test_the_temperature_and_the_student_change_the_losses():
    slider = lk.TemperatureSlider()
    assert "L_pt = 0.328 over ḡ" in slider.message.value
    slider.slider.value = 2.0
    assert "τ = 2" in slider.message.value and "L_pt = 0.444 over ḡ" in slider.message.value
    assert 'role="img"' in slider.panels.value and "L_pt = 0.444 over ḡ" in slider.panels.value
    slider.student.value = "has forgotten"
    assert "L_kp = 0.000 over g" in slider.message.value
    slider.buttons[1].value = False
    assert "L_pt = 0.000 over ḡ" in slider.message.value and slider.terms["ḡ"] == 0


def test_the_temperature_of_real_logits():
    slider = lk.TemperatureSlider(TOY.requires_grad_(), (4,), temperature=5.0, names="abcde")
    assert slider.slider.value == 5.0
    assert [button.description for button in slider.buttons] == ["a", "b", "c", "d", "✓ e"]
    slider.buttons[4].value = False
    assert "at least one class" in slider.message.value
    slider.buttons[0].value = True
    assert "τ = 5" in slider.message.value
    for wrong in ("many", 0, -1.0):
        slider.slider.value = wrong
        assert f"temperature must be a number above 0, not {wrong!r}" in html.unescape(slider.message.value)


# the point tracker


def click(tracker, place):
    tracker.maps.set_state({"picked": place})  # as the page sends it


def test_the_maps_have_the_embeddings_points(tracker, places):
    points = numpy.frombuffer(tracker.maps.tsne, numpy.float32).reshape(3, -1, 2)
    assert tracker.maps.names == list(places)
    for mine, name in zip(points, places):
        assert mine == pytest.approx(places[name], abs=1e-6)


def test_a_click_is_shown_once(tracker, monkeypatch, tiny_parts):
    shown, show = [], tracker.show
    monkeypatch.setattr(tracker, "show", lambda place: shown.append(place) or show(place))
    place = (
        (tiny_parts.validation.labels != tracker.choice.label.value).nonzero()[5].item()
    )  # another class, not its first
    click(tracker, place)
    assert shown == [place] and tracker.maps.picked == place


def test_a_click_rings_a_point_and_says_what_the_networks_answer(tracker, tiny_parts, trio):
    part, place = tiny_parts.validation, 25
    click(tracker, place)
    assert tracker.place == tracker.maps.picked == place
    label = int(part.labels[place])
    assert tracker.choice.label.value == label
    same = (part.labels == label).nonzero().flatten().tolist()
    assert same[tracker.choice.number.value] == place and len(tracker.choice.number.steps) == len(same)
    for name, network in trio.items():
        answer = lk.predict(network, part.images[place : place + 1]).argmax().item()
        assert f"{name} says {answer}" in tracker.message.value and tracker.table.loc[name, "answer"] == str(answer)
        assert f"{name} says {answer}" in tracker.maps.alt
    shown, image = pixels(tracker.image.png), part.images[place, 0].numpy()
    assert (shown[::15, ::15, 0] == image).all()


def test_class_and_number_ring_the_same_points_as_clicks(tracker, tiny_parts):
    tracker.choice.label.value = 6
    same = (tiny_parts.validation.labels == 6).nonzero().flatten().tolist()
    assert tracker.place == same[0] and tracker.choice.number.value == 0
    tracker.choice.number.value = 3
    assert tracker.place == tracker.maps.picked == same[3] and "image 3 of class 6" in tracker.message.value


def test_an_unexpected_error_is_shown_with_its_traceback(tracker, monkeypatch):
    def broken(*_):
        raise RuntimeError("<boom>")

    monkeypatch.setattr(tracker, "show", broken)
    tracker.choice.label.value = 3
    assert "RuntimeError: &lt;boom&gt;" in tracker.message.value and "Traceback" in tracker.message.value


def test_embeddings_of_other_networks_or_images_are_refused(places, tiny_parts, trio):
    with pytest.raises(lk.LirfError, match="'target' doesn't fit"):
        lk.PointTracker(places, tiny_parts.validation, {"original": trio["original"]})
    with pytest.raises(lk.LirfError, match="'original' doesn't fit"):
        lk.PointTracker(places, tiny_parts.deposit_set, trio)
    with pytest.raises(lk.LirfError, match="place must be from 0 to"):
        lk.PointTracker(places, tiny_parts.validation, trio, place=len(tiny_parts.validation))


# with and without a front end


def test_each_widget_is_a_panel_and_where_it_can_t_be_a_text(tracker, tiny_data, tiny_original, tiny, monkeypatch):
    made = [
        lk.ClassPicker(tiny_data),
        lk.CutSlider(tiny_original, tiny_data.images, tiny),
        lk.TemperatureSlider(),
        tracker,
    ]
    for widget in made:
        (said, _), (table, _), (live, _) = widget._bundles()
        assert VIEW in live and "run this cell in JupyterLab" in said["text/plain"]
        for still in (said, table):
            assert VIEW not in still and 'class="lirf-asleep"' in still["text/html"]  # which the live panel hides
        assert "<table" in table["text/html"] and str(widget.table.index[0]) in table["text/plain"]
    monkeypatch.setattr(tracker, "_still", lambda static: ("a text", None, None))
    assert [set(bundle) for bundle, _ in tracker._bundles()[:-1]] == [{"text/plain", "text/html"}]


def test_where_nothing_can_be_turned_some_settings_are_recorded(
    tracker, tiny_data, tiny_original, tiny, tiny_parts, monkeypatch
):
    monkeypatch.setenv("LIRF_KIT_STATIC", "1")
    part, place = tiny_parts.validation, tracker.place
    assert place == 0 and int(part.labels[0]) not in (0, 1, 2)
    images = [part.class_names[int(part.labels[at])] for at in tracker._settings()]
    wanted = {  # what is recorded, and which of it is seen where pictures don't move: the table's
        lk.ClassPicker(tiny_data, (3, 8)): (["3;", "3 8", "0 1 2 3 4;", "0 1 2 3 4 5 6 7 8"], (3, 8)),
        lk.CutSlider(tiny_original, tiny_data.images, tiny): (["stage 1", "stage 2"], tiny.split_after),
        lk.TemperatureSlider(temperature=3.0): (["0.5,", "1,", "2,", "3,", "4,", "16,"], 3.0),
        tracker: ([f"class {name}" for name in images], place),
    }
    assert len({*images} & {"0", "1", "2"}) == 1 and len({*images}) >= 3
    for widget, (settings, now) in wanted.items():
        (said, _), (picture, about), (table, _) = widget._bundles()
        alt = about["image/png"]["alt"]
        assert all(setting in alt for setting in settings) and alt.count("; ") == len(settings) - 1
        content = base64.b64decode(picture["image/png"])
        with Image.open(io.BytesIO(content)) as moving:
            apart = now != sorted(widget._settings())[0]  # then what is seen first comes before the recording
            assert moving.n_frames == len(settings) + apart and len(content) < 120_000
            first, shown = numpy.asarray(moving.convert("RGB")).astype(int), pixels(png(widget._recorded(now)))
            assert first.shape == shown.shape and abs(first - shown).mean() < 3
            for at in range(apart, moving.n_frames):
                moving.seek(at)
                assert moving.info["duration"] == 2000
    assert "run this cell" in said["text/plain"] and "<table" in table["text/html"]


def test_a_setting_that_is_not_allowed_is_not_recorded(tiny_original, tiny_data, tiny):
    slider = lk.CutSlider(tiny_original, tiny_data.images, tiny.replace(keep=0.3))
    _, _, (content, alt) = slider._still(True)
    assert "stage 2" in alt and "stage 1" not in alt
    slider.slider.value = 1
    assert slider._still(True)[1:] == (None, None)


def widths(axes):
    return [bar.get_width() for bar in axes.patches]


def test_the_recorded_frames_draw_what_the_widgets_compute(tiny_data, tiny_original, tiny, tracker):
    counts = lk.part_counts(tiny_data, (3, 8))
    drawn = small_drawings.plot_counts(tiny_data, (3, 8))
    assert widths(drawn.axes[-1]) == [*counts["deposited"], *counts["preserved"]]
    assert [axes.xaxis.label.get_weight() for axes in drawn.axes[:-1]].count("bold") == 2
    table = lk.cut_table(tiny_original, tiny_data.images[:1], 1, tiny.keep)
    (axes,) = small_drawings.plot_cut(tiny_original, tiny_data.images[:1], 1, tiny.keep).axes
    assert widths(axes) == table[["parameters", "module"]].to_numpy().flatten().tolist()
    assert axes.lines[0].get_ydata()[0] == (table["target"] == "learns").sum() - 0.5  # the cut
    toy = TOY.detach()
    shares = lk.softened(toy, (0, 1), 2.0)
    drawn = small_drawings.plot_softened(toy, (0, 1), 2.0, "abcde", "knows nothing")
    for axes, column in zip(drawn.axes, ("all", "g", "ḡ")):
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(shares[column].dropna().tolist())
    assert "KD = 0.444" in drawn.axes[2].get_title()
    drawn = tracker._recorded(25)
    rows = lk.point_table(tracker._embeddings, tracker._part, tracker._probabilities, 25)
    for axes, points, (name, row) in zip(drawn.axes, tracker._embeddings.values(), rows.iterrows()):
        assert axes.collections[-1].get_offsets().tolist() == [points[25].tolist()] and name in axes.get_title()
        assert f"says {row.answer}, {row.probability:.0f} %" in axes.get_xlabel()
        assert f"{row.neighbours} of 10" in axes.get_xlabel()


def test_the_package_is_imported_without_ipywidgets():
    asked = "import sys, lirf_kit; print({'ipywidgets', 'anywidget'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() == "set()", said.stderr


@pytest.mark.parametrize("name", ["ipywidgets", "anywidget"])
def test_without_its_libraries_a_widget_says_how_to_install_them(without, name, tiny_data):
    without(name)
    alone = importlib.import_module("lirf_kit.widgets.small")
    makers = [lambda: alone.ClassPicker(tiny_data), alone.TemperatureSlider]
    makers += [lambda: alone.CutSlider(None, None, None), lambda: alone.PointTracker({}, None, {})]
    for make in makers:
        with pytest.raises(lk.LirfError, match=f"needs {name}, .*python -m pip install ipywidgets anywidget"):
            make()
