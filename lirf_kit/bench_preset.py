"""How fast and how accurate a preset is on this machine: its whole path with several seeds, and a peer beside it."""

import itertools
import statistics
import time

import PIL.Image
import torch
import torchvision
from torch import nn
from torch.nn import functional

from lirf_kit.bench import WARM_UP, about, usual_loader, usual_transforms
from lirf_kit.config import LirfError
from lirf_kit.data.images import load_dataset
from lirf_kit.data.partition import split_by_class
from lirf_kit.devices import peak_memory, reset_peak_memory, resolve_device, synchronise
from lirf_kit.evidence.metrics import results_table
from lirf_kit.method.containers import module_bytes
from lirf_kit.method.depositing import deposit
from lirf_kit.method.networks import extract_features
from lirf_kit.method.training import train_original
from lirf_kit.method.withdrawing import withdraw
from lirf_kit.pictures.embedding import embed_tsne

RUNS = 3
GOAL = 80  # percent of the validation images
PEER_BATCH = 128
PEER_STEPS = 8  # on a CPU, where an epoch of CIFAR-10 takes the better part of an hour
STAGES = ("seed", "data", "network", "optimiser", "training", "partition", "deposit", "picture")


def bench_preset(config, runs=RUNS, peer=True):
    """Run a preset's whole path with several seeds, counting up from the config's own, and time its steps.

    The peer, measured for a whole epoch on a GPU and for `PEER_STEPS` steps on a CPU, is the recipe that most course
    notebooks use: a ResNet-18 with a 3×3 stem, torchvision's transforms in a DataLoader with a worker for each core (at
    most 16), batches of 128, SGD, float32 (on a GPU with PyTorch's default, TF32 in convolutions), and as many CPU
    threads as PyTorch likes. Its cosine schedule is left out, because that only steps once an epoch. The peer's network
    is always the ResNet-18, so that part of the ratio of a preset with a smaller network is due to the network.

    Returns
    -------
    dict
        Plain values: what `about_preset` returns; `seconds`: the median of the runs for train, deposit, withdraw,
        features (of the test images) and t-SNE; `seconds_to_80` and `runs`; `history`, of the first run's training;
        `peak_memory` (MiB; on the CPU of the whole process so far); `peer`, if asked for. Each run has its `seed`, its
        `seconds`, the `accuracies` of original, target and recovered network on the test part in percent, with the arg
        max over all classes, the `module_bytes` on disk, and `time_to_accuracy`: for each epoch the seconds since the
        training began, validation included, and the validation accuracy in percent. `seconds_to_80` is when that
        reaches 80, None if it never does; at the top level the median, None unless every run reaches it. The peer has
        its `images_per_second` and `seconds_per_epoch`, how many of an epoch's steps were measured, and as `ratio` the
        images per second of our training steps divided by its own.
    """
    results = about_preset(config, runs)
    measured = [_run(config.replace(seed=seed)) for seed in results["seeds"]]
    histories, peaks = ([run.pop(name) for run in measured] for name in ("history", "peak_memory"))
    steps, reached = measured[0]["seconds"], [run["seconds_to_80"] for run in measured]
    results |= {
        "seconds": {step: statistics.median(run["seconds"][step] for run in measured) for step in steps},
        "seconds_to_80": None if None in reached else statistics.median(reached),
        "runs": measured,
        "history": histories[0],
        "peak_memory": max(peaks),
    }
    if peer:
        epochs = itertools.chain.from_iterable(histories)
        results["peer"] = _peer(config, statistics.median(epoch["images_per_second"] for epoch in epochs))
    return results


def about_preset(config, runs=RUNS):
    """Say what `bench_preset` measures: machine, kit (its version), seed, seeds, precision, threads and config.

    Raises a `LirfError` if `runs` is below 1.
    """
    if runs < 1:
        raise LirfError(f"runs must be at least 1, not {runs}")
    seeds = [config.replace(seed=config.seed + number).seed for number in range(runs)]
    return about(config, resolve_device(config.device), STAGES) | {"seeds": seeds}


def _run(config):
    """Run the path once, and return its seconds, its accuracies, and the history of its training."""
    reset_peak_memory(resolve_device(config.device))
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
        raise KeyboardInterrupt  # half a training is not a measurement
    target, deposit_module = timed("deposit", deposit, original, parts.deposit_set, config)
    recovered = timed("withdraw", withdraw, target, deposit_module)
    features = timed("features", extract_features, recovered, parts.test)
    timed("t-SNE", embed_tsne, features, config)
    peak = peak_memory(device)
    table = results_table({"original": original, "target": target, "recovered": recovered}, parts)
    return {
        "seed": config.seed,
        "seconds": seconds,
        "accuracies": table[["Pre Acc", "Dep Acc", "Avg Acc"]].to_dict("index"),
        "module_bytes": module_bytes(deposit_module),
        **_time_to_accuracy(original.history),
        "history": original.history,
        "peak_memory": peak,
    }


def _time_to_accuracy(history):
    """Return when each epoch ended and how good the network was then, and when it first reached the goal."""
    ends = itertools.accumulate(epoch["seconds"] for epoch in history)
    curve = [[end, epoch["validation_accuracy"]] for end, epoch in zip(ends, history)]
    return {
        "time_to_accuracy": curve,
        f"seconds_to_{GOAL}": next((end for end, accuracy in curve if accuracy >= GOAL), None),
    }


class _Pictures(torch.utils.data.Dataset):
    """Images as torchvision's CIFAR10 gives them: each a PIL picture, transformed when it is asked for."""

    def __init__(self, part, transform):
        self.images = part.images.cpu().permute(0, 2, 3, 1).squeeze(3).contiguous().numpy()  # (N, H, W, 3) or (N, H, W)
        self.labels, self.transform = part.labels.tolist(), transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        return self.transform(PIL.Image.fromarray(self.images[place])), self.labels[place]


def _peer(config, our_speed):
    """Time the training steps of the recipe that most course notebooks use, on the same images."""
    part = load_dataset(config).train
    device, channels = part.labels.device, part.images.shape[1]
    pictures = _Pictures(part, usual_transforms(tuple(part.images.shape[2:]), channels))
    loader = usual_loader(pictures, min(PEER_BATCH, len(part)), drop_last=True)
    network = torchvision.models.resnet18(num_classes=part.num_classes)
    network.conv1, network.maxpool = nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.Identity()
    network.to(device).train()
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))  # epoch after epoch

    def step():
        images, labels = next(batches)
        loss = functional.cross_entropy(network(images.to(device)), labels.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    steps = len(loader) if device.type == "cuda" else min(PEER_STEPS, len(loader))
    for _ in range(WARM_UP):
        step()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronise(device)
    speed = steps * loader.batch_size / (time.perf_counter() - start)
    return {
        "recipe": "ResNet-18, torchvision's transforms, DataLoader, SGD, float32",
        "workers": loader.num_workers,
        "threads": torch.get_num_threads(),
        "batch_size": loader.batch_size,
        "measured": f"{steps} of an epoch's {len(loader)} steps; seconds_per_epoch follows from their speed",
        "images_per_second": speed,
        "seconds_per_epoch": len(part) / speed,
        "ratio": our_speed / speed,
    }
