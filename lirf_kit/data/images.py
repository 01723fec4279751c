"""Images as one uint8 tensor on the device, where they are shuffled, cropped and flipped a whole batch at a time.

No Python runs per image: all random crops and flips of a batch are one gather from the padded batch. The pixels stay
uint8 until a network normalises them (see `networks`).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy
import torch
from sklearn.model_selection import train_test_split
from torch.nn import functional

from lirf_kit.config import LirfError
from lirf_kit.data.sources import SOURCES
from lirf_kit.devices import memory_advice, place_images, resolve_device

TEST_SPLIT_SEED = 0  # the test part is the same for every seed


@dataclass(frozen=True)
class ImageData:
    """Images with their labels.

    Attributes
    ----------
    images : torch.Tensor
        uint8, (N, C, H, W); on the device, or on the host if the device is too small for them.
    labels : torch.Tensor
        int64, (N,), class numbers; on the device.
    indices : torch.Tensor
        int64, (N,), the position of each image in the whole data set.
    class_names : tuple of str
        The names of all classes of the data set, by number.
    deposit_classes : tuple of int, optional
        The classes whose knowledge is deposited, if the data was split by class; otherwise None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    class_names: tuple[str, ...]
    deposit_classes: tuple[int, ...] | None = None

    def __len__(self):
        return len(self.labels)

    def __repr__(self):
        shape = "×".join(str(side) for side in self.images.shape[1:])
        deposited = f", deposit classes {self.deposit_classes}" if self.deposit_classes else ""
        return f"<{len(self)} images of {shape}, {self.num_classes} classes{deposited}>"

    @property
    def num_classes(self):
        """The number of classes of the whole data set, which may be more than occur here."""
        return len(self.class_names)

    def select(self, chosen, deposit_classes=None):
        """Return the chosen images (a boolean mask or positions) as an `ImageData` of their own."""
        there = chosen.to(self.images.device) if isinstance(chosen, torch.Tensor) else chosen
        return ImageData(
            self.images[there], self.labels[chosen], self.indices[chosen], self.class_names, deposit_classes
        )


@dataclass(frozen=True)
class Dataset:
    """A whole data set on the device, divided into train, validation and test parts.

    Attributes
    ----------
    everything : ImageData
        All N images.
    train_indices, validation_indices, test_indices : torch.Tensor
        int64, the positions of the images in each part; disjoint.
    """

    everything: ImageData
    train_indices: torch.Tensor
    validation_indices: torch.Tensor
    test_indices: torch.Tensor

    def __repr__(self):
        return f"<Dataset: train {self.train}, validation {self.validation}, test {self.test}>"

    @property
    def images(self):
        """All images, uint8, (N, C, H, W)."""
        return self.everything.images

    @property
    def labels(self):
        """All labels, int64, (N,)."""
        return self.everything.labels

    @property
    def class_names(self):
        """The names of all classes, by number."""
        return self.everything.class_names

    @cached_property
    def train(self):
        """The part that networks are trained on."""
        return self.everything.select(self.train_indices)

    @cached_property
    def validation(self):
        """The part that settings are chosen on."""
        return self.everything.select(self.validation_indices)

    @cached_property
    def test(self):
        """The part that is read once, for the final table."""
        return self.everything.select(self.test_indices)


def load_dataset(config):
    """Load the config's data set onto its device.

    The parts are stratified: every class has the same share of each. The validation part depends on the seed, the
    test part does not.

    Parameters
    ----------
    config : Config
        Reads the knobs of the data stage, the seed, `data_root` and `device`. `test_fraction` is only used if the data
        set has no official test part.

    Returns
    -------
    Dataset
    """
    device = resolve_device(config.device)
    source = SOURCES[config.dataset](config)
    labels = source.labels
    with memory_advice(config):
        everything = ImageData(
            place_images(torch.from_numpy(source.images), config, device),
            torch.from_numpy(labels).to(device),
            torch.arange(len(labels), device=device),
            source.class_names,
        )
    places = numpy.arange(len(labels))
    if source.is_test is None:
        rest, test = _stratified_split(places, labels, config.test_fraction, TEST_SPLIT_SEED)
    else:
        rest, test = places[~source.is_test], places[source.is_test]
    train, validation = _stratified_split(rest, labels, config.validation_fraction, config.seed)
    return Dataset(everything, *(torch.from_numpy(part).to(device) for part in (train, validation, test)))


