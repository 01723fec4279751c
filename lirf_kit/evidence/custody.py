"""What a deposit module costs in bytes, what it brings back, and what a thief of it gets: each container beside others.

The comparison is meant to be fair: if you may keep the original's lower blocks, rounded to a few bits, you need no
deposit module at all.
"""

import math

import pandas
import torch

from lirf_kit.config import check_choice
from lirf_kit.data.partition import split_by_class
from lirf_kit.evidence.experiments import over_grid
from lirf_kit.evidence.readings import check_parts
from lirf_kit.evidence.references import another_seed
from lirf_kit.evidence.relearning import train_on
from lirf_kit.evidence.thieves import untaught
from lirf_kit.method.caching import load_or_deposit, load_or_train
from lirf_kit.method.containers import DepositModule, DifferenceModule, module_bytes, round_module
from lirf_kit.method.networks import SplitNetwork, accuracy, answers, split
from lirf_kit.method.withdrawing import RecoveredNetwork

BITS = (1, 2, 3, 4, 8)
ROUNDED = (4, 8)  # bits for what has its own weights: the original's lower blocks, and pruned modules
KEEPS = (0.5, 0.3)


def custody_table(original, parts, config, on="validation", bits=BITS, keeps=KEEPS):
    """Compare ways to keep what the target has forgotten.

    - *difference*: T_0^(-n) − T^(-n) in a few bits.
    - *pruned*: the paper's, a smaller copy of the lower blocks, trained; in float32, and rounded to 8 and 4 bits.
    - *original*: simply the original's lower blocks, rounded to 8 and 4 bits, with no deposit module at all.

    Parameters
    ----------
    original : SplitNetwork
    parts : Partition
        From a split by class.
    config : Config
        The deposit's knobs; `container`, `bits` and `keep` are set here.
    on : {"validation", "test"}
    bits : sequence of int
        Of the differences.
    keeps : sequence of float
        Of the pruned modules. Each costs one deposit.

    Returns
    -------
    pandas.DataFrame
        One row per container: kind, setting, bytes on disk and their share of the lower blocks'. Then, of the recovered
        network, Pre, Dep and Avg Acc; "mean", its Avg Acc with ``preserved="mean"``; "trained on", its Avg Acc if the
        target was first trained further on preserved images. All in percent, arg max over all classes. And what a thief
        gets, who has the shared upper blocks: the share of deposit images that the module "alone" recognises (a
        difference is added to lower blocks that have learnt nothing), and with the "wrong target" of another deposit of
        the same classes from the same original; arg max over the deposit classes, so chance is one in k. Both are NaN
        for a single deposit class: an arg max over one class is always right and says nothing about a thief.

    Raises
    ------
    LirfError
        If a class has no images.
    """
    check_parts(parts, on)
    read, stolen = getattr(parts, on), getattr(parts, f"deposit_{on}")
    deposited = torch.tensor(parts.deposit_set.deposit_classes)
    difference = config.replace(container="difference")
    target, _ = load_or_deposit(original, parts.deposit_set, difference)
    wrong, _ = load_or_deposit(original, parts.deposit_set, another_seed(difference))  # the images in another order
    since = train_on(target, parts.preservation_set, config)
    fresh = untaught(target)
    several = len(deposited) > 1
    whole, rows = module_bytes(DepositModule(target.lower, deposited)), []
    for kind, setting, module in _containers(original, target, parts, config, bits, keeps):
        recovered = {name: RecoveredNetwork(network, module) for name, network in {"": target, "since": since}.items()}
        recovered["mean"] = RecoveredNetwork(target, module, "mean")
        found = {name: _accuracies(network, read) for name, network in recovered.items()}
        thief = {"alone": SplitNetwork(module.restore(fresh), target.upper)}
        thief["wrong target"] = SplitNetwork(module.restore(wrong), target.upper)
        size = module_bytes(module)
        rows.append(
            {"kind": kind, "setting": setting, "bytes": size, "share": size / whole}
            | found[""]
            | {"mean": found["mean"]["Avg Acc"], "trained on": found["since"]["Avg Acc"]}
            | {name: accuracy(network, stolen, "part") if several else math.nan for name, network in thief.items()}
        )
    return pandas.DataFrame(rows)


def custody_over_seeds(config, seeds, deposit_sets=5, on="test", jobs=None):
    """Repeat `custody_table` over seeds and deposit sets; runs that are on disk are loaded.

    Parameters
    ----------
    config, seeds, deposit_sets, on, jobs
        As for `results_over_seeds`.

    Returns
    -------
    pandas.DataFrame
        One row per run and container: seed, deposit classes, and the columns of `custody_table`; "original" is the
        original's Avg Acc.
    """
    check_choice("on", on, ("validation", "test"))
    return over_grid("custody", _measure, (on,), config, seeds, deposit_sets, jobs)


def custody_summary(results):
    """Return the means over the runs of `custody_over_seeds`, Avg Acc as the difference from the original's.

    Returns
    -------
    pandas.DataFrame
        One row per kind and setting: bytes, share in percent, ΔPre, ΔDep, ΔAvg, "mean", "trained on" (all in points),
        "alone", "wrong target" (in percent), and the number of runs n.
    """
    changed = results.copy()
    for name in ("Pre Acc", "Dep Acc", "Avg Acc"):
        changed[f"Δ{name[:3]}"] = results[name] - results[f"original's {name}"]
    changed["mean"] -= results["original's Avg Acc"]
    changed["trained on"] -= results["original's Avg Acc"]
    changed["share"] *= 100
    groups = changed.groupby(["kind", "setting"], sort=False)
    columns = ["bytes", "share", "ΔPre", "ΔDep", "ΔAvg", "mean", "trained on", "alone", "wrong target"]
    return groups[columns].mean().round(2).assign(n=groups.size())


def _measure(data, config, deposit_classes, on):
    """Make one run's containers and compare them."""
    parts = split_by_class(data, deposit_classes)
    original = load_or_train(data, config)
    before = {f"original's {name}": value for name, value in _accuracies(original, getattr(parts, on)).items()}
    return custody_table(original, parts, config, on).assign(**before).to_dict("records")


def _containers(original, target, parts, config, bits, keeps):
    """Yield the kind and the setting of each container, and the module."""
    cut, classes = split(original, config.split_after), parts.deposit_set.deposit_classes
    for count in bits:
        module = DifferenceModule(target.lower, classes, count, config.batch_statistics == "updated")
        module.hold(cut.lower, target)
        yield "difference", _bits(count), module
    for keep in keeps:
        pruned = config.replace(container="pruned", keep=keep)
        _, module = load_or_deposit(original, parts.deposit_set, pruned)
        yield "pruned", f"keep {keep:g}", module
        for count in ROUNDED:
            yield "pruned, rounded", f"keep {keep:g}, {_bits(count)}", round_module(module, count)
    for count in ROUNDED:
        yield "original, rounded", _bits(count), round_module(DepositModule(cut.lower, classes), count)


def _accuracies(network, part):
    """Return Pre, Dep and Avg Acc, in percent."""
    right = (answers(network, part) == part.labels).double()
    deposited = torch.isin(part.labels, torch.tensor(part.deposit_classes, device=part.labels.device))
    chosen = {"Pre Acc": ~deposited, "Dep Acc": deposited, "Avg Acc": deposited | True}
    return {name: 100 * float(right[which].mean()) for name, which in chosen.items()}


def _bits(count):
    return f"{count} bit{'s' * (count > 1)}"
