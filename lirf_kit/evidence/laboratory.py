"""The laboratory: every test on the same networks, in one table, against networks that never saw the deposit classes.

No single test proves forgetting, and zero is not the goal: a *retrained* network tells the deposit classes apart as
well, only less. Two retrained networks differ too, and that difference is the yardstick: a network that is no further
from their mean cannot be told from one that never saw the deposit classes.
"""

import math

import pandas

from lirf_kit.config import check_choice
from lirf_kit.evidence.distillation import distillation_table
from lirf_kit.evidence.few_shot import SHOTS, check_shots, few_shot_table
from lirf_kit.evidence.membership import members_and_unseen, membership_table
from lirf_kit.evidence.probes import NEIGHBOURS, check_tasks, probe_table
from lirf_kit.evidence.readings import (
    AGAINST,
    TASKS,
    YARDSTICK,
    check_networks,
    check_parts,
    read_features,
    training_images,
)
from lirf_kit.evidence.relearning import relearn, relearning_table
from lirf_kit.evidence.streisand import streisand_table
from lirf_kit.evidence.thieves import thief_table

DIGITS = {"%": 1, "nats": 2, "cosine": 2, "ratio": 2, "classes": 0, "steps": 0}  # how a unit is written


def evidence_table(
    networks, parts, config, on="validation", per_class=None, tasks=TASKS, relearning=False, teachers=()
):
    """Put every network through every test.

    Measured on the digits with eight networks and one CPU core: 11 seconds, 15 more for relearning, and 40 for students
    of four teachers.

    Parameters
    ----------
    networks : dict of str to nn.Module
        With lower blocks, as many as there are of: "original", targets, "recovered", "head masking", "untrained" (see
        `untrained_network`), and the yardstick, at least two networks whose names begin with "retrained".
    parts : Partition
        Of a split by class.
    config : Config
        Reads `split_after` and the seed.
    on : {"validation", "test"}
        Which unseen images are read.
    per_class : int, optional
        At most so many training images of each class for the probes; else all of them.
    tasks : sequence of str
        What the probes are asked; leave "deposit classes only" out where there is only one.
    relearning : bool
        Also train every network on, as `relearn` does.
    teachers : sequence of str
        Also train students of these networks, as `distillation_table` does.

    Returns
    -------
    pandas.DataFrame
        As `with_yardstick` returns it, one row a test, task and network.

    Raises
    ------
    LirfError
        Before anything is computed, if a class has no images or too few, a network no lower blocks, or a single deposit
        class is to be told apart.
    """
    check_parts(parts, on)
    check_networks(networks)
    train = training_images(parts, config.seed, per_class)
    check_tasks(tasks, train, NEIGHBOURS)
    check_shots(SHOTS, train)
    members_and_unseen(parts, on)
    for name in teachers:
        check_choice("teachers", name, tuple(networks))
    readings = read_features(networks, parts, config, on, per_class)
    tables = [
        thief_table(networks, parts, on),
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
    """Add what networks show that never saw the deposit classes, and a sentence that reads each row.

    Parameters
    ----------
    table : pandas.DataFrame
        Tidy, of any of the tests.

    Returns
    -------
    pandas.DataFrame
        With the columns "retrained" (the mean), "spread" (largest − smallest, NaN for a single retrained network) and
        "reads".
    """
    values = table[table["network"].str.startswith(YARDSTICK)].groupby(["test", "task"], sort=False)["value"]
    spread = (values.max() - values.min()).where(values.count() > 1)
    yardstick = pandas.DataFrame({"retrained": values.mean(), "spread": spread})
    table = table.join(yardstick, on=["test", "task"])
    return table.assign(reads=table.apply(_read, axis=1))


def _read(row):
    """Say in a sentence what a row shows: as if never seen, where it lies no further off than the spread."""
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
        return f"{said}, of which a second one is needed to judge by"
    if abs(row["value"] - row["retrained"]) <= row["spread"]:
        return f"{said} that differ by {spread:g}: as if never seen"
    meaning = row["higher means"] if value > mean else row["higher means"].replace("more", "less")
    return f"{said} that differ by {spread:g}: {meaning}"
