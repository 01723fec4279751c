"""A last batch of a single image, where feature maps are 1×1: BatchNorm has a single number to take statistics of."""

import warnings

import pytest
import torch

import lirf_kit as lk


@pytest.fixture(scope="module")
def four_stages(tiny):
    """The last feature maps of 8×8 images are 1×1."""
    return tiny.replace(widths=(4, 4, 4, 4), split_after=4, epochs=1, deposit_epochs=1)


@pytest.fixture(scope="module")
def trained(tiny_data, four_stages):
    return lk.train_original(tiny_data, four_stages)


def refused(knob, count):
    sentence = f"^{knob} must not leave a last batch of a single image where feature maps are 1×1: {count} images in"
    return pytest.raises(lk.LirfError, match=sentence)


def test_training_names_the_knob_and_with_another_size_or_larger_maps_it_works(faults, tiny_data, four_stages, tiny):
    count = len(tiny_data.train)
    with faults.fault("training"), refused("batch_size", count):
        lk.train_original(tiny_data, four_stages.replace(batch_size=count - 1))
    for config in (four_stages.replace(batch_size=count - 2), tiny.replace(batch_size=count - 1, epochs=1)):
        assert lk.train_original(tiny_data, config).history[0]["loss"] > 0


def test_a_deposit_that_updates_statistics_names_the_knob(faults, trained, tiny_parts, four_stages):
    deposit_set = tiny_parts.deposit_set.select(slice(0, 65), (0, 1, 2))
    turned = four_stages.replace(deposit_batch_size=64, batch_statistics="updated")
    with faults.fault("deposit"), refused("deposit_batch_size", 65):
        lk.deposit(trained, deposit_set, turned)
    lk.deposit(trained, deposit_set, turned.replace(deposit_batch_size=63))


def test_a_deposit_with_every_term_takes_the_single_image(faults, trained, tiny_parts, four_stages):
    deposit_set = tiny_parts.deposit_set.select(slice(0, 65), (0, 1, 2))
    turned = four_stages.replace(deposit_batch_size=64, lambda_os=2.0, lambda_cs=0.5, mixtures=True)
    with faults.fault("all terms"):
        target, module = lk.deposit(trained, deposit_set, turned)
        assert (
            target.history[0]["own_statistics"] > 0 and lk.withdraw(target, module)(deposit_set.images).isfinite().all()
        )


def test_students_name_the_knob_before_any_of_them_is_trained(faults, trained, tiny_parts, four_stages, monkeypatch):
    count = len(tiny_parts.deposit_set)
    monkeypatch.setattr("lirf_kit.evidence.distillation.train_student", None)
    turned = four_stages.replace(batch_size=count - 1)
    with faults.fault("students"), refused("batch_size", count):
        lk.distillation_table({"original": trained}, tiny_parts, turned, transfer="deposit classes")


def test_new_statistics_leave_a_last_single_image_out_and_need_two(faults, trained, tiny_parts, same_weights):
    images = tiny_parts.preservation_set.images[:257]
    with faults.fault("257 images"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same_weights(lk.recalibrated(trained, images), lk.recalibrated(trained, images[:256]))
    with faults.fault("one image"), pytest.raises(lk.LirfError, match="^images must be at least two, not 1"):
        lk.recalibrated(trained, images[:1])


def test_an_attacker_who_trains_further_takes_more_than_one_image(faults, trained, tiny_parts, four_stages):
    with faults.fault("one image"):
        one = tiny_parts.preservation_set.select(torch.tensor([0]))
        assert lk.train_on(trained, one, four_stages, steps=2) is not None
