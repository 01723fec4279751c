"""How quickly do the deposit classes come back when a network is trained further?

Classes that are only hidden come back in a few steps; classes that are gone have to be learnt again (Golatkar et al.
2020, relearning time). Every network relearns, so a curve means nothing on its own: compare it with the curves of a
retrained network and of learning from scratch. Shuffled labels show how much of the gain is merely that the network
answers with deposit classes again.
"""

import copy
import dataclasses
import itertools
import numbers

import pandas
import torch
from torch.nn import functional

from lirf_kit.config import LirfError, check_choice
from lirf_kit.devices import cpu_threads, progress_bar, seeded_generator
from lirf_kit.evidence.few_shot import check_shots
from lirf_kit.evidence.readings import check_input, limited, tidy
from lirf_kit.evidence.references import unmasked
from lirf_kit.method.networks import accuracy

SCENARIOS = ("labelled", "preserved only", "shuffled labels")
STEPS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SCRATCH = "untrained"  # the network whose relearning is learning from scratch
BEHIND = "starts more than a point behind in Pre Acc"  # a note
REHEARSED = 32  # preserved images in every batch


def relearn(
    networks, parts, config, on="validation", shots=5, scenarios=SCENARIOS, steps=STEPS, rate=0.01, per_class=None
):
    """Continue training a copy of every network, and measure its accuracy along the way.

    - *labelled*: k labelled images of each deposit class.
    - *preserved only*: no deposit images at all. Do the deposit classes come back by themselves?
    - *shuffled labels*: the control, the same images with their labels shuffled.

    Every batch also has 32 preserved training images, so that Pre Acc stays up. Every network starts as it is: their
    Pre Acc is *not* matched first, because training on preserved images to match it would already be the second
    scenario. So "start" says how good each one is at the preserved classes to begin with. On the digits, original,
    targets and retrained networks lie within a point or so of each other; learning from scratch starts far behind. All
    weights are trained, including those of the network's own classifier, by SGD with momentum 0.9, with BatchNorm in
    training mode. Head masking is removed first, as a thief would do.

    Parameters
    ----------
    networks : dict of str to nn.Module
        With lower blocks; not changed.
    parts : Partition
        From a split by class.
    config : Config
        Reads the seed, which draws the images, and `threads`.
    on : {"validation", "test"}
        The images that accuracy is measured on.
    shots : int
        k, the number of labelled images of each deposit class.
    scenarios : sequence of str
        As above.
    steps : sequence of int
        After how many steps to measure accuracy; the training ends with the last one.
    rate : float
        Learning rate.
    per_class : int, optional
        How many images of each class to measure accuracy on at most; None: all.

    Returns
    -------
    pandas.DataFrame
        The columns scenario, network, step, Dep Acc and Pre Acc (percent, arg max over all classes), and start (the
        network's Pre Acc before any step, arg max over the preserved classes).

    Raises
    ------
    LirfError
        If a class has no images or fewer than k, or a network has no lower blocks, or the steps don't start at 0 and
        increase.
    """
    check_input(networks, parts, on)
    check_shots((shots,), parts.deposit_set, parts.deposit_set.deposit_classes)
    for scenario in scenarios:
        check_choice("scenarios", scenario, SCENARIOS)
    whole = all(isinstance(step, numbers.Integral) for step in steps)
    if not whole or list(steps) != sorted(set(steps)) or list(steps)[:1] != [0]:
        raise LirfError(f"steps must be whole numbers that start at 0 and increase, not {steps!r}")
    read = [limited(getattr(parts, f"{part}_{on}"), config.seed, per_class) for part in ("deposit", "preservation")]
    few = limited(parts.deposit_set, config.seed, shots)
    order = torch.randperm(len(few), generator=torch.Generator().manual_seed(config.seed))
    shown = dict(zip(SCENARIOS, (few, few.select(slice(0)), dataclasses.replace(few, labels=few.labels[order]))))
    starts, curves = {name: accuracy(network, read[1], "part") for name, network in networks.items()}, []
    runs = [(scenario, name) for scenario in scenarios for name in networks]
    with cpu_threads(config):
        for scenario, name in progress_bar(runs, desc="relearn", unit="network"):
            learning = _learning(networks[name], shown[scenario], parts.preservation_set, config, rate)
            for step, learner in enumerate(itertools.islice(learning, steps[-1] + 1)):
                if step in steps:
                    curves.append((scenario, name, step, *(accuracy(learner, part) for part in read), starts[name]))
    return pandas.DataFrame(curves, columns=["scenario", "network", "step", "Dep Acc", "Pre Acc", "start"])


def train_on(network, preserved, config, steps=64, rate=0.01):
    """Return a copy of a network that is trained further on preserved images, as `relearn` does it.

    Parameters
    ----------
    network : nn.Module
    preserved : ImageData
        Labelled images of the preserved classes.
    config : Config
        Reads the seed and `threads`.
    steps : int
    rate : float

    Returns
    -------
    nn.Module
        In evaluation mode.
    """
    with cpu_threads(config):
        learning = _learning(network, preserved.select(slice(0)), preserved, config, rate)
        return next(itertools.islice(learning, steps, None)).eval()


def _learning(network, few, preserved, config, rate):
    """Train a copy of a network on the same few deposit images and newly drawn preserved ones; yield it at each step.

    It is yielded before each step, and goes on learning for as long as the caller asks for more.
    """
    learner = copy.deepcopy(unmasked(network)).requires_grad_(True)  # the target's upper blocks were frozen
    optimiser = torch.optim.SGD(learner.parameters(), rate, momentum=0.9, nesterov=True)
    generator = seeded_generator(config.seed, few.labels.device)
    while True:
        yield learner
        chosen = torch.randint(len(preserved), (REHEARSED,), generator=generator, device=generator.device)
        rehearsed = preserved.select(chosen)
        images, labels = torch.cat([few.images, rehearsed.images]), torch.cat([few.labels, rehearsed.labels])
        learner.train()
        loss = functional.cross_entropy(learner(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def relearning_table(curves, threshold=50.0, after=(4, 16, 64)):
    """Summarise the curves.

    Parameters
    ----------
    curves : pandas.DataFrame
        From `relearn`.
    threshold : float
        A Dep Acc in percent; the table says how many steps it takes to reach it.
    after : sequence of int
        The steps at which to report Dep Acc; those at which it was not measured are left out.

    Returns
    -------
    pandas.DataFrame
        Tidy: Pre Acc at the start, which isn't matched; Dep Acc after the steps in `after`, with a note if a network
        started more than a point below the best; the first measured step with at least `threshold`, or the last step
        and a note if there is none; and the ratio of that step to the one that learning from scratch needs, if
        "untrained" gets there.
    """
    back = "the deposit classes come back more quickly"
    starts = curves.groupby("network", sort=False)["start"].first()
    behind = (starts < starts.max() - 1).map({True: BEHIND, False: ""})
    unlike = "the preserved images are recognised more often to begin with"
    rows = [tidy("relearning", "Pre Acc at the start, not matched", starts.to_dict(), "%", unlike)]
    for scenario, runs in curves.groupby("scenario", sort=False):
        notes = behind[runs["network"].unique()].to_dict()
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
