"""What a knowledge bank forgets, keeps and brings back, in every state; what it costs; and what order does to it."""

import itertools

import numpy
import pandas
import torch

from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.images import load_dataset
from lirf_kit.data.partition import split_by_class
from lirf_kit.evidence.experiments import draw_sets, joined, over_grid
from lirf_kit.evidence.metrics import class_accuracies
from lirf_kit.method.bank import KnowledgeBank
from lirf_kit.method.caching import load_or_train
from lirf_kit.method.containers import module_bytes
from lirf_kit.method.pruning import count_parameters

EVERY_SUBSET = 3  # deposits, up to which all 2^k subsets are withdrawn; with more, each one alone, and all together


def bank_states(bank):
    """Return the networks that a bank can give: its target, and every subset of its modules withdrawn.

    With more than three modules, only each one alone and all together.

    Parameters
    ----------
    bank : KnowledgeBank
        With at least one module.

    Returns
    -------
    dict of str to nn.Module
        By the names of the withdrawn deposits, ``"a + c"``; the target is ``"none"``.
    """
    sizes = range(1, len(bank) + 1) if len(bank) <= EVERY_SUBSET else (1, len(bank))
    subsets = [subset for size in sizes for subset in itertools.combinations(bank, size)]
    return {"none": bank.target} | {" + ".join(subset): bank.withdraw(*subset) for subset in subsets}


def bank_costs(bank, original):
    """Compare what a bank stores with keeping a network for each subset, and with keeping the original.

    Parameters
    ----------
    bank : KnowledgeBank
    original : SplitNetwork

    Returns
    -------
    pandas.DataFrame
        One row per way to keep the knowledge: parameters, and bytes (a network's weights in float32, a module's file).
    """
    whole = sum(value.nbytes for value in original.state_dict().values())
    each = count_parameters(original)
    module_parameters = [count_parameters(bank[name]) for name in bank]
    sizes = [module_bytes(bank[name]) for name in bank]
    subsets = 2 ** len(bank)
    rows = {
        "the target alone": (each, whole),
        f"the bank: the target and {len(bank)} modules": (each + sum(module_parameters), whole + sum(sizes)),
        "the target, and the original in a safe": (2 * each, 2 * whole),
        f"a network for each of the {subsets} subsets": (subsets * each, subsets * whole),
    }
    return pandas.DataFrame.from_dict(rows, orient="index", columns=["parameters", "bytes"])


def bank_over_seeds(config, seeds, sizes=(1, 1, 1), choices=3, orders=1, on="test", teacher="original", jobs=None):
    """Make deposits one after the other, withdraw every subset, and repeat this over seeds and choices of classes.

    Parameters
    ----------
    config : Config
    seeds : int or iterable of int
        As for `results_over_seeds`.
    sizes : sequence of int
        How many classes each deposit takes out.
    choices : int
        Of classes, drawn at random for each seed.
    orders : int
        In how many orders the same deposits are made; at most k! are different.
    on : {"test", "validation"}
    teacher : {"original", "target"}
        As for `KnowledgeBank`.
    jobs : int, optional
        As for `results_over_seeds`.

    Returns
    -------
    pandas.DataFrame
        One row per run, order and state of the bank. "state" is "deposit 1", "deposit 2", …, after each deposit, then
        "1 back", "2 back", … for subsets of the modules. "kept", "back" and "known": the accuracy on the images of the
        classes that were never deposited, of those withdrawn, and of both, minus the original's, in points; "worst
        kept" and "worst back": of a single class. "forgotten": the highest accuracy on a class that is out, in percent.
        Arg max over all classes.

    Raises
    ------
    LirfError
        If the sizes leave no class, or as `results_over_seeds` does.
    """
    check_choice("on", on, ("test", "validation"))
    check_choice("teacher", teacher, ("original", "target"))
    sizes = tuple(sizes)
    num_classes = len(load_dataset(config).class_names)
    if not sizes or min(sizes) < 1 or sum(sizes) >= num_classes:
        raise LirfError(f"sizes must be at least 1 each and add up to less than {num_classes} classes, not {sizes}")
    seeds = range(config.seed, config.seed + seeds) if isinstance(seeds, int) else seeds
    found = []
    for seed in seeds:
        sets = draw_sets(num_classes, sum(sizes), choices, seed)
        found.append(over_grid("bank", _measure, (sizes, orders, on, teacher), config, [seed], sets, jobs))
    return joined(found)


