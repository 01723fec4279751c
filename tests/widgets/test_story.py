"""A deposit's story without a browser, a run's file, and the turns that a panel's threads take."""

import json
import threading
import time

import numpy
import pytest

import lirf_kit as lk
from lirf_kit.widgets import exploring
from lirf_kit.widgets.jobs import Calls
from lirf_kit.widgets.story import FRAMES, Story, watch


def watched(original, data, config, fraction=None):
    """Return a run whose story was told, and what was told."""
    parts, told = exploring.cut(data, config, fraction), []
    home = exploring.embed_original(original, parts, config)
    story = Story(original, exploring.tsne_part(parts), parts.deposit_set, config, home)
    run = lk.explore(original, data, config, fraction, look=watch(story, lambda *step: told.append(step)))
    run.story = story
    return run, told


@pytest.fixture(scope="module")
def run(tiny_original, tiny_data, tiny):
    return watched(tiny_original, tiny_data, tiny)[0]


def test_a_story_begins_with_the_original_and_ends_with_the_table(run):
    first, last = run.story.frames[0], run.story.frames[-1]
    assert first["target"] == run.story.scene["original"] and first["epoch"] == 0
    assert last["epoch"] == run.config.deposit_epochs
    for name in ("target", "recovered"):
        assert last[name]["bars"] == pytest.approx(run.table.loc[name, ["Pre Acc", "Dep Acc"]].tolist(), abs=0.01)
    assert run.story.scene["original"]["bars"] == pytest.approx(
        run.table.loc["original", ["Pre Acc", "Dep Acc"]].tolist(), abs=0.01
    )


def test_the_answers_are_what_the_networks_say_to_three_deposited_and_three_preserved_images(run):
    samples, validation = run.story.scene["samples"], run.parts.validation
    assert [sample["deposited"] for sample in samples] == [True] * 3 + [False] * 3
    assert len({sample["label"] for sample in samples}) == 6 and {sample["label"] for sample in samples[:3]} == {
        0,
        1,
        2,
    }
    for name in ("target", "recovered"):
        answers = lk.answers(run.networks[name], validation).tolist()
        told = run.story.frames[-1][name]["answers"]
        for sample, (pixels, label), answer in zip(samples, run.story.samples, told):
            places = [at for at, image in enumerate(validation.images) if (image[0].numpy() == pixels).all()]
            assert label == sample["label"] and answer in [answers[at] for at in places]


def test_on_the_first_frame_s_map_every_image_is_where_t_sne_put_it_and_moves_from_there(run):
    story = run.story
    assert story.places[0].shape == (2, len(run.parts.validation), 2) and story.places[0].dtype == numpy.float32
    assert story.places[0][0] == pytest.approx(story.home, abs=1e-3)  # the target's; the module is pruned already
    assert abs(story.places[-1][0] - story.home).max() > 1


def test_neighbours_say_where_an_image_belongs(run):
    story, points = run.story, len(run.story.home)
    swapped = story._known.clone()
    swapped[0] = story._known[5] + 1e-4  # image 0 now looks like image 5
    place = story._among_neighbours(swapped, swapped)[0, 0]
    assert place == pytest.approx(story.home[5], abs=0.5) and points > 10


@pytest.mark.parametrize("container", ["pruned", "difference"])
def test_looking_changes_nothing(tiny_original, tiny_data, tiny, container, same_weights):
    config = tiny.replace(container=container)
    seen, told = watched(tiny_original, tiny_data, config)
    alone = lk.explore(tiny_original, tiny_data, config)
    for name in ("target", "recovered"):
        assert same_weights(seen.networks[name], alone.networks[name])
    assert seen.history == alone.history and seen.metrics == alone.metrics
    done, total = told[-1][:2]
    assert told[0][0] == 0 and done == total and len(told) == len(seen.story.frames) <= FRAMES + 2


def test_the_story_of_deposited_samples_counts_their_answers(tiny_original, tiny_data, tiny):
    run, _ = watched(tiny_original, tiny_data, tiny, 0.2)
    samples = run.story.scene["samples"]
    assert [sample["deposited"] for sample in samples] == [True] * 3 + [False] * 3
    few = run.parts.deposit_set.select(numpy.s_[:300])
    assert run.story.frames[-1]["target"]["bars"][1] == pytest.approx(
        lk.accuracy(run.networks["target"], few), abs=0.01
    )
    assert run.story.scene["count"] == len(run.story.home) == len(run.parts.validation)
    sure = lk.predict(tiny_original, few.images).softmax(1).amax(1).sort().values[:3]  # forgotten first
    assert run.story.scene["original"]["sure"][:3] == [round(100 * share) for share in sure.tolist()]
    assert run.story.scene["bars"] == ["unseen images", "deposited samples"] and run.story.scene["parts"][0] == "unseen"


def test_a_run_s_file_has_its_settings_and_what_is_no_such_file_is_refused(run, tiny):
    content = exploring.run_as_file(run).encode()
    assert exploring.settings_from_file(content, tiny) == (run.config, None, run.metrics)
    assert json.loads(content)["numbers"] == run.metrics
    other = json.loads(content)
    for wrong in (b"no JSON", b"[1]", b"{}", json.dumps(other | {"numbers": {"target: Pre Acc": "<b>"}}).encode()):
        with pytest.raises(lk.LirfError, match="must be a run that the explorer saved"):
            exploring.settings_from_file(wrong, tiny)
    other["config"]["widths"] = [4, 8, 16]
    with pytest.raises(lk.LirfError, match="the run's widths must be this panel's"):
        exploring.settings_from_file(json.dumps(other).encode(), tiny)
    other["config"]["lambda_kp"] = -1
    with pytest.raises(lk.LirfError, match="lambda_kp must be a number at least 0"):
        exploring.settings_from_file(json.dumps(other).encode(), tiny)


def test_a_probability_is_the_softmax_in_percent(run):
    image = run.parts.validation.images[3:4]
    table = exploring.probabilities(run, image)
    own = 100 * lk.predict(run.networks["recovered"], image).softmax(1)[0].numpy()
    assert table["recovered"].to_numpy() == pytest.approx(own, abs=1e-3) and list(table.index) == list(
        run.parts.validation.class_names
    )


def test_calls_from_many_threads_come_one_at_a_time():
    first, second, inside, most = Calls(pytest.fail), Calls(pytest.fail), [], []

    def busy():
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        inside.pop()

    threads = [threading.Thread(target=calls.safe(busy)) for calls in (first, second) * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 16 and max(most) == 1


def test_a_change_that_rests_is_dropped_if_it_is_cancelled_while_it_waits_for_its_turn():
    calls, called, gate = Calls(pytest.fail), [], threading.Event()
    holding = threading.Thread(target=calls.post, args=(lambda: gate.wait(10),))
    holding.start()
    calls.rested("run", lambda: called.append(1))
    time.sleep(0.6)  # the timer has fired, and waits
    calls.cancel("run")
    gate.set()
    holding.join()
    time.sleep(0.1)
    assert not called
