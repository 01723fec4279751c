import math

import numpy
import pytest
import torch

import lirf_kit as lk
from lirf_kit.method import training
from lirf_kit.method.training import one_cycle


def test_the_original_learns_the_digits(original, data):
    assert lk.accuracy(original, data.validation) > 97
    assert not original.training


def test_the_history_has_an_entry_for_every_epoch(original, data, config):
    history = original.history
    assert [entry["epoch"] for entry in history] == list(range(1, config.epochs + 1))
    assert history[-1]["loss"] < history[0]["loss"]
    # before anything is learnt the cross-entropy over ten classes is about ln 10 = 2.3
    assert 1 < history[0]["loss"] < math.log(10) + 1
    assert history[-1]["validation_accuracy"] == lk.accuracy(original, data.validation)
    for entry in history:  # the seconds are of training and validation, the speed of training alone
        assert entry["images_per_second"] > len(data.train) / entry["seconds"] > 0
        assert entry["peak_memory"] > 0
    assert original.checkpoint is None


def test_training_counts_the_peak_of_memory_from_its_beginning(tiny_data, tiny, monkeypatch):
    from lirf_kit.method import training

    reset = []
    monkeypatch.setattr(training, "reset_peak_memory", reset.append)
    lk.train_original(tiny_data, tiny.replace(epochs=2))
    assert reset == [torch.device("cpu")]


def test_streamed_batches_fetch_the_order_once_an_epoch(tiny_data, monkeypatch):
    move, moved = torch.Tensor.to, []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where: moved.append(len(tensor)) or move(tensor, *where))
    found = list(lk.batches(tiny_data.train, 64, torch.Generator().manual_seed(0)))
    assert moved == [len(tiny_data.train)]
    order = torch.randperm(len(tiny_data.train), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([images for images, _ in found]), tiny_data.train.images[order])
    assert torch.equal(torch.cat([labels for _, labels in found]), tiny_data.train.labels[order])


def test_training_follows_the_seed_and_no_global_generator(tiny_data, tiny, tiny_original, same_weights):
    torch.manual_seed(99)
    numpy.random.seed(99)
    before = torch.get_rng_state()
    assert same_weights(lk.train_original(tiny_data, tiny), tiny_original)
    assert torch.equal(torch.get_rng_state(), before)
    assert not same_weights(lk.train_original(tiny_data, tiny.replace(seed=1)), tiny_original)


def test_only_the_training_part_is_trained_on(tiny_data, tiny, tiny_original, same_weights):
    outside = torch.cat([tiny_data.validation_indices, tiny_data.test_indices])
    images = tiny_data.images.clone()
    images[outside] = 255 - images[outside]
    everything = lk.ImageData(images, tiny_data.labels, tiny_data.everything.indices, tiny_data.class_names)
    spoilt = lk.Dataset(everything, tiny_data.train_indices, tiny_data.validation_indices, tiny_data.test_indices)
    assert same_weights(lk.train_original(spoilt, tiny), tiny_original)


def test_digits_are_never_mirrored(tiny_data, tiny, monkeypatch):
    def mirror(*_):
        raise AssertionError("mirrored")

    monkeypatch.setattr(torch.Tensor, "flip", mirror)
    lk.train_original(tiny_data, tiny.replace(epochs=1))
    with pytest.raises(AssertionError, match="mirrored"):
        lk.train_original(tiny_data, tiny.replace(epochs=1, flip=True))


def test_a_training_that_diverges_names_the_knob(tiny_data, tiny):
    with pytest.raises(lk.LirfError, match="stopped being finite in epoch 1: lower learning_rate, now 1000000000000.0"):
        lk.train_original(tiny_data, tiny.replace(learning_rate=1e12, batch_size=64, epochs=3))


# interrupted


@pytest.fixture
def long(tiny):
    """Augmented, so that the generator's state counts."""
    return tiny.replace(epochs=4, crop_padding=1, flip=True)


def without_speed(history):
    return [{key: entry[key] for key in ("epoch", "loss", "validation_accuracy")} for entry in history]


def test_an_interrupted_training_returns_the_last_finished_epoch(tiny_data, long, interrupt_at, same_weights):
    interrupt_at(3)
    with pytest.warns(UserWarning, match="^interrupted: this is the network of epoch 2 of 4$"):
        network = lk.train_original(tiny_data, long)
    assert [entry["epoch"] for entry in network.history] == [1, 2] and not network.training
    assert lk.accuracy(network, tiny_data.validation) == network.history[-1]["validation_accuracy"]
    resumed = lk.train_original(tiny_data, long, resume=network.checkpoint)
    whole = lk.train_original(tiny_data, long)
    assert same_weights(resumed, whole) and without_speed(resumed.history) == without_speed(whole.history)
    assert len(network.history) == 2  # what was returned first is as it was


def test_an_interrupt_before_the_first_epoch_is_finished_comes_through(tiny_data, long, interrupt_at, own_home):
    interrupt_at(1)
    with pytest.raises(KeyboardInterrupt):
        lk.load_or_train(tiny_data, long)
    assert not own_home.exists() or not list(own_home.iterdir())


