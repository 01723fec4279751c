"""How quickly do the deposit classes come back when a network is trained on?

What is only hidden comes back in a few steps; what is gone has to be learnt again (Golatkar et al. 2020, relearning
time). Every network relearns, so no curve means anything alone: the standards are a retrained network and learning from
scratch, and shuffled labels show how much of it is only the habit of answering with a deposit class.
"""

import copy

import pandas
import torch
from torch.nn import functional

from lirf_kit.config import LirfError, check_choice
from lirf_kit.devices import cpu_threads, progress_bar, seeded_generator
from lirf_kit.evidence.few_shot import check_shots
from lirf_kit.evidence.readings import check_networks, check_parts, limited, tidy
from lirf_kit.evidence.references import HeadMaskedNetwork
from lirf_kit.method.networks import accuracy

SCENARIOS = ("labelled", "preserved only", "shuffled labels")
STEPS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SCRATCH = "untrained"  # the network whose relearning is learning from scratch
REHEARSED = 32  # preserved images in every batch


def relearn(
    networks, parts, config, on="validation", shots=5, scenarios=SCENARIOS, steps=STEPS, rate=0.01, per_class=None
):
    """Train copies of every network on, and read their accuracy on the way.

    - *labelled*: k labelled images of each deposit class.
    - *preserved only*: no deposit image at all. Does it come back by itself?
    - *shuffled labels*: the same k images, their labels shuffled among them: the control.

    Every batch also has 32 preserved training images, so that Pre Acc stays up and the curves compare networks that are
    equally good at the rest. A network that starts more than a point below the best, asked among the preserved classes
    alone, gets a note; learning from scratch always does. All weights learn, the network's own classifier included, by
    SGD with momentum 0.9; BatchNorm follows the batches. A thief takes head masking off first.

    Parameters
    ----------
    networks : dict of str to nn.Module
        With lower blocks; left as they are.
    parts : Partition
        Of a split by class.
    config : Config
        Reads the seed, which draws the images, and `threads`.
    on : {"validation", "test"}
        What the accuracies are read on.
    shots : int
        k.
    scenarios : sequence of str
        As above.
    steps : sequence of int
        After how many steps the accuracies are read; the training ends with the last one.
    rate : float
        Learning rate.
    per_class : int, optional
        The accuracies are read on at most so many images of each class.

    Returns
    -------
    pandas.DataFrame
        The columns scenario, network, step, Dep Acc and Pre Acc (percent, arg max over all classes), and note.

    Raises
    ------
    LirfError
        If a class has no images or fewer than k, a network no lower blocks, or the steps don't grow from 0.
    """
    check_parts(parts, on)
    check_networks(networks)
    check_shots((shots,), parts.deposit_set, parts.deposit_set.deposit_classes)
    for scenario in scenarios:
        check_choice("scenarios", scenario, SCENARIOS)
    if list(steps) != sorted(set(steps)) or list(steps)[:1] != [0]:
        raise LirfError(f"steps must be whole numbers that grow from 0, not {steps!r}")
    read = [limited(getattr(parts, f"{part}_{on}"), config.seed, per_class) for part in ("deposit", "preservation")]
    few = limited(parts.deposit_set, config.seed, shots)
    notes, curves = _behind(networks, read[1]), []
    runs = [(scenario, name) for scenario in scenarios for name in networks]
    with cpu_threads(config):
        for scenario, name in progress_bar(runs, desc="relearn", unit="network"):
            images, labels = few.images, few.labels
            if scenario == "preserved only":
                images, labels = images[:0], labels[:0]
            if scenario == "shuffled labels":
                labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.seed))]
            learner = _learner(networks[name])
            generator = seeded_generator(config.seed, labels.device)
            batches = _batches(images, labels, parts.preservation_set, generator)
            for step, _ in enumerate(_train(learner, batches, rate)):
                if step in steps:
                    curves.append((scenario, name, step, *(accuracy(learner, part) for part in read), notes[name]))
                if step == steps[-1]:
                    break
    return pandas.DataFrame(curves, columns=["scenario", "network", "step", "Dep Acc", "Pre Acc", "note"])


def _learner(network):
    """Return a copy of a network that may learn with all of its weights."""
    learner = copy.deepcopy(network.original if isinstance(network, HeadMaskedNetwork) else network)
    return learner.requires_grad_(True)  # the target's upper blocks were frozen


def _behind(networks, preserved):
    """Return a note for each network that starts more than a point below the best."""
    starts = {name: accuracy(network, preserved, "part") for name, network in networks.items()}
    best = max(starts.values())
    return {name: f"starts {best - start:.1f} points behind" * (best - start > 1) for name, start in starts.items()}


def _batches(images, labels, preserved, generator):
    """Yield batches without end: always the same deposit images, and other preserved ones."""
    while True:
        chosen = torch.randint(len(preserved), (REHEARSED,), generator=generator, device=generator.device)
        rehearsed = preserved.select(chosen)
        yield torch.cat([images, rehearsed.images]), torch.cat([labels, rehearsed.labels])


def _train(learner, batches, rate):
    """Train in place; yield before each step."""
    optimiser = torch.optim.SGD(learner.parameters(), rate, momentum=0.9, nesterov=True)
    for images, labels in batches:
        yield
        learner.train()
        loss = functional.cross_entropy(learner(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def relearning_table(curves, threshold=50.0, after=(4, 16, 64)):
    """Return what the curves come to.

    Parameters
    ----------
    curves : pandas.DataFrame
        Of `relearn`.
    threshold : float
        A Dep Acc in percent: how many steps until it is reached?
    after : sequence of int
        The steps whose Dep Acc is reported, of those that were read.

    Returns
    -------
    pandas.DataFrame
        Tidy: Dep Acc after some steps; the first step read with at least `threshold`, or if there is none the last one
        and a note; and the ratio of that step to the one that learning from scratch needs, if "untrained" gets there.
    """
    rows, back = [], "the deposit classes come back more quickly"
    for scenario, runs in curves.groupby("scenario", sort=False):
        notes = runs.groupby("network", sort=False)["note"].first().to_dict()
        table = runs.pivot(index="step", columns="network", values="Dep Acc")[list(notes)]
        for step in (step for step in after if step in table.index):
            rows.append(
                tidy(f"relearning, {scenario}", f"after {step} steps", table.loc[step].to_dict(), "%", back, notes)
            )
        reached = {name: table.index[table[name] >= threshold] for name in notes}
        steps = {name: (found if len(found) else table.index[-1:])[0] for name, found in reached.items()}
        late = {name: "" if len(found) else f"not reached in {steps[name]} steps" for name, found in reached.items()}
        task, slowly = f"steps to {threshold:g} %", "the deposit classes come back more slowly"
        rows.append(tidy(f"relearning, {scenario}", task, steps, "steps", slowly, late))
        if not late.get(SCRATCH, True):
            ratio = {name: count / max(steps[SCRATCH], 1) for name, count in steps.items()}
            rows.append(tidy(f"relearning, {scenario}", f"{task}, of those from scratch", ratio, "ratio", slowly, late))
    return pandas.concat(rows, ignore_index=True)
