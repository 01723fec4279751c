"""The laboratory: all tests on the same networks, compared with networks that never saw the deposit classes.

No single test proves forgetting, and a score of zero is not the goal: a *retrained* network can tell the deposit
classes apart too, only less well. Two retrained networks also differ from each other, and that difference is the
yardstick: a network that is no further than this from their mean can't be told from one that never saw the deposit
classes.
"""

import math

import pandas

from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.images import load_dataset
from lirf_kit.data.partition import split_by_class
from lirf_kit.evidence.distillation import distillation_table
from lirf_kit.evidence.experiments import over_grid
from lirf_kit.evidence.few_shot import SHOTS, check_shots, few_shot_table
from lirf_kit.evidence.membership import members_and_unseen, membership_table
from lirf_kit.evidence.probes import NEIGHBOURS, check_tasks, probe_table
from lirf_kit.evidence.readings import (
    AGAINST,
    ALL,
    TASKS,
    YARDSTICK,
    check_input,
    check_per_class,
    read_features,
    training_images,
    untrained_network,
)
from lirf_kit.evidence.recalibration import recalibration_table
from lirf_kit.evidence.references import ANSWERS_ONLY, OUTPUT_ALONE, another_seed, mask_head, retrain
from lirf_kit.evidence.relearning import relearn, relearning_table
from lirf_kit.evidence.streisand import streisand_table
from lirf_kit.evidence.thieves import thief_table
from lirf_kit.method.caching import load_or_deposit, load_or_train
from lirf_kit.method.withdrawing import withdraw

DIGITS = {"%": 1, "nats": 2, "cosine": 2, "ratio": 2, "classes": 0, "steps": 0}  # decimal places for each unit


def evidence_networks(original, data, parts, config):
    """Return the networks that the laboratory compares; those that are already on disk are loaded.

    Parameters
    ----------
    original : SplitNetwork
    data : Dataset
    parts : Partition
        From a split by class.
    config : Config

    Returns
    -------
    dict of str to nn.Module
        "original"; "target, output alone" (λ_cs = λ_os = 0; left out if the config has these); "target" and
        "recovered"; "retrained" and "retrained, another seed", the yardstick; "head masking" and "untrained", the
        controls.
    """
    target, deposit_module = load_or_deposit(original, parts.deposit_set, config)
    networks = {"original": original}
    outside = config.replace(**OUTPUT_ALONE)
    if outside != config:
        networks[ANSWERS_ONLY] = load_or_deposit(original, parts.deposit_set, outside)[0]
    another = another_seed(config)
    return networks | {
        "target": target,
        "recovered": withdraw(target, deposit_module),
        "retrained": retrain(data, parts, config),
        "retrained, another seed": retrain(data, parts, another),
        "head masking": mask_head(original, parts.deposit_set.deposit_classes),
        "untrained": untrained_network(parts, another),
    }


def evidence_over_seeds(config, seeds, deposit_sets=5, on="test", per_class=None, relearning=False, jobs=None):
    """Repeat `evidence_table` over seeds and deposit sets; runs that are on disk are loaded.

    Parameters
    ----------
    config, seeds, deposit_sets, on, jobs
        As for `results_over_seeds`.
    per_class, relearning
        As for `evidence_table`.

    Returns
    -------
    pandas.DataFrame
        One row per run, test, task and network: seed, deposit classes, and the columns of `evidence_table`.

    Raises
    ------
    LirfError
        As for `results_over_seeds`; before any training, if there are too few training images for the tests.
    """
    check_choice("on", on, ("validation", "test"))
    check_per_class(per_class)
    if per_class is not None and per_class < max(SHOTS):
        raise LirfError(f"per_class must be at least {max(SHOTS)}, the most shots of a few-shot test, not {per_class}")
    check_shots(SHOTS, load_dataset(config).train)
    return over_grid("evidence", _measure, (on, per_class, relearning), config, seeds, deposit_sets, jobs)


def _measure(data, config, deposit_classes, on, per_class, relearning):
    """Make the networks of one run and put them through the tests."""
    parts = split_by_class(data, deposit_classes)
    networks = evidence_networks(load_or_train(data, config), data, parts, config)
    tasks = TASKS if len(deposit_classes) > 1 else (ALL, AGAINST)  # a single class has none to be told from
    table = evidence_table(networks, parts, config, on, per_class, tasks, relearning)
    return table.drop(columns=["retrained", "spread", "reads"]).to_dict("records")


def evidence_summary(results):
    """Average every test over the runs, and work out how far each network has moved towards a retrained one.

    Parameters
    ----------
    results : pandas.DataFrame
        From `evidence_over_seeds`.

    Returns
    -------
    pandas.DataFrame
        One row per test, task and network, with the columns of `evidence_table`. Here "value" is the mean over the
        runs, and "spread" the standard deviation of the retrained networks over all runs. Further columns: "deviation",
        the network's own standard deviation over the runs; "n", the number of runs; and "closed", how much of the gap
        between the original and the retrained networks the network has closed, in percent: at 100 it has reached the
        retrained networks' mean, above 100 it has gone past it. If only some runs have a note, it says how many.
    """
    by = ["test", "task", "network"]
    groups = results.groupby(by, sort=False)
    table = groups[["unit", "higher means"]].first().join(groups["value"].agg(value="mean", deviation="std", n="count"))
    table = table.join(groups["note"].agg(_common_note)).reset_index()
    never_seen = results[results["network"].str.startswith(YARDSTICK)].groupby(by[:2], sort=False)["value"]
    table = table.join(pandas.DataFrame({"retrained": never_seen.mean(), "spread": never_seen.std()}), on=by[:2])
    original = table[table["network"] == "original"].set_index(by[:2])["value"]
    before = table.join(original.rename("original"), on=by[:2])["original"]
    gap = (before - table["retrained"]).where(lambda gap: gap.abs() > 0)
    table["closed"] = 100 * (before - table["value"]) / gap
    return table.assign(reads=_reads(table))


