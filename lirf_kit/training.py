"""The original network T_0, trained on everything."""

import math
import time

import torch
from torch import nn

from lirf_kit.config import LirfError
from lirf_kit.data import batches
from lirf_kit.devices import all_finite, cpu_threads, progress_bar, seeded_generator
from lirf_kit.metrics import accuracy
from lirf_kit.networks import build_network


def train_original(data, config):
    """Train the original network on the training part.

    Cross-entropy, SGD with Nesterov momentum, and a one-cycle schedule: the learning rate climbs to its peak, then
    falls to nearly nothing (Smith & Topin 2019).

    Parameters
    ----------
    data : Dataset
    config : Config
        Reads the knobs of the network and training stages, and the seed.

    Returns
    -------
    SplitNetwork
        In evaluation mode. Its `history` has an entry an epoch: epoch, loss, validation_accuracy (percent), seconds.

    Raises
    ------
    LirfError
        If the loss stops being finite.
    """
    network = build_network(config, data.images.shape[1], len(data.class_names))
    network.lower[0].fit(data.train.images)
    generator = seeded_generator(config.seed, data.labels.device)
    steps = -(-len(data.train) // config.batch_size)
    optimiser, schedule = one_cycle(
        network.parameters(), config.learning_rate, config.epochs * steps, config.momentum, config.weight_decay
    )
    loss_function = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    progress = progress_bar(range(1, config.epochs + 1), desc="train the original", unit="epoch")
    with cpu_threads(config):
        for epoch in progress:
            start, total = time.perf_counter(), 0.0
            network.train()
            for images, labels in batches(data.train, config.batch_size, generator, config.crop_padding, config.flip):
                loss = loss_function(network(images), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.detach() * len(labels)
            mean_loss = float(total) / len(data.train)
            if not math.isfinite(mean_loss) or not all_finite(network):
                raise LirfError(
                    f"the training loss stopped being finite in epoch {epoch}: lower learning_rate, now "
                    f"{config.learning_rate}"
                )
            validation_accuracy = accuracy(network, data.validation)
            seconds = time.perf_counter() - start
            entry = {"epoch": epoch, "loss": mean_loss, "validation_accuracy": validation_accuracy, "seconds": seconds}
            network.history.append(entry)
            progress.set_postfix(loss=f"{mean_loss:.3f}", validation=f"{validation_accuracy:.1f} %")
    return network.eval()


def one_cycle(parameters, learning_rate, steps, momentum, weight_decay):
    """Return SGD with Nesterov momentum and its one-cycle schedule over so many steps."""
    optimiser = torch.optim.SGD(
        parameters, learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps + 1, pct_start=0.25, cycle_momentum=False
    )
    return optimiser, schedule
