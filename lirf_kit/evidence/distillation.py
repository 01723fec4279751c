"""Can a student distil the forgotten classes out of a network?   (Ye et al. 2022, the table of distilled students)

The students learn from a teacher's logits (Hinton et al. 2015) or from its attention maps (Zagoruyko & Komodakis 2017).
The paper does not say which images they see, or whether they see the labels too. Its students of a target with a Dep
Acc of 15 % reach 82 to 95 %, more than such a teacher can be expected to teach, so we assume that they see all training
images with their labels. Most of their Dep Acc then comes from the labels, and only the difference from *labels alone*
is a leak. A student *without labels* shows what the teacher alone gives away.
"""

import pandas
import torch
from torch.nn import functional

from lirf_kit.config import LirfError, check_choice
from lirf_kit.devices import all_finite, cpu_threads, progress_bar, seeded_generator
from lirf_kit.evidence.readings import (
    ALL,
    ONLY,
    check_networks,
    check_parts,
    limited,
    lower_blocks,
    tidy,
    training_images,
    untrained_network,
)
from lirf_kit.method.losses import attention_distance, attention_map, distillation_loss
from lirf_kit.method.networks import accuracy, evaluation_mode, predict
from lirf_kit.method.training import one_cycle

LABELS_ALONE = "labels alone"  # the control: a student without a teacher
LESSONS = ("logits and labels", "attention and labels", "logits")
SIZES = {"same size": 1, "half the width": 2}  # what the widths are divided by
MEANS = "a student learns more"
TRANSFER = ("all classes", "preserved classes", "deposit classes")


def distillation_table(
    teachers, parts, config, on="validation", lessons=LESSONS, sizes=tuple(SIZES), transfer="all classes", epochs=8,
    attention_weight=10.0, per_class=None,
):  # fmt: skip
    """Train students of every teacher, and measure how much they know about the deposit classes.

    A student's loss is the cross-entropy with the true labels, plus KD from the teacher's logits or the weighted
    distance between the student's and the teacher's attention maps after the last lower block; *logits* alone leaves
    out the labels. Teacher and student see the images without augmentation. All students of a size start from the same
    weights, drawn with a different seed from the original's.

    Parameters
    ----------
    teachers : dict of str to nn.Module
        With lower blocks. A recovered network's attention maps are its target's.
    parts : Partition
        From a split by class.
    config : Config
        Reads the knobs of the network, optimiser and training stages, `split_after`, `temperature` and the seed.
    on : {"validation", "test"}
        The images that accuracy is measured on.
    lessons : sequence of str
        Any of ``"logits and labels"``, ``"attention and labels"`` (the paper's two) and ``"logits"``.
    sizes : sequence of str
        Either or both of ``"same size"`` and ``"half the width"``.
    transfer : {"all classes", "preserved classes", "deposit classes"}
        The transfer set: which training images the students see.
    epochs : int
        Passes over the transfer set.
    attention_weight : float
        The weight of the attention distance, which lies in [0, 2].
    per_class : int, optional
        How many training images of each class to use at most; None: all.

    Returns
    -------
    pandas.DataFrame
        Tidy; "network" is the teacher, or "labels alone" for a student without one. In percent: accuracy on the deposit
        images among all classes and among the deposit classes only, and on the preserved images among all classes.

    Raises
    ------
    LirfError
        If a class has no images, or a teacher has no lower blocks, or if a student's weights stop being finite.
    """
    check_parts(parts, on)
    check_networks(teachers)
    for name, chosen, allowed in (("lessons", lessons, LESSONS), ("sizes", sizes, SIZES)):
        for each in chosen:
            check_choice(name, each, tuple(allowed))
    check_choice("transfer", transfer, TRANSFER)
    if not isinstance(epochs, int) or epochs < 1:
        raise LirfError(f"epochs must be a whole number of at least 1, not {epochs!r}")
    images = training_images(parts, config.seed, per_class)
    if transfer != TRANSFER[0]:
        chosen = parts.preservation_set if transfer == TRANSFER[1] else parts.deposit_set
        images = limited(chosen, config.seed, per_class)
    taught = {LABELS_ALONE: None} | {name: _teach(network, images, config) for name, network in teachers.items()}
    runs = [(size, "labels", LABELS_ALONE) for size in sizes]
    runs += [(size, lesson, name) for size in sizes for lesson in lessons for name in teachers]
    found = {}
    with cpu_threads(config):
        for size, lesson, name in progress_bar(runs, desc="distil", unit="student"):
            student = _student(parts, config, SIZES[size])
            train_student(student, images, taught[name], lesson, config, epochs, attention_weight)
            found[size, lesson, name] = _read(student, parts, on)
    rows, note = [], f"transfer set: {transfer}"
    for size, lesson in ((size, lesson) for size in sizes for lesson in lessons):
        each = {LABELS_ALONE: found[size, "labels", LABELS_ALONE]} if "labels" in lesson else {}
        each |= {name: found[size, lesson, name] for name in teachers}
        for task in found[size, lesson, next(iter(teachers))]:
            values = {name: accuracies[task] for name, accuracies in each.items()}
            rows.append(tidy(f"student by {lesson}, {size}", task, values, "%", MEANS, dict.fromkeys(each, note)))
    return pandas.concat(rows, ignore_index=True)


