"""Can a student distil the forgotten classes out of a network?   (Ye et al. 2022, the table of distilled students)

The students learn from a teacher's logits (Hinton et al. 2015) or from its attention maps (Zagoruyko & Komodakis 2017).
The paper does not say which images they see, or whether they see the labels too. Its students of a target with a Dep
Acc of 15 % reach 82 to 95 %, more than such a teacher can be expected to teach, so we assume that they see all training
images with their labels. Most of their Dep Acc then comes from the labels, and only the difference from *labels alone*
is a leak. A student *without labels* shows what the teacher alone gives away.
"""

import itertools

import pandas
import torch
from torch.nn import functional

from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.partition import split_by_class
from lirf_kit.devices import all_finite, cpu_threads, progress_bar, seeded_generator
from lirf_kit.evidence.experiments import over_grid
from lirf_kit.evidence.metrics import PROTOCOLS
from lirf_kit.evidence.readings import (
    ALL,
    ONLY,
    check_count,
    check_input,
    check_per_class,
    limited,
    lower_blocks,
    tidy,
    training_images,
    untrained_network,
)
from lirf_kit.evidence.references import ANSWERS_ONLY, OUTPUT_ALONE, retrain
from lirf_kit.method.caching import load_or_deposit, load_or_train
from lirf_kit.method.losses import attention_distance, attention_map, distillation_loss
from lirf_kit.method.networks import accuracy, check_last_batch, evaluation_mode, predict, strides
from lirf_kit.method.training import one_cycle

LABELS_ALONE = "labels alone"  # the control: a student without a teacher
LESSONS = ("logits and labels", "attention and labels", "logits")
SIZES = {"same size": 1, "half the width": 2}  # what the widths are divided by
MEANS = "a student learns more"
TRANSFER = ("all classes", "preserved classes", "deposit classes")
PRESERVED = "preserved images"  # a task, beside `ALL` and `ONLY`
VARIANTS = {"target, λ_at = 0": {"lambda_at": 0.0}, ANSWERS_ONLY: OUTPUT_ALONE}  # other targets
EPOCHS = 8


def distillation_table(
    teachers, parts, config, on="validation", lessons=LESSONS, sizes=tuple(SIZES), transfer="all classes",
    epochs=EPOCHS, attention_weight=10.0, per_class=None,
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
        If a class has no images, or a teacher has no lower blocks; if the last batch is a single image where feature
        maps are 1×1; or if a student's weights stop being finite.
    """
    check_input(teachers, parts, on)
    for name, chosen, allowed in (("lessons", lessons, LESSONS), ("sizes", sizes, SIZES)):
        for each in chosen:
            check_choice(name, each, tuple(allowed))
    check_choice("transfer", transfer, TRANSFER)
    check_count("epochs", epochs)
    images = training_images(parts, config.seed, per_class)
    if transfer != TRANSFER[0]:
        chosen = parts.preservation_set if transfer == TRANSFER[1] else parts.deposit_set
        images = limited(chosen, config.seed, per_class)
    check_last_batch("batch_size", len(images), config.batch_size, images.images, strides(config))
    taught = {LABELS_ALONE: None} | {name: _teach(network, images, config) for name, network in teachers.items()}
    runs = [(size, "labels", LABELS_ALONE) for size in sizes if any("labels" in lesson for lesson in lessons)]
    runs += [(size, lesson, name) for size in sizes for lesson in lessons for name in teachers]
    found = {}
    with cpu_threads(config):
        for size, lesson, name in progress_bar(runs, desc="distil", unit="student"):
            student = _student(parts, config, SIZES[size])
            train_student(student, images, taught[name], lesson, config, epochs, attention_weight)
            found[size, lesson, name] = _read(student, parts, on)
    return _arranged(found, teachers, sizes, lessons, f"transfer set: {transfer}")


def _arranged(found, teachers, sizes, lessons, note):
    """Return what the students know as tidy rows: by size, lesson and task, beside the control if there are labels."""
    rows = []
    for size, lesson in itertools.product(sizes, lessons):
        each = {LABELS_ALONE: found[size, "labels", LABELS_ALONE]} if "labels" in lesson else {}
        each |= {name: found[size, lesson, name] for name in teachers}
        for task in next(iter(each.values())):
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
    """Train a student in place on N images.

    `taught` is a teacher's logits (N, K) and attention maps (N, H·W), or None for a student without a teacher, which
    uses only the lesson's labels. The other parameters are as for `distillation_table`.
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
    return accuracies | {PRESERVED: accuracy(student, preserved)}


def distillation_over_seeds(config, seeds, deposit_sets=5, on="test", per_class=None, epochs=EPOCHS, jobs=None):
    """Repeat `distillation_table` over seeds and deposit sets; runs that are on disk are loaded.

    The teachers are "original"; "target"; the same target made with λ_at = 0, and with λ_cs = λ_os = 0, "output alone"
    (each left out if the config is the same without it); and "retrained", which shows what a teacher passes on that
    never saw the deposit classes. They teach every lesson to students of both sizes. The transfer set has all classes.

    Parameters
    ----------
    config, seeds, deposit_sets, on, jobs
        As for `results_over_seeds`.
    per_class, epochs
        As for `distillation_table`.

    Returns
    -------
    pandas.DataFrame
        One row per run, test, task and teacher: seed, deposit classes, and the columns of `distillation_table`.

    Raises
    ------
    LirfError
        Before anything is computed, if an argument is invalid; if every run failed.
    """
    check_choice("on", on, ("validation", "test"))
    check_per_class(per_class)
    check_count("epochs", epochs)
    return over_grid("distillation", _measure, (on, per_class, epochs), config, seeds, deposit_sets, jobs)


def protocol(on, per_class=None, epochs=EPOCHS):
    """Say in words what `distillation_over_seeds` measures, and what its students see: the transfer set."""
    seen = "all training images" if per_class is None else f"at most {per_class} training images of each class"
    return f"{on} part, {PROTOCOLS['all']}; transfer set: {seen}; epochs: {epochs}"


def _measure(data, config, deposit_classes, on, per_class, epochs):
    """Make one run's teachers, and train and measure their students."""
    parts = split_by_class(data, deposit_classes)
    original = load_or_train(data, config)
    variants = {name: config.replace(**change) for name, change in VARIANTS.items()}
    variants = {name: variant for name, variant in variants.items() if variant != config}
    teachers = {"original": original}
    for name, variant in ({"target": config} | variants).items():
        teachers[name], _ = load_or_deposit(original, parts.deposit_set, variant)
    teachers["retrained"] = retrain(data, parts, config)
    return distillation_table(teachers, parts, config, on, epochs=epochs, per_class=per_class).to_dict("records")
