"""The path's costly steps, loaded where they were done before; and the path repeated over seeds and deposit sets."""

import math
import shutil

import numpy
import pandas

from lirf_kit.artifacts import fingerprint, load_run, run_folder, save_run
from lirf_kit.config import LirfError
from lirf_kit.data import load_dataset
from lirf_kit.depositing import deposit, start_deposit
from lirf_kit.devices import prepare, progress_bar
from lirf_kit.metrics import results_table
from lirf_kit.networks import build_network
from lirf_kit.partition import split_by_class
from lirf_kit.training import train_original
from lirf_kit.withdrawing import withdraw

DEPOSIT_SHARE = 0.3  # of the classes, as in the paper's tables


def load_or_train(data, config):
    """Return the original network: loaded if this config trained it on this data before, else trained and kept.

    After an interrupt the network of the last finished epoch is returned, and the next call goes on from there.

    Parameters
    ----------
    data : Dataset
    config : Config
        As for `train_original`.

    Returns
    -------
    SplitNetwork
        What `train_original` returns, weights and history alike.
    """
    made_from = {
        "config": config.stages("seed", "network", "optimiser", "training"),
        "data": fingerprint(data.images, data.labels, data.train_indices, data.validation_indices, data.test_indices),
    }
    found = load_run("original", made_from)
    if found is None:
        begun = load_run("unfinished", made_from)
        network = train_original(data, config, begun and {"tensors": begun[0], "plain": begun[1]})
        if network.checkpoint is not None:
            save_run("unfinished", made_from, network.checkpoint["tensors"], network.checkpoint["plain"])
            return network
        save_run("original", made_from, network.layers.state_dict(), {"history": network.history})
        shutil.rmtree(run_folder("unfinished", made_from), ignore_errors=True)
        return network
    weights, metrics = found
    network = build_network(config, data.images.shape[1], len(data.class_names))
    network.layers.load_state_dict(weights)
    network.history = metrics["history"]
    prepare(network)
    return network.eval()


def load_or_deposit(original, deposit_set, config):
    """Return target and deposit module: loaded if this very deposit was made before, else made and kept.

    Parameters
    ----------
    original : SplitNetwork
    deposit_set : ImageData
    config : Config
        As for `deposit`.

    Returns
    -------
    target : SplitNetwork
    deposit_module : DepositModule
        What `deposit` returns, weights and history alike.
    """
    target, deposit_module = start_deposit(original, deposit_set, config)
    made_from = {
        "config": config.stages("seed", "optimiser", "deposit"),
        "data": fingerprint(deposit_set.images, deposit_set.labels),
        "indices": fingerprint(deposit_set.indices),
        "deposit_classes": list(deposit_set.deposit_classes),
        "original": fingerprint(*original.layers.state_dict().values()),
    }
    found = load_run("deposit", made_from)
    if found is None:
        target, deposit_module = deposit(original, deposit_set, config)
        both = {"target": target.layers, "deposit_module": deposit_module}
        weights = {f"{name}.{key}": value for name in both for key, value in both[name].state_dict().items()}
        save_run("deposit", made_from, weights, {"history": target.history})
        return target, deposit_module
    weights, metrics = found
    for name, module in {"target": target.layers, "deposit_module": deposit_module}.items():
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        module.load_state_dict(own)
    target.history = metrics["history"]
    return target, deposit_module


def random_deposit_sets(num_classes, count, seed):
    """Draw different sets of deposit classes, three classes of ten (the paper's share).

    Parameters
    ----------
    num_classes : int
        K.
    count : int
        How many sets.
    seed : int

    Returns
    -------
    list of tuple of int
    """
    size = max(1, round(DEPOSIT_SHARE * num_classes))
    if not 1 <= count <= math.comb(num_classes, size):
        raise LirfError(f"deposit_sets must be from 1 to {math.comb(num_classes, size)}, not {count}")
    generator = numpy.random.default_rng(seed)
    drawn = {}
    while len(drawn) < count:
        classes = generator.choice(num_classes, size, replace=False)
        drawn[tuple(sorted(int(number) for number in classes))] = None
    return list(drawn)


def results_over_seeds(config, seeds, deposit_sets=5, on="test"):
    """Repeat the whole path: for each seed one original, and a deposit and withdrawal of each of its deposit sets.

    Parameters
    ----------
    config : Config
    seeds : int
        So many, counted on from the config's own.
    deposit_sets : int
        How many random sets of classes each seed deposits, one at a time, always from the original.
    on : {"test", "validation"}
        Which part of the data is read.

    Returns
    -------
    pandas.DataFrame
        One row a network and run: seed, deposit classes, network, and the columns of `results_table`.
    """
    if seeds < 1:
        raise LirfError(f"seeds must be at least 1, not {seeds}")
    rows = []
    runs = [(seed, place) for seed in range(config.seed, config.seed + seeds) for place in range(deposit_sets)]
    for seed, place in progress_bar(runs, desc="seeds × deposit sets", unit="run"):
        if place == 0:
            turned = config.replace(seed=seed)
            data = load_dataset(turned)
            original = load_or_train(data, turned)
            if original.checkpoint is not None:  # interrupted: no row of a half-trained network
                raise KeyboardInterrupt
            sets = random_deposit_sets(len(data.class_names), deposit_sets, seed)
        parts = split_by_class(data, sets[place])
        target, deposit_module = load_or_deposit(original, parts.deposit_set, turned)
        networks = {"original": original, "target": target, "recovered": withdraw(target, deposit_module)}
        table = results_table(networks, parts, on)
        rows += [
            {"seed": seed, "deposit classes": sets[place], "network": name} | dict(table.loc[name]) for name in networks
        ]
    return pandas.DataFrame(rows)


def summary(results):
    """Return mean ± standard deviation over the runs of `results_over_seeds`.

    Parameters
    ----------
    results : pandas.DataFrame

    Returns
    -------
    pandas.DataFrame
        One row a network: the metrics, the differences ΔPre and ΔAvg to the original of the same run in points, and
        the number of runs n.
    """
    original = results[results["network"] == "original"]
    rows = {}
    for name, runs in results.groupby("network", sort=False):
        columns = {metric: runs[metric] for metric in ("Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean")}
        for metric in ("Pre", "Avg"):
            columns[f"Δ{metric}"] = runs[f"{metric} Acc"].values - original[f"{metric} Acc"]
        rows[name] = {column: _spread(values, column) for column, values in columns.items()} | {"n": len(runs)}
    return pandas.DataFrame.from_dict(rows, orient="index")


def _spread(values, column):
    """Write values as mean ± standard deviation, a difference with its sign; a dash where there are none."""
    if values.isna().all():
        return "–"
    return f"{values.mean():{'+' if column.startswith('Δ') else ''}.2f} ± {values.std():.2f}"
