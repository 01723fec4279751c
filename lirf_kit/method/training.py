"""The original network T_0, trained on everything.

The images stay on the device as uint8 and are cropped and flipped there, a whole batch at a time. On CUDA the forward
pass runs in bfloat16 if the GPU supports it. You can interrupt a training after any epoch and continue it later; the
result is the same.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from lirf_kit.config import LirfError
from lirf_kit.data.images import batches
from lirf_kit.devices import (
    all_finite,
    autocast,
    compiled,
    cpu_threads,
    memory_advice,
    peak_memory,
    progress_bar,
    reset_peak_memory,
    seeded_generator,
    synchronise,
    with_fallback,
)
from lirf_kit.method.networks import SplitNetwork, accuracy, build_network, check_last_batch, prepare, strides

KEEP_EVERY = 10.0  # seconds of training that a killed process may lose, and the epoch that it was in


def train_original(data, config, resume=None, keep=None):
    """Train the original network on the training part.

    The loss is cross-entropy, the optimiser SGD with Nesterov momentum. The learning rate follows a one-cycle schedule:
    it climbs to its peak, then falls to nearly zero (Smith & Topin 2019). An interrupt (the stop button, Ctrl-C) ends
    the training early; you get the network of the last finished epoch, and a warning.

    Parameters
    ----------
    data : Dataset
    config : Config
        Reads the knobs of the network, optimiser and training stages, the machine's, and the seed.
    resume : dict, optional
        The `checkpoint` of a network whose training was interrupted, to continue from there. One from another kind of
        device draws other random numbers from there on, and a warning says so.
    keep : callable, optional
        Takes the checkpoint of an epoch that has just ended; called if `KEEP_EVERY` seconds have passed since it was
        called last.

    Returns
    -------
    SplitNetwork
        In evaluation mode. Its `history` has an entry an epoch: epoch, loss, validation_accuracy (percent), seconds,
        images_per_second (training steps alone) and peak_memory (MiB; on CUDA since the training began, on the CPU
        of the whole process so far). Its `checkpoint` is None; after an interrupt it is what `resume` takes.

    Raises
    ------
    LirfError
        If the loss stops being finite, or the device's memory is too small.
    """
    with memory_advice(config):
        state = start_training(data, config)
    network, finished = state.network, resume
    if resume is not None:
        _restore(state, resume)
    kept = time.monotonic()
    progress = progress_bar(total=config.epochs, initial=len(network.history), desc="train the original", unit="epoch")
    try:
        with progress, cpu_threads(config), memory_advice(config):
            while len(network.history) < config.epochs:
                _train_epoch(state, data, config)
                finished = _snapshot(state)
                progress.set_postfix_str(
                    "loss {loss:.3f}, validation {validation_accuracy:.1f} %".format(**network.history[-1])
                )
                progress.update()
                if keep is not None and time.monotonic() - kept >= KEEP_EVERY:
                    keep(finished)
                    kept = time.monotonic()
    except KeyboardInterrupt:
        if finished is None:
            raise
        _restore(state, finished)
        network.checkpoint = finished
        warnings.warn(
            f"interrupted: this is the network of epoch {len(network.history)} of {config.epochs}", stacklevel=2
        )
    return network.eval()


@dataclass
class TrainingState:
    """What an epoch of training changes."""

    network: SplitNetwork
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    forward: Callable  # the network, perhaps compiled


def start_training(data, config):
    """Return the state before the first epoch, and begin to measure CUDA's peak of memory."""
    check_last_batch("batch_size", len(data.train), config.batch_size, data.images, strides(config))
    reset_peak_memory(data.labels.device)
    network = build_network(config, data.images.shape[1], len(data.class_names))
    network.lower[0].fit(data.train.images)
    prepare(network)
    steps = config.epochs * -(-len(data.train) // config.batch_size)
    return TrainingState(
        network,
        *one_cycle(network.parameters(), config.learning_rate, steps, config.momentum, config.weight_decay),
        seeded_generator(config.seed, network.device),
        compiled(network, config),
    )


def _train_epoch(state, data, config):
    """Train on the whole training part once, and add an entry to the history."""
    network, device = state.network.train(), state.network.device
    start, total = time.perf_counter(), 0.0
    for images, labels in batches(data.train, config.batch_size, state.generator, config.crop_padding, config.flip):
        total += train_step(state, images, labels, config) * len(labels)
    synchronise(device)
    trained = time.perf_counter()
    entry = {"epoch": len(network.history) + 1, "loss": float(total) / len(data.train)}
    if not math.isfinite(entry["loss"]) or not all_finite(network):
        raise LirfError(
            f"the training loss stopped being finite in epoch {entry['epoch']}: lower learning_rate, now "
            f"{config.learning_rate}"
        )
    entry["validation_accuracy"] = accuracy(network, data.validation)
    entry["seconds"] = time.perf_counter() - start
    entry["images_per_second"] = len(data.train) / (trained - start)
    entry["peak_memory"] = peak_memory(device)
    network.history.append(entry)


def train_step(state, images, labels, config):
    """Learn from one batch of uint8 images (N, C, H, W); return the loss, cross-entropy with label smoothing."""

    def learn(forward):
        state.optimiser.zero_grad()
        with autocast(config, labels.device):
            logits = forward(images)  # (N, K)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
        loss.backward()
        return loss.detach()

    if len(labels) == config.batch_size:
        loss, state.forward = with_fallback(learn, state.forward, state.network)
    else:  # the last batch is smaller, and would have to be compiled for its own size
        loss = learn(state.network)
    state.optimiser.step()
    state.schedule.step()
    return loss


def _snapshot(state):
    """Copy a state: tensors by name, and plain values."""
    momenta = state.optimiser.state_dict()["state"]
    tensors = {f"network.{name}": value for name, value in state.network.layers.state_dict().items()}
    tensors |= {f"momentum.{place}": held["momentum_buffer"] for place, held in momenta.items()}
    tensors["generator"] = state.generator.get_state()
    plain = {
        "history": state.network.history,
        "schedule": state.schedule.state_dict(),
        "groups": state.optimiser.state_dict()["param_groups"],
        "device": state.network.device.type,
    }
    return {"tensors": {name: value.clone() for name, value in tensors.items()}, "plain": copy.deepcopy(plain)}


def _restore(state, snapshot):
    """Restore a state from its copy."""
    tensors, plain = snapshot["tensors"], copy.deepcopy(snapshot["plain"])
    layers = state.network.layers
    layers.load_state_dict({name: tensors[f"network.{name}"] for name in layers.state_dict()})
    momenta = {name: tensor for name, tensor in tensors.items() if name.startswith("momentum.")}
    held = {int(name.split(".")[1]): {"momentum_buffer": tensor.clone()} for name, tensor in momenta.items()}
    state.optimiser.load_state_dict({"state": held, "param_groups": plain["groups"]})
    state.schedule.load_state_dict(plain["schedule"])
    state.network.history = plain["history"]
    begun, now = plain["device"], state.network.device.type
    if begun == now:
        state.generator.set_state(tensors["generator"].cpu())
    else:
        state.generator.manual_seed(state.generator.initial_seed() + len(plain["history"]))
        warnings.warn(
            f"this training was begun on {begun} and goes on on {now}: the result isn't the same to the last digit",
            stacklevel=3,
        )


def one_cycle(parameters, learning_rate, steps, momentum, weight_decay):
    """Return SGD with Nesterov momentum, and a one-cycle schedule of the given number of steps."""
    optimiser = torch.optim.SGD(
        parameters, learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    rise = 0.25 if steps != 3 else 0.3  # the schedule divides by rise · total_steps − 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps + 1, pct_start=rise, cycle_momentum=False
    )
    return optimiser, schedule
