"""How fast the kit's parts are on this machine, and compared with what: medians after a warm-up, ratios from one run.

The input path is compared with the usual one, torchvision's transforms in a DataLoader over image files; a training
step with the machine's own matrix product; a deposit step with a training step on a batch of the same size.
"""

import copy
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import joblib
import numpy
import PIL.Image
import torch
import torchvision
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from lirf_kit import __version__
from lirf_kit.config import LirfError, preset
from lirf_kit.data.images import batches, load_dataset
from lirf_kit.data.partition import split_by_class
from lirf_kit.devices import (
    autocast,
    cpu_threads,
    machine,
    peak_memory,
    reset_peak_memory,
    resolve_device,
    seeded_generator,
    synchronise,
)
from lirf_kit.method.depositing import deposit_steps, start_deposit
from lirf_kit.method.networks import Normalise, build_network, prepare
from lirf_kit.method.training import start_training, train_step

PICTURES, CLASSES = 4000, 10
STAGES = ("seed", "network", "optimiser", "training", "partition", "deposit")  # of the knobs that `bench` reads
WARM_UP, REPEATS = 2, 7
WORKERS = 16  # of a DataLoader, on a machine with many cores


def bench(config=None):
    """Measure the input path, a training step and a deposit step on generated pictures.

    The config, by default the preset ``cifar10-small``, sets the network, the steps, the precision, the threads and the
    device. Of its data only `image_size` and the fractions count: the pictures are noise in ten classes. The input path
    always pads by four pixels, crops and mirrors. If the config asks for `compile`, the training step is compiled; the
    deposit step never is. A `LirfError` is raised if a batch is larger than the deposit set.

    Returns
    -------
    dict
        Plain values: `machine`, `kit` (its version), `seed`, `precision`, `threads`, `config`; `input_path`:
        images_per_second, dataloader_images_per_second and their ratio; `training_step`: images_per_second, seconds,
        flops_per_image (forward and backward pass as PyTorch counts them: only convolutions and matrix products, with
        two FLOPs for a multiplication and an addition), matmul_peak (FLOP/s), peak_share (the step's FLOP/s as a share
        of that), compile_seconds (how much longer the first call took, if compiled); `deposit_step`: images_per_second,
        seconds, and their ratio to the training step's; `peak_memory` (MiB; on the CPU that of the whole process so
        far).
    """
    config = preset("cifar10-small") if config is None else config
    device = resolve_device(config.device)
    reset_peak_memory(device)
    with tempfile.TemporaryDirectory() as folder, cpu_threads(config):
        _make_pictures(Path(folder), config)
        turned = config.replace(dataset="folder", folder=folder, data_root=folder)
        data = load_dataset(turned)
        largest = len(split_by_class(data, config.deposit_classes).deposit_set)
        if config.batch_size > largest:
            raise LirfError(
                f"batch_size must be at most {largest}, the size of the deposit set, not {config.batch_size}"
            )
        results = about(config, device, STAGES)
        results["input_path"] = _input_path(data, turned, Path(folder))
        results["training_step"] = _training_step(data, turned)
        peak = peak_memory(device)  # the deposit step starts a training too, which resets the peak
        results["deposit_step"] = _deposit_step(data, turned, results["training_step"])
        results["peak_memory"] = max(peak, peak_memory(device))
    return results


def about(config, device, stages):
    """Return what a measurement is of: the machine, the kit's version, and the knobs of some stages."""
    with cpu_threads(config):
        threads = torch.get_num_threads()
    knobs = {name: value for name, value in config.stages(*stages).items() if name != "folder"}  # others lack it
    return {
        "machine": machine(device),
        "kit": __version__,
        "seed": config.seed,
        "precision": str(_dtype(config, device)).removeprefix("torch."),
        "threads": threads,
        "config": knobs,
    }


def gradient_errors(inputs=(1, 2, 4, 7, 8, 15, 16), outputs=(8, 33)):
    """Compare one training step's gradients with those of float64, for shortcuts of many widths, on the CPU.

    Each pair of widths of two stages, from `inputs` and `outputs`, makes a network with the shortcut that joins them,
    for grey images and for RGB ones with a strided stem. Returns for each pair the distance of the network's gradient
    from the reference, relative to its length: below 1e-5 where all is well; the fault that `networks.layout` avoids
    makes it 1e-2 and more.
    """
    errors, generator = {}, torch.Generator().manual_seed(0)
    for widths in itertools.product(inputs, outputs):
        errors[widths] = 0.0
        for channels, stride in ((1, 1), (3, 2)):
            config = preset("digits").replace(widths=widths, split_after=1, stem_stride=stride, device="cpu")
            network = build_network(config, channels, 4).train()
            prepare(network)
            exact = copy.deepcopy(network).double()
            images = torch.randint(256, (8, channels, 8, 8), generator=generator, dtype=torch.uint8)
            for trained in (network, exact):
                functional.cross_entropy(trained(images), torch.arange(8) % 4).backward()
            found, expected = (
                torch.cat([p.grad.flatten() for p in trained.parameters()]) for trained in (network, exact)
            )
            errors[widths] = max(errors[widths], ((found - expected).norm() / expected.norm()).item())
    return errors


