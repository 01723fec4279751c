import numpy
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits

import lirf_kit as lk


@pytest.fixture
def noise():
    """600 RGB images of random pixels: no two crops of one look alike."""
    return torch.randint(1, 256, (600, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def shifts_of(image, crop, padding):
    """Every (down, right) at which the crop lies in the image padded with zeros, found by looking everywhere."""
    padded = numpy.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)))
    height, width = image.shape[1:]
    places = [(down, right) for down in range(2 * padding + 1) for right in range(2 * padding + 1)]
    window = [padded[:, down : down + height, right : right + width] for down, right in places]
    return [place for place, cut in zip(places, window) if numpy.array_equal(cut, crop.numpy())]


def test_the_digits_are_the_library_s_spread_over_0_to_255(data):
    grey = load_digits().images
    assert data.images.shape == (1797, 1, 8, 8) and data.images.dtype == torch.uint8
    # 16 steps of grey: 16 becomes 255, and 4 becomes 4/16 · 255 = 63.75, so 64
    assert set(data.images[:, 0][grey == 16].tolist()) == {255}
    assert set(data.images[:, 0][grey == 4].tolist()) == {64}
    assert set(data.images[:, 0][grey == 0].tolist()) == {0}
    assert data.labels.tolist() == load_digits().target.tolist()
    assert data.class_names == tuple("0123456789")


def test_the_parts_are_disjoint_and_complete(data):
    parts = [data.train_indices, data.validation_indices, data.test_indices]
    assert torch.cat(parts).sort().values.tolist() == list(range(1797))


def test_every_class_has_the_same_share_of_each_part(data):
    for part in (data.train, data.validation, data.test):
        expected = torch.bincount(data.labels) * len(part) / len(data.labels)
        assert (torch.bincount(part.labels) - expected).abs().max() <= 1  # as near as whole images can be


def test_the_test_part_is_30_percent_and_the_same_whatever_the_seed(config, data):
    assert len(data.test) == 540  # 0.3 · 1797 = 539.1, rounded up
    for seed in (1, 2):
        assert torch.equal(lk.load_dataset(config.replace(seed=seed)).test_indices, data.test_indices)


def test_the_validation_part_follows_the_seed(config, data):
    again, other = lk.load_dataset(config), lk.load_dataset(config.replace(seed=1))
    assert torch.equal(again.validation_indices, data.validation_indices)
    common = set(other.validation_indices.tolist()) & set(data.validation_indices.tolist())
    assert len(common) < 0.5 * len(data.validation)  # two draws of 15 % share about 15 % of theirs


def test_a_part_knows_where_its_images_stand(data):
    assert torch.equal(data.images[data.test.indices], data.test.images)
    assert torch.equal(data.labels[data.test.indices], data.test.labels)


def test_a_fraction_that_leaves_a_class_without_an_image_is_refused(config):
    with pytest.raises(lk.LirfError, match="every part needs an image of each class"):
        lk.load_dataset(config.replace(test_fraction=0.001))


@pytest.mark.parametrize("padding", [1, 2])
def test_every_crop_is_a_shifted_copy_of_the_padded_image(noise, generator, padding):
    crops = lk.augment(noise, generator, padding)
    shifts = [shifts_of(image, crop, padding) for image, crop in zip(noise, crops)]
    assert all(len(found) == 1 for found in shifts)  # all channels by the same shift
    counts = numpy.zeros((2 * padding + 1, 2 * padding + 1))
    for ((down, right),) in shifts:
        counts[down, right] += 1
    assert stats.chisquare(counts.flatten()).pvalue > 0.001  # down and right are drawn apart, uniformly


def test_a_flip_only_mirrors_and_half_of_the_images(noise, generator):
    flipped = lk.augment(noise, generator, flip=True)
    mirrored = (flipped == noise.flip(3)).flatten(1).all(1)
    same = (flipped == noise).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 250 < mirrored.sum() < 350  # 300 ± 4 standard deviations of √(600 / 4) = 12.2


def test_without_padding_and_flip_images_stay_as_they_are(noise, generator):
    assert torch.equal(lk.augment(noise, generator), noise)


def test_the_same_generator_seed_augments_alike(noise):
    first, again, other = (
        lk.augment(noise, torch.Generator().manual_seed(seed), crop_padding=2, flip=True) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_batches_cover_each_sample_once_with_its_own_label(generator):
    count = 23
    images = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)  # the pixel is the sample's number
    labels = torch.arange(count) * 7 % 5
    data = lk.ImageData(images, labels, torch.arange(count), tuple("abcde"))
    drawn = list(lk.batches(data, 5, generator))
    assert [len(batch) for _, batch in drawn] == [5, 5, 5, 5, 3]
    numbers = torch.cat([batch.flatten() for batch, _ in drawn]).long()
    assert sorted(numbers.tolist()) == list(range(count)) != numbers.tolist()
    assert torch.equal(torch.cat([batch for _, batch in drawn]), numbers * 7 % 5)


def test_batches_come_in_another_order_each_time(tiny_data, generator):
    first, second = (torch.cat([labels for _, labels in lk.batches(tiny_data.train, 64, generator)]) for _ in range(2))
    assert not torch.equal(first, second)


def test_mixtures_are_new_images_made_of_those_given(generator):
    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    images[:3, :, 2:6, 2:6], images[3:, :, 2:6, 2:6] = 100, 200
    mixed = lk.mix(images, generator)
    assert mixed.shape == images.shape and mixed.dtype == torch.uint8
    assert mixed.max() <= 200 and not any(torch.equal(one, other) for one in mixed for other in images)
    assert torch.equal(mixed, lk.mix(images, torch.Generator().manual_seed(0)))
    assert not lk.mix(torch.zeros_like(images), generator).any()
