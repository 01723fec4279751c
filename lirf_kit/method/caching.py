"""The expensive steps of the path: loaded from disk if they were done before.

If another process is at the same step, they wait for it and load what it has made.
"""

import shutil

from lirf_kit.artifacts import fingerprint, load_run, run_folder, save_run, turn_to_make
from lirf_kit.method.depositing import finish_deposit, start_deposit
from lirf_kit.method.networks import build_network, prepare
from lirf_kit.method.training import train_original


def load_or_train(data, config):
    """Return the original network: loaded if this config trained it on this data before, else trained and saved.

    If you interrupt the training, you get the network of the last finished epoch, and the next call continues there. If
    the process is killed, the next call continues at most `KEEP_EVERY` seconds and one epoch before.

    Parameters
    ----------
    data : Dataset
    config : Config
        As for `train_original`.

    Returns
    -------
    SplitNetwork
        The same as from `train_original`, including its history.
    """
    made_from = {  # everything the weights depend on; any change is a different run
        "config": config.stages("seed", "network", "optimiser", "training"),
        "data": fingerprint(data.images, data.labels, data.train_indices, data.validation_indices, data.test_indices),
    }
    found = load_run("original", made_from)
    if found is None:
        with turn_to_make("original", made_from) as found:
            if found is None:
                return _train(data, config, made_from)
    weights, metrics = found
    network = build_network(config, data.images.shape[1], len(data.class_names))
    network.layers.load_state_dict(weights)  # the drawn weights and the normalisation are overwritten
    network.history = metrics["history"]
    prepare(network)
    return network.eval()


def _train(data, config, made_from):
    """Train the original, from where an earlier call was interrupted or killed, and save it."""

    def keep(checkpoint):
        save_run("unfinished", made_from, checkpoint["tensors"], checkpoint["plain"])

    begun = load_run("unfinished", made_from)
    network = train_original(data, config, begun and {"tensors": begun[0], "plain": begun[1]}, keep)
    if network.checkpoint is not None:  # interrupted: save what was reached, for the next call
        keep(network.checkpoint)
        return network
    save_run("original", made_from, network.layers.state_dict(), {"history": network.history})
    shutil.rmtree(run_folder("unfinished", made_from), ignore_errors=True)
    return network


def load_or_deposit(original, deposit_set, config, teacher=None, gone=()):
    """Return target and deposit module: loaded if the same deposit was made before, else made and saved.

    Parameters
    ----------
    original : SplitNetwork
    deposit_set : ImageData
    config : Config
    teacher : SplitNetwork, optional
    gone : iterable of int
        As for `deposit`.

    Returns
    -------
    target : SplitNetwork
    deposit_module : DepositModule
        The same as from `deposit`, including the target's history.
    """
    # cheap: it checks the input, and builds networks to train, or of the right shapes to load the weights into
    target, deposit_module = start_deposit(original, deposit_set, config, teacher, gone)
    made_from = {
        "config": config.stages("seed", "optimiser", "deposit"),
        "data": fingerprint(deposit_set.images, deposit_set.labels),
        "indices": fingerprint(deposit_set.indices),
        "deposit_classes": deposit_set.deposit_classes and list(deposit_set.deposit_classes),
        "original": fingerprint(*original.layers.state_dict().values()),  # T_0's weights, however they were made
    }
    if gone or teacher is not None:
        made_from["gone"] = sorted(gone)
        made_from["teacher"] = teacher and fingerprint(*teacher.layers.state_dict().values())
    both = {"target": target.layers, "deposit_module": deposit_module}
    found = load_run("deposit", made_from)
    if found is None:
        with turn_to_make("deposit", made_from) as found:
            if found is None:
                finish_deposit(original, target, deposit_module, deposit_set, config, teacher, gone)
                # one file for both, so that a target is never paired with another deposit's module
                weights = {f"{name}.{key}": value for name in both for key, value in both[name].state_dict().items()}
                save_run("deposit", made_from, weights, {"history": target.history})
                return target, deposit_module
    weights, metrics = found
    for name, module in both.items():
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        module.load_state_dict(own)
    target.history = metrics["history"]
    return target, deposit_module
