"""Residual networks for small images that can be cut after any of their stages.

A network takes uint8 images straight from `ImageData`. Its first layer normalises them, so that nobody can forget to,
and the deposit module, a copy of the lower blocks, normalises them in the same way.
"""

import contextlib
import math

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from lirf_kit.config import LirfError, check_choice
from lirf_kit.devices import resolve_device, seeded_generator

PREDICT_BATCH = 1000  # images at a time when no gradient is needed
SAFE_INPUTS = 16  # of a strided shortcut: from here on every CPU gets its gradients right in channels-last


class Normalise(nn.Module):
    """Turn uint8 images into floats with mean 0 and standard deviation 1 per channel.

    The statistics are buffers: they are saved with the weights and move with the module.
    """

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    def fit(self, images):
        """Take the mean and standard deviation per channel from images (uint8, (N, C, H, W))."""
        levels = torch.arange(256, dtype=torch.float64) / 255
        for channel in range(images.shape[1]):
            counts = torch.bincount(images[:, channel].flatten(), minlength=256).cpu().double()
            share = counts / counts.sum()
            mean = (share * levels).sum()
            self.mean[channel] = mean
            self.std[channel] = ((share * (levels - mean) ** 2).sum()).sqrt().clamp_min(1e-6)

    def forward(self, images):
        """uint8 images (N, C, H, W) to floats of the same shape; raise a `LirfError` for anything else."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != len(self.mean):
            raise LirfError(
                f"images must be uint8 of shape (N, {len(self.mean)}, H, W), not {images.dtype} of shape "
                f"{tuple(images.shape)}: give them as they are in ImageData, the network normalises them itself"
            )
        images = images.to(self.mean.device, non_blocking=True)  # large data sets may stay on the host
        return (images.float() / 255 - self.mean) / self.std


class SplitNetwork(nn.Module):
    """A residual network in two parts: logits are ``upper(lower(images))``.

    Attributes
    ----------
    lower : nn.Sequential
        T^(-n): normalisation, stem and stages 1 to n; images to features (N, C_n, H_n, W_n).
    upper : nn.Sequential
        T^(n-): the other stages, the pooling and the classifier; those features to logits (N, K).
    history : list of dict
        One entry an epoch of what trained the network.
    checkpoint : dict, optional
        What an interrupted training needs to continue (see `train_original`).
    """

    def __init__(self, lower, upper):
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.history = []
        self.checkpoint = None

    def forward(self, images):
        """uint8 images (N, C, H, W) to logits (N, K)."""
        return self.upper(self.lower(images))

    def features(self, images):
        """Return the final-layer (penultimate) features, (N, D): what the classifier sees."""
        return penultimate(self.upper, self.lower(images))

    @property
    def layers(self):
        """Lower and upper blocks in one nn.Sequential, shared: its weights' names don't depend on the cut."""
        return nn.Sequential(*self.lower, *self.upper)

    @property
    def num_stages(self):
        """How many stages it has: all layers but normalisation, stem, pooling, flattening and classifier."""
        return len(self.lower) + len(self.upper) - 5

    @property
    def device(self):
        """The device of the parameters."""
        return next(self.parameters()).device


def penultimate(upper, features):
    """Apply upper blocks without their classifier: (N, C_n, H_n, W_n) to (N, D)."""
    return upper[:-1](features)


def build_network(config, channels, num_classes):
    """Build a residual network for small images with freshly drawn weights.

    A 3×3 stem without pooling, then one stage a width, each but the first halving height and width, then the average
    over positions and a linear classifier (He et al. 2016; the blocks are torchvision's). Four stages of two blocks
    with widths 64, 128, 256, 512 are the ResNet-18 for CIFAR of the paper's code.

    Parameters
    ----------
    config : Config
        Reads `widths`, `blocks_per_stage`, `stem_stride`, `split_after`, `seed` and `device`.
    channels : int
        Of the images: 1 for grey, 3 for RGB.
    num_classes : int
        K, how many logits.

    Returns
    -------
    SplitNetwork
        On the config's device, its weights drawn from the config's seed.
    """
    with torch.device("meta"):  # without weights, since PyTorch would draw them from its global generator
        stem = nn.Sequential(
            nn.Conv2d(channels, config.widths[0], 3, config.stem_stride, 1, bias=False),
            nn.BatchNorm2d(config.widths[0]),
            nn.ReLU(inplace=True),
        )
        stages = [
            _stage(config.widths[max(place - 1, 0)], width, 1 if place == 0 else 2, config.blocks_per_stage)
            for place, width in enumerate(config.widths)
        ]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(config.widths[-1], num_classes)]
    layers = nn.Sequential(stem, *stages, *head).to_empty(device="cpu")
    draw_weights(_as_made(layers), seeded_generator(config.seed, "cpu"))
    network = SplitNetwork(nn.Sequential(Normalise(channels), *layers), nn.Sequential())
    return split(network, config.split_after).to(resolve_device(config.device))


@torch.no_grad()
def draw_weights(layers, generator):
    """Draw the weights of layers as PyTorch does, but from a generator of one's own, so that threads don't mix theirs.

    Layers and generator are on the CPU. Weights are drawn layer by layer, in the given order. BatchNorm begins anew;
    anything else is left as it is.
    """
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            drawn = torch.empty(layer.weight.shape)  # in the order of its axes, whatever the layer's memory layout is
            layer.weight.copy_(nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator))
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()


def _as_made(module):
    """Yield the layers of a module in the order in which they are made: a block's shortcut comes first."""
    shortcut = getattr(module, "downsample", None)
    for part in sorted(module.children(), key=lambda part: part is not shortcut):
        yield from _as_made(part)
    yield module


def _stage(width_in, width, stride, blocks):
    """Return a stage of residual blocks; the first one may change the width and halve the resolution."""
    shortcut = None
    if stride != 1 or width_in != width:
        shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    first = BasicBlock(width_in, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))