def bank_summary(results):
    """Return means over the runs of `bank_over_seeds`, with the worst single run beside each.

    Returns
    -------
    pandas.DataFrame
        One row per state, columns as there; "±" is the standard deviation of "known" over the runs.
    """
    groups = results.groupby("state", sort=False)
    table = groups[["kept", "back", "known"]].mean().round(2)
    table.insert(3, "± known", groups["known"].std().round(2))
    lowest = groups[["worst kept", "worst back"]].min().round(1)
    highest = groups["forgotten"].max().round(1).rename("most remembered")
    return table.join(groups["forgotten"].mean().round(2)).join(highest).join(lowest).assign(n=groups.size())


def order_spread(results):
    """Return how much the order of the deposits changes the results.

    Returns
    -------
    pandas.DataFrame
        One row per state: the mean over runs of the largest minus the smallest value that the orders give, in points,
        of "kept", "back" and "known", and the number of runs n.
    """
    columns = ["kept", "back", "known"]
    same = results.groupby(["state", "seed", "deposit classes", "subset"], sort=False)[columns]
    spread = (same.max() - same.min()).groupby("state", sort=False)
    return spread.mean().round(2).assign(n=spread.size())


def _measure(data, config, deposit_classes, sizes, orders, on, teacher):
    """Make one choice's deposits in some orders, and measure every state of the bank."""
    original = load_or_train(data, config)
    shuffled = numpy.random.default_rng(config.seed).permutation(deposit_classes).tolist()
    ends = numpy.cumsum(sizes)
    sets = {chr(97 + place): sorted(shuffled[end - size : end]) for place, (size, end) in enumerate(zip(sizes, ends))}
    part = getattr(data, on)
    before, images = class_accuracies({"": original}, part)[""], torch.bincount(part.labels.cpu()).numpy()
    rows = []
    for order in itertools.islice(itertools.permutations(sets), orders):
        bank, run = KnowledgeBank(original, config, teacher), {"deposits": str(list(sets.values()))}
        run["order"] = " ".join(order)
        states = []
        for count, name in enumerate(order, 1):
            bank.deposit(name, split_by_class(data, sets[name]).deposit_set)
            states.append((f"deposit {count}", "", bank.target, order[:count], ()))
        for label, network in list(bank_states(bank).items())[1:]:  # the first is the target, as after the last deposit
            subset = label.split(" + ")
            out = [name for name in order if name not in subset]
            states.append((f"{len(subset)} back", " ".join(sorted(subset)), network, out, subset))
        for state, subset, network, out, back in states:
            now = class_accuracies({"": network}, part)[""]
            classes = [[number for name in names for number in sets[name]] for names in (out, back)]
            rows.append(run | {"state": state, "subset": subset} | _reading(now, before, images, *classes))
    return rows


def _reading(now, before, images, out, back):
    """Return what the accuracies by class say about one state of a bank."""
    change = (now - before).to_numpy()
    kept = [number for number in range(len(change)) if number not in out and number not in back]

    def pooled(classes):
        return float(numpy.average(change[classes], weights=images[classes])) if classes else None

    return {
        "kept": pooled(kept),
        "worst kept": float(change[kept].min()),
        "forgotten": float(now.iloc[out].max()) if out else None,
        "back": pooled(back),
        "worst back": float(change[back].min()) if back else None,
        "known": pooled(kept + back),
    }