def _stratified_split(places, labels, fraction, seed):
    """Split off a fraction, with every class in proportion; both parts keep the order of the data set."""
    try:
        kept, cut = train_test_split(places, test_size=fraction, random_state=seed, stratify=labels[places])
    except ValueError as error:
        raise LirfError(f"every part needs an image of each class: {error}") from error
    return numpy.sort(kept), numpy.sort(cut)


def batches(data, batch_size, generator, crop_padding=0, flip=False):
    """Yield the data batch by batch in a new random order, augmented on its device.

    Parameters
    ----------
    data : ImageData
    batch_size : int
        The last batch may be smaller.
    generator : torch.Generator
        On the data's device; draws the order, the crops and the flips.
    crop_padding : int
        Pad each image with this many black pixels on every side, and cut a random crop of the original size from it.
    flip : bool
        Mirror each image left to right with a probability of ½.

    Yields
    ------
    images : torch.Tensor
        uint8, (B, C, H, W).
    labels : torch.Tensor
        int64, (B,).
    """
    order = torch.randperm(len(data), generator=generator, device=data.labels.device)
    there = order.to(data.images.device)  # once, because a copy from the GPU waits for all its pending work
    for chosen, places in zip(order.split(batch_size), there.split(batch_size)):
        images = data.images.index_select(0, places)
        if images.device != chosen.device:  # streamed from the host
            images = images.pin_memory().to(chosen.device, non_blocking=True)
        yield augment(images, generator, crop_padding, flip), data.labels[chosen]


def mix(images, generator):
    """Make new images out of a batch: each is turned, scaled and shifted, and patches of another one are put into it.

    A network's answers for such images mean nothing, but its features show what it does far from the images themselves.

    Parameters
    ----------
    images : torch.Tensor
        uint8, (B, C, H, W).
    generator : torch.Generator
        On the same device.

    Returns
    -------
    torch.Tensor
        Of the same shape and type.
    """
    count, device = len(images), images.device

    def draw(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    def warped(images):
        angle, scale, shift = 2 * math.pi * draw(count), 0.7 + 0.8 * draw(count), 0.6 * draw(count, 2) - 0.3
        cos, sin = scale * angle.cos(), scale * angle.sin()
        rows = [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)]
        grid = functional.affine_grid(torch.stack(rows, dim=1), images.shape, align_corners=False)
        return functional.grid_sample(images.float(), grid, align_corners=False)  # black outside the image

    others = images[torch.randperm(count, generator=generator, device=device)]
    patches = functional.interpolate(draw(count, 1, 3, 3), images.shape[2:], mode="bilinear") > 0.5  # (B, 1, H, W)
    return torch.where(patches, warped(images), warped(others)).round().clamp(0, 255).to(torch.uint8)


def augment(images, generator, crop_padding=0, flip=False):
    """Crop each image at random and mirror it at random, all images at once.

    Parameters
    ----------
    images : torch.Tensor
        (B, C, H, W).
    generator, crop_padding, flip
        As for `batches`.

    Returns
    -------
    torch.Tensor
        Of the same shape and type.
    """
    if not crop_padding and not flip:
        return images
    count, channels, height, width = images.shape
    rows, columns = (torch.arange(side, device=images.device).expand(count, -1) for side in (height, width))  # (B, H)
    if crop_padding:
        images = functional.pad(images, [crop_padding] * 4)
        shifts = torch.randint(2 * crop_padding + 1, (2, count), generator=generator, device=images.device)
        rows, columns = rows + shifts[0][:, None], columns + shifts[1][:, None]
    if flip:
        mirrored = torch.rand(count, generator=generator, device=images.device) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    places = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).view(count, 1, -1)  # (B, 1, H·W)
    return images.flatten(2).gather(2, places.expand(-1, channels, -1)).view(count, channels, height, width)
