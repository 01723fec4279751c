import math

import numpy
import pytest
import torch

import lirf_kit as lk


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
