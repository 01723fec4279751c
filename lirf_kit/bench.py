"""How fast the kit is on this machine, and against what: every ratio comes from one run, medians after a warm-up.

The input path is measured against the usual one, torchvision's transforms in a DataLoader over image files; a training
step against the machine's own matrix product; a deposit step against a training step on the same batch.
"""

import itertools
import platform
import statistics
import tempfile
import time
from pathlib import Path

import joblib
import numpy
import PIL.Image
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from lirf_kit.config import preset
from lirf_kit.data import batches, load_dataset
from lirf_kit.depositing import deposit, deposit_steps, start_deposit
from lirf_kit.devices import autocast, peak_memory, seeded_generator, synchronise
from lirf_kit.embedding import embed_tsne, extract_features
from lirf_kit.networks import Normalise
from lirf_kit.partition import split_by_class
from lirf_kit.training import start_training, train_original, train_step
from lirf_kit.withdrawing import withdraw

PICTURES, CLASSES, SIZE = 4000, 10, 32
WARM_UP, REPEATS = 2, 7


def bench(device="auto"):
    """Measure the input path, a training step and a deposit step of ``cifar10-small``, on pictures made for it.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "mps"}

    Returns
    -------
    dict
        Plain values. `machine`; `input_path`: images_per_second, dataloader_images_per_second and their ratio;
        `training_step`: images_per_second, seconds, matmul_peak (FLOP/s), peak_share, compile_seconds;
        `deposit_step`: images_per_second, seconds, and their ratio to a training step's; `peak_memory` (MiB).
    """
    with tempfile.TemporaryDirectory() as folder:
        _make_pictures(Path(folder))
        config = preset("cifar10-small").replace(
            dataset="folder", folder=folder, data_root=folder, image_size=SIZE, device=device
        )
        data = load_dataset(config)
        results = {"machine": machine(data.labels.device), "input_path": _input_path(data, config, Path(folder))}
        results["training_step"] = _training_step(data, config)
        results["deposit_step"] = _deposit_step(data, config, results["training_step"])
        results["peak_memory"] = peak_memory(data.labels.device)
    return results


def bench_preset(config):
    """Run a preset's whole path once and return the seconds of each step, and the history of the training.

    Parameters
    ----------
    config : Config

    Returns
    -------
    dict
        Plain values: `machine`, `config`, `seconds` (train, deposit, withdraw, features, t-SNE), `history`,
        `peak_memory` (MiB).
    """
    data = load_dataset(config)
    device, seconds = data.labels.device, {}
    parts = split_by_class(data, config.deposit_classes)

    def timed(step, function, *arguments):
        synchronise(device)
        start = time.perf_counter()
        result = function(*arguments)
        synchronise(device)
        seconds[step] = time.perf_counter() - start
        return result

    original = timed("train", train_original, data, config)
    if original.checkpoint is not None:
        raise KeyboardInterrupt  # half a training is no measurement
    target, deposit_module = timed("deposit", deposit, original, parts.deposit_set, config)
    recovered = timed("withdraw", withdraw, target, deposit_module)
    features = timed("features", extract_features, recovered, parts.test)
    timed("t-SNE", embed_tsne, features, config)
    stages = config.stages("seed", "data", "network", "optimiser", "training", "partition", "deposit")
    return {
        "machine": machine(device),
        "config": {name: value for name, value in stages.items() if name != "folder"},  # nobody else has it
        "seconds": seconds,
        "history": original.history,
        "peak_memory": peak_memory(device),
    }


def machine(device):
    """Return the hardware and the versions that a measurement is of."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": joblib.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _processor():
    """Return the CPU's model name where the system tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _make_pictures(folder):
    """Write JPEG files of noise that the usual loaders accept: train/<class>/<number>.jpg."""
    generator = numpy.random.default_rng(0)
    for number in range(PICTURES):
        file = folder / "train" / str(number % CLASSES) / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(generator.integers(256, size=(SIZE, SIZE, 3), dtype=numpy.uint8)).save(file, quality=75)


def _input_path(data, config, folder):
    """Compare shuffled, cropped, flipped, normalised batches: the kit's, and a DataLoader's from the files."""
    device = data.labels.device
    normalise, generator = Normalise(3).to(device), seeded_generator(0, device)

    def ours():
        for images, _ in batches(data.everything, config.batch_size, generator, 4, flip=True):
            normalise(images)

    recipe = transforms.Compose(
        [
            transforms.RandomCrop(SIZE, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    files = torchvision.datasets.ImageFolder(folder / "train", recipe)
    loader = torch.utils.data.DataLoader(
        files, config.batch_size, shuffle=True, num_workers=joblib.cpu_count(), persistent_workers=True
    )

    def theirs():
        for images, labels in loader:
            images.to(device), labels.to(device)

    speed, other = (PICTURES / _median(path, device) for path in (ours, theirs))
    return {"images_per_second": speed, "dataloader_images_per_second": other, "ratio": speed / other}


def _training_step(data, config):
    """Time a training step on one batch, and compare its FLOPs with a matrix product's."""
    device = data.labels.device
    state = start_training(data, config.replace(epochs=1000))  # a schedule longer than the measurement
    images, labels = next(batches(data.train, config.batch_size, seeded_generator(0, device)))
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
        "compile_seconds": first if config.compile else 0.0,
    }


def _matmul_peak(config, device):
    """Return the FLOP/s of a large matrix product in the precision of the training step."""
    with autocast(config, device):
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _median(lambda: left @ right, device)


def _deposit_step(data, config, training_step):
    """Time a deposit step on a batch as large as the training step's."""
    device = data.labels.device
    turned = config.replace(deposit_batch_size=config.batch_size, deposit_epochs=1000)
    deposit_set = split_by_class(data, config.deposit_classes).deposit_set
    original = start_training(data, config).network.eval()
    target, deposit_module = start_deposit(original, deposit_set, turned)
    steps = deposit_steps(original, target, deposit_module, deposit_set, turned)
    full = itertools.cycle([True] * (len(deposit_set) // config.batch_size) + [False])  # the last batch is smaller
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
    """Return the median seconds of several calls, after some that warm up."""
    durations = []
    for _ in range(WARM_UP + REPEATS):
        synchronise(device)
        start = time.perf_counter()
        function()
        synchronise(device)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[WARM_UP:])