@pytest.mark.filterwarnings("ignore:interrupted")
def test_an_interrupted_original_is_resumed_and_ends_as_if_it_had_not_been(
    tiny_data, long, interrupt_at, same_weights, own_home
):
    whole = lk.train_original(tiny_data, long)
    interrupt_at(2, 3, 5)  # in the 2nd epoch; at once on going on; and in the 4th (2 + 1 more calls)
    epochs = []
    for _ in range(3):
        network = lk.load_or_train(tiny_data, long)
        epochs.append(len(network.history))
        assert [path.name.split("-")[0] for path in own_home.iterdir()] == ["unfinished"]
    assert epochs == [1, 1, 2]
    network = lk.load_or_train(tiny_data, long)
    assert [path.name.split("-")[0] for path in own_home.iterdir()] == ["original"]
    for finished in (network, lk.load_or_train(tiny_data, long)):
        assert same_weights(finished, whole) and finished.checkpoint is None
        assert without_speed(finished.history) == without_speed(whole.history)


def test_a_training_that_is_killed_goes_on_from_its_last_finished_epoch(
    tiny_data, long, monkeypatch, same_weights, own_home
):
    class Killed(BaseException):
        """Nothing of the kit catches it, as nothing catches SIGKILL."""

    def killed(*arguments, accuracy=training.accuracy):
        calls.append(None)
        if len(calls) in (3, 5):  # in the third epoch; and on going on with it, in the fourth
            raise Killed
        return accuracy(*arguments)

    whole, calls = lk.train_original(tiny_data, long), []
    monkeypatch.setattr(training, "KEEP_EVERY", 0.0)
    monkeypatch.setattr(training, "accuracy", killed)
    for _ in range(2):
        with pytest.raises(Killed):
            lk.load_or_train(tiny_data, long)
        assert [path.name.split("-")[0] for path in own_home.iterdir()] == ["unfinished"]
    network = lk.load_or_train(tiny_data, long)
    assert len(calls) == 4 + 2  # four epochs, of which two were begun twice
    assert same_weights(network, whole) and without_speed(network.history) == without_speed(whole.history)
    assert [path.name.split("-")[0] for path in own_home.iterdir()] == ["original"]


def test_a_training_is_kept_at_most_once_in_ten_seconds(tiny_data, long, monkeypatch):
    seconds, kept = iter([0.0, 6.0, 11.0, 11.0, 20.9, 21.0, 21.0]), []
    monkeypatch.setattr(training.time, "monotonic", lambda: next(seconds))
    lk.train_original(tiny_data, long, keep=lambda checkpoint: kept.append(len(checkpoint["plain"]["history"])))
    assert kept == [2, 4]


def test_a_training_begun_on_a_gpu_goes_on_on_a_cpu_and_says_so(tiny_data, long, interrupt_at):
    interrupt_at(3)
    with pytest.warns(UserWarning, match="interrupted"):
        checkpoint = lk.train_original(tiny_data, long).checkpoint
    checkpoint["plain"]["device"] = "cuda"
    checkpoint["tensors"]["generator"] = torch.zeros(16, dtype=torch.uint8)  # as long as CUDA's
    with pytest.warns(UserWarning, match="^this training was begun on cuda and goes on on cpu: .*last digit$"):
        network = lk.train_original(tiny_data, long, resume=checkpoint)
    assert [entry["epoch"] for entry in network.history] == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:interrupted")
def test_another_config_does_not_go_on_from_an_interrupted_original(tiny_data, long, interrupt_at, same_weights):
    interrupt_at(3)
    lk.load_or_train(tiny_data, long)
    other = long.replace(learning_rate=0.05)
    assert same_weights(lk.load_or_train(tiny_data, other), lk.train_original(tiny_data, other))


@pytest.mark.filterwarnings("ignore:interrupted")
def test_a_damaged_interrupted_original_is_trained_from_the_start(
    tiny_data, long, interrupt_at, same_weights, own_home
):
    interrupt_at(3)
    lk.load_or_train(tiny_data, long)
    (unfinished,) = own_home.iterdir()
    (unfinished / "weights.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="unfinished-.* can't be used and is made again"):
        network = lk.load_or_train(tiny_data, long)
    assert same_weights(network, lk.train_original(tiny_data, long)) and len(network.history) == 4


def test_a_loaded_original_deposits_to_the_last_digit_as_a_trained_one(tiny_data, tiny_parts, tiny, same_weights):
    trained, loaded = (lk.load_or_train(tiny_data, tiny) for _ in range(2))
    deposits = [lk.deposit(network, tiny_parts.deposit_set, tiny) for network in (trained, loaded)]
    assert same_weights(deposits[0][0], deposits[1][0]) and same_weights(deposits[0][1], deposits[1][1])


@pytest.mark.filterwarnings("ignore:interrupted")
def test_an_interrupt_ends_the_runs_over_seeds_without_a_half_trained_row(tiny, interrupt_at):
    interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        lk.results_over_seeds(tiny, seeds=1, deposit_sets=1)


@pytest.mark.parametrize("steps", range(1, 9))
def test_the_schedule_takes_any_number_of_steps(steps):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser, schedule = one_cycle([weight], 0.1, steps, 0.9, 0.0)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert all(0 < rate <= 0.1 for rate in rates)