def _make_pictures(folder, config):
    """Write JPEG files of noise in the usual layout, train/<class>/<number>.jpg."""
    generator = numpy.random.default_rng(config.seed)
    shape = (config.image_size, config.image_size, 3)
    for number in range(PICTURES):
        file = folder / "train" / str(number % CLASSES) / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(generator.integers(256, size=shape, dtype=numpy.uint8)).save(file, quality=75)


def _input_path(data, config, folder):
    """Compare the speed of shuffled, cropped, flipped, normalised batches: the kit's, and a DataLoader's from files."""
    device = data.labels.device
    normalise, generator = Normalise(3).to(device), seeded_generator(config.seed, device)

    def ours():
        for images, _ in batches(data.everything, config.batch_size, generator, 4, flip=True):
            normalise(images)

    files = torchvision.datasets.ImageFolder(folder / "train", usual_transforms(config.image_size))
    loader = usual_loader(files, config.batch_size)

    def theirs():
        for images, labels in loader:
            images.to(device), labels.to(device)

    speed, other = (PICTURES / _median(path, device) for path in (ours, theirs))
    return {"images_per_second": speed, "dataloader_images_per_second": other, "ratio": speed / other}


def usual_transforms(size, channels=3):
    """Return the transforms of most course notebooks: one picture at a time is cropped, flipped and normalised."""
    return transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * channels, (0.25,) * channels),
        ]
    )


def usual_loader(pictures, batch_size, drop_last=False):
    """Return a DataLoader that shuffles, with one worker for each core, but at most `WORKERS`."""
    return torch.utils.data.DataLoader(
        pictures,
        batch_size,
        shuffle=True,
        num_workers=min(WORKERS, joblib.cpu_count()),
        persistent_workers=True,
        drop_last=drop_last,
    )


def _training_step(data, config):
    """Time a training step on one batch, and compare its FLOP/s with those of a matrix product."""
    device = data.labels.device
    state = start_training(data, config.replace(epochs=1000))  # so that the schedule outlasts the measurement
    images, labels = next(batches(data.train, config.batch_size, seeded_generator(config.seed, device)))
    eager = start_training(data, config.replace(compile=False))
    with FlopCounterMode(display=False) as counter:
        train_step(eager, images, labels, config)
    state.network.train()
    start = time.perf_counter()
    train_step(state, images, labels, config)
    synchronise(device)
    first = time.perf_counter() - start

    def step():
        train_step(state, images, labels, config)

    seconds, peak = _median(step, device), _matmul_peak(config, device)
    return {
        "images_per_second": len(labels) / seconds,
        "seconds": seconds,
        "flops_per_image": counter.get_total_flops() / len(labels),
        "matmul_peak": peak,
        "peak_share": counter.get_total_flops() / seconds / peak,
        "compile_seconds": max(first - seconds, 0.0) if config.compile else 0.0,
    }


def _matmul_peak(config, device):
    """Return the FLOP/s of a large matrix product in the training step's precision."""
    dtype = _dtype(config, device)
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _median(lambda: left @ right, device)


def _dtype(config, device):
    """Return the number type that a training step computes in."""
    with autocast(config, device):
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


def _deposit_step(data, config, training_step):
    """Time a deposit step on a batch of the same size as the training step's."""
    device = data.labels.device
    turned = config.replace(deposit_batch_size=config.batch_size, deposit_epochs=1000)
    deposit_set = split_by_class(data, config.deposit_classes).deposit_set
    original = start_training(data, config).network.eval()
    target, deposit_module = start_deposit(original, deposit_set, turned)
    steps = deposit_steps(original, target, deposit_module, deposit_set, turned)
    whole, rest = divmod(len(deposit_set), config.batch_size)
    full = itertools.cycle([True] * whole + [False] * (rest > 0))  # an epoch's last batch may be smaller
    durations = []
    while len(durations) < WARM_UP + REPEATS:
        start = time.perf_counter()
        next(steps)
        synchronise(device)
        if next(full):
            durations.append(time.perf_counter() - start)
    seconds = statistics.median(durations[WARM_UP:])
    speed = config.batch_size / seconds
    return {"images_per_second": speed, "seconds": seconds, "ratio": seconds / training_step["seconds"]}


def _median(function, device):
    """Return the median time of several calls in seconds, after some warm-up calls."""
    durations = []
    for _ in range(WARM_UP + REPEATS):
        synchronise(device)
        start = time.perf_counter()
        function()
        synchronise(device)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[WARM_UP:])