def _common_note(notes):
    """Return the notes of several runs, each once, with the number of runs if not all have it."""
    counts = notes[notes != ""].value_counts(sort=False)
    return "; ".join(
        note if count == len(notes) else f"{note}: {count} of {len(notes)} runs" for note, count in counts.items()
    )


def protocol(on, per_class=None, relearning=False):
    """Say in words what `evidence_over_seeds` measures, and what its tests learn from."""
    seen = "all training images" if per_class is None else f"at most {per_class} training images of each class"
    return f"{on} part; the tests learn from {seen}; {'with' if relearning else 'without'} relearning"


def evidence_table(
    networks, parts, config, on="validation", per_class=None, tasks=TASKS, relearning=False, teachers=()
):
    """Put every network through every test.

    With eight networks on the digits and one CPU core, this took 11 seconds, 15 more with relearning, and 40 more with
    students of four teachers.

    Parameters
    ----------
    networks : dict of str to nn.Module
        Networks with lower blocks; as many of these as you have: "original", targets, "recovered", "head masking",
        "untrained" (see `untrained_network`), and the yardstick, at least two networks whose names begin with
        "retrained".
    parts : Partition
        From a split by class.
    config : Config
        Reads `split_after` and the seed.
    on : {"validation", "test"}
        Which unseen images to use.
    per_class : int, optional
        How many training images of each class to use at most (for relearning, how many images to measure on);
        None: all.
    tasks : sequence of str
        What to ask the probes; leave out "deposit classes only" if there is only one deposit class.
    relearning : bool
        Also continue training every network, as `relearn` does.
    teachers : sequence of str
        Also train students of these networks, as `distillation_table` does.

    Returns
    -------
    pandas.DataFrame
        As `with_yardstick` returns it, one row per test, task and network.

    Raises
    ------
    LirfError
        Before anything is computed, if a class has no images or too few, or a network has no lower blocks, or the tasks
        include "deposit classes only" and there is only one deposit class.
    """
    check_input(networks, parts, on)
    train = training_images(parts, config.seed, per_class)
    check_tasks(tasks, train, NEIGHBOURS)
    check_shots(SHOTS, train)
    members_and_unseen(parts, on)
    for name in teachers:
        check_choice("teachers", name, tuple(networks))
    readings = read_features(networks, parts, config, on, per_class)
    tables = [
        thief_table(networks, parts, on),
        recalibration_table(networks, parts, config, on, per_class),
        probe_table(readings, config, tasks=tasks),
        few_shot_table(readings, config, tasks=[task for task in tasks if task != AGAINST]),
        membership_table(networks, parts, config, on),
        streisand_table(networks, parts, config, on),
    ]
    if relearning:
        tables.append(relearning_table(relearn(networks, parts, config, on, per_class=per_class)))
    if teachers:
        taught = {name: networks[name] for name in teachers}
        tables.append(distillation_table(taught, parts, config, on, per_class=per_class))
    return with_yardstick(pandas.concat(tables, ignore_index=True))


def with_yardstick(table):
    """Add the results of networks that never saw the deposit classes, and a sentence that interprets each row.

    Parameters
    ----------
    table : pandas.DataFrame
        Tidy, from any of the tests.

    Returns
    -------
    pandas.DataFrame
        With the columns "retrained" (the mean), "spread" (largest − smallest, NaN for a single retrained network) and
        "reads". If a test finds nothing even in the original, it says nothing about the others; "reads" says so.
    """
    values = table[table["network"].str.startswith(YARDSTICK)].groupby(["test", "task"], sort=False)["value"]
    spread = (values.max() - values.min()).where(values.count() > 1)
    yardstick = pandas.DataFrame({"retrained": values.mean(), "spread": spread})
    table = table.join(yardstick, on=["test", "task"])
    return table.assign(reads=_reads(table))


def _reads(table):
    """Return a sentence for each row."""
    inside = (table["value"] - table["retrained"]).abs() <= table["spread"]
    original = inside & (table["network"] == "original")
    blind = original.groupby([table["test"], table["task"]]).transform("any")
    said = table.apply(_read, axis=1)
    doubtful = blind & said.str.endswith("as if never seen")
    return said.mask(doubtful, said + ", but this test can't tell the original from them either")


def _read(row):
    """Say in a sentence what a row shows; "as if never seen" if it is no further from the mean than the spread."""
    value, mean, spread = (
        math.nan if pandas.isna(number) else round(number, DIGITS[row["unit"]])
        for number in (row["value"], row["retrained"], row["spread"])
    )
    said = f"{row['network']}: {value:g} {row['unit']}" + (f" ({row['note']})" if row["note"] else "")
    if row["network"].startswith(YARDSTICK):
        return f"{said}, without ever having seen the deposit classes"
    if math.isnan(mean):
        return f"{said}, and no retrained network to compare with"
    said += f", against {mean:g} in retrained networks"
    if math.isnan(spread):
        return f"{said}, but it takes a second one to judge"
    if abs(row["value"] - row["retrained"]) <= row["spread"]:
        return f"{said} that differ by {spread:g}: as if never seen"
    meaning = row["higher means"] if value > mean else row["higher means"].replace("more", "less")
    return f"{said} that differ by {spread:g}: {meaning}"