def _teach(network, images, config):
    """Return what students imitate: a teacher's logits (N, K) and its attention maps after the last lower block."""
    lower = lower_blocks(network)[0][: 2 + config.split_after]
    with evaluation_mode(network):
        logits = predict(network, images.images).clamp_min(-30.0)  # a masked class's −∞ can't be imitated
        return logits, predict(lambda batch: attention_map(lower(batch)), images.images)


def _student(parts, config, divisor):
    """Return an untrained student with the teachers' architecture, possibly narrower."""
    widths = [max(1, width // divisor) for width in config.widths]
    return untrained_network(parts, config.replace(widths=widths, seed=(config.seed + 1) % 2**32))


def train_student(student, images, taught, lesson, config, epochs, attention_weight):
    """Train a student in place.

    Parameters
    ----------
    student : SplitNetwork
    images : ImageData
        The transfer set, N images.
    taught : tuple of torch.Tensor, or None
        The teacher's logits (N, K) and attention maps (N, H·W); None for a student without a teacher.
    lesson : str
        One of `LESSONS`; without a teacher, only its labels are used.
    config, epochs, attention_weight
        As for `distillation_table`.
    """
    generator = seeded_generator(config.seed, images.labels.device)
    steps = epochs * -(-len(images) // config.batch_size)
    optimiser, schedule = one_cycle(
        student.parameters(), config.learning_rate, steps, config.momentum, config.weight_decay
    )
    student.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator, device=generator.device).split(
            config.batch_size
        ):
            batch = images.select(chosen)
            features = student.lower(batch.images)  # (N, C_n, H_n, W_n)
            logits = student.upper(features)  # (N, K)
            loss = 0.0
            if "labels" in lesson:
                loss = loss + functional.cross_entropy(logits, batch.labels)
            if taught is not None and "logits" in lesson:
                loss = loss + distillation_loss(logits, taught[0][chosen], config.temperature)
            if taught is not None and "attention" in lesson:
                loss = loss + attention_weight * attention_distance(attention_map(features), taught[1][chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    student.eval()
    if not all_finite(student):
        raise LirfError(f"a student stopped being finite: lower learning_rate, now {config.learning_rate}")


def _read(student, parts, on):
    """Return a student's accuracies by task."""
    deposited, preserved = (getattr(parts, f"{part}_{on}") for part in ("deposit", "preservation"))
    accuracies = {ALL: accuracy(student, deposited)}
    if len(deposited.deposit_classes) > 1:
        accuracies[ONLY] = accuracy(student, deposited, "part")
    return accuracies | {"preserved images": accuracy(student, preserved)}