def prepare(network):
    """Lay a network's weights out for its convolutions, and let CUDA use TF32 for what stays float32."""
    if network.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    network.to(memory_format=layout(network))


def layout(module):
    """Return the memory layout in which a module's convolutions are fastest, and right.

    That is channels-last, with one exception. On a CPU with AVX2 but without AVX-512, oneDNN gets one gradient wrong in
    it, or writes past its memory: the weight gradient of a 1×1 convolution with a stride and fewer than 8 inputs (seen
    with torch 2.15; it looks like oneDNN's open issue 6035). So on the CPU a network with such a shortcut, of up to
    twice as many inputs to be on the safe side, stays in the contiguous layout. `bench.gradient_errors` and
    `python -m lirf_kit doctor` check the result.
    """
    on_cpu = next(module.parameters()).device.type == "cpu"
    narrow = any(
        layer.kernel_size == (1, 1) and layer.stride != (1, 1) and layer.in_channels < SAFE_INPUTS
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    )
    return torch.contiguous_format if on_cpu and narrow else torch.channels_last


def split(network, split_after):
    """Return the same network, sharing its layers, cut after a different stage.

    Parameters
    ----------
    network : SplitNetwork
    split_after : int
        n, counted from 1: the last stage of the lower blocks.

    Returns
    -------
    SplitNetwork
    """
    layers = network.layers
    check_choice("split_after", split_after, tuple(range(1, network.num_stages + 1)))
    cut = 2 + split_after  # normalisation and stem come first
    again = SplitNetwork(layers[:cut], layers[cut:])
    again.history = network.history
    return again


@contextlib.contextmanager
def evaluation_mode(network):
    """Put a network into evaluation mode, and afterwards return each of its layers to the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def predict(function, images):
    """Apply a network, or one of its methods, to any number of images, in batches that fit into memory.

    Parameters
    ----------
    function : callable
        Images to a tensor whose first axis is the images'; in evaluation mode.
    images : torch.Tensor
        uint8, (N, C, H, W).

    Returns
    -------
    torch.Tensor
        The results, concatenated.
    """
    return torch.cat([function(part) for part in images.split(PREDICT_BATCH)])


def accuracy(network, part, among="all"):
    """Return the share of right answers.

    Parameters
    ----------
    network : nn.Module
        uint8 images to logits (N, K): an original, a target or a recovered network alike. Put into evaluation
        mode here, and returned to its own mode afterwards.
    part : ImageData
        At least one image.
    among : {"all", "part"}
        Arg max over all classes, or only over those that occur in the part. The second tells the network something
        about each image that it would otherwise have to find out.

    Returns
    -------
    float
        In percent.
    """
    return 100 * (answers(network, part, among) == part.labels).sum().item() / len(part)


def answers(network, part, among="all"):
    """Return the class that a network gives each image, int64, (N,); parameters as for `accuracy`.

    Where the logit of every class that counts is −∞, as in a head-masked network asked for deposit classes only, there
    is no answer, and −1 stands for it.
    """
    check_choice("among", among, ("all", "part"))
    check_not_empty("accuracy", part)
    allowed = torch.arange(part.num_classes, device=part.labels.device) if among == "all" else part.labels.unique()

    def answer(images):
        best, place = network(images)[:, allowed].max(dim=1)
        return torch.where(best == -torch.inf, -1, allowed[place])

    with evaluation_mode(network):
        return predict(answer, part.images)


def check_not_empty(name, part):
    """Raise a `LirfError` if there is nothing to measure on."""
    if not len(part):
        raise LirfError(f"{name} needs a part with at least one image, not an empty one")


def extract_features(network, part, layer="features"):
    """Return what a network makes of each image.

    Parameters
    ----------
    network : SplitNetwork or RecoveredNetwork
        Evaluated in evaluation mode and left in the mode it was in.
    part : ImageData
        N images.
    layer : {"features", "logits"}
        The final-layer (penultimate) features, which the classifier sees, or the logits. A recovered network's
        features are the target's and the deposit module's side by side, for every image alike.

    Returns
    -------
    numpy.ndarray
        float32, (N, D).
    """
    check_choice("layer", layer, ("features", "logits"))
    with evaluation_mode(network):
        features = predict(network if layer == "logits" else network.features, part.images)
    return features.to("cpu", torch.float32).numpy()


def strides(config, stages=None):
    """Return how many times lower than the images the feature maps are, after some stages or after all."""
    return config.stem_stride * 2 ** ((stages or len(config.widths)) - 1)


def check_last_batch(name, count, batch_size, images, strides):
    """Raise a `LirfError` if BatchNorm would have to take statistics of a single number, from a last batch of one.

    `name` is the knob that `batch_size` is, for the message; `count` is how many images there are, and `strides` how
    many times lower than the images, (N, C, H, W), the last feature maps are.
    """
    if count % batch_size == 1 % batch_size and max(images.shape[2:]) <= strides:
        raise LirfError(
            f"{name} must not leave a last batch of a single image where feature maps are 1×1: {count} images in "
            f"batches of {batch_size} do"
        )
