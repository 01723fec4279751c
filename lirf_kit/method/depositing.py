"""The deposit: knowledge moves out of the original into a deposit module, and a target network stays behind.

A deposit sees the original network and the deposit set, and never the preservation set. Target and module share the
original's frozen upper blocks, so both learn in the same pass over the deposit set. `deposit_terms` is the loss.
"""

import copy
import dataclasses
import math
import warnings

import torch

from lirf_kit.config import LirfError
from lirf_kit.data.images import mix
from lirf_kit.devices import autocast, cpu_threads, memory_advice, progress_bar, seeded_generator
from lirf_kit.method import losses
from lirf_kit.method.containers import empty_module
from lirf_kit.method.networks import check_last_batch, evaluation_mode, predict, split, strides
from lirf_kit.method.nudging import nudge
from lirf_kit.method.training import one_cycle
from lirf_kit.method.withdrawing import merge_logits

HEIGHT = 0.1  # the weight of L_kp on logits beside L_kp, on mixtures


def deposit(original, deposit_set, config, teacher=None, gone=()):
    """Take the knowledge of the deposit set out of a network: T_0, D_r → T, T_r   (Ye et al. 2022, deposit).

    Parameters
    ----------
    original : SplitNetwork
        T_0; left as it is.
    deposit_set : ImageData
        D_r, the only images that the deposit sees; they are not augmented.
    config : Config
        Reads the knobs of the deposit stage, `momentum`, `weight_decay` and the seed.
    teacher : SplitNetwork, optional
        Whose features a pruned module learns, if it isn't the original's: a bank's second deposit starts from a target
        that has already forgotten something, and may still learn from T_0 (see `KnowledgeBank`).
    gone : iterable of int
        Classes that earlier deposits took out. Like the deposit classes, they aren't held, and they are never the best
        preserved class that a sample is relabelled as.

    Returns
    -------
    target : SplitNetwork
        T, of the original's architecture; its upper blocks are the original's, bit by bit. Its `history` has an entry
        an epoch: the mean of the loss, of each term that was computed, and of the gradient's length.
    deposit_module : DepositModule or DifferenceModule
        T_r, as `container` says.

    Raises
    ------
    LirfError
        If the deposit set is empty, if the network can't be cut after `split_after` or pruned to `keep`, or if the
        loss stops being finite; then the sentence names the knob to turn.
    """
    started = start_deposit(original, deposit_set, config, teacher, gone)
    return finish_deposit(original, *started, deposit_set, config, teacher, gone)


def finish_deposit(original, target, deposit_module, deposit_set, config, teacher=None, gone=()):
    """Take all steps of a deposit that `start_deposit` began; return the same target and module."""
    total = count_steps(deposit_set, config)
    steps = deposit_steps(original, target, deposit_module, deposit_set, config, teacher, gone)
    with cpu_threads(config), memory_advice(config):
        for _ in progress_bar(steps, desc="deposit", total=total, unit="step"):
            pass  # `deposit_steps` does the work
    return target, deposit_module


def start_deposit(original, deposit_set, config, teacher=None, gone=()):
    """Return target and deposit module before the first step.

    The target starts as a copy of the original, the module as a pruned copy of its (or the teacher's) lower blocks or
    as no difference at all. The module holds the deposit classes; after a split by samples, the classes that occur in
    the deposit set. If only one class is left, a warning says what that costs.
    """
    if not len(deposit_set):
        raise LirfError("deposit_set must hold at least one image, not none")
    target = split(copy.deepcopy(original), config.split_after)  # T
    if config.batch_statistics == "updated":
        lower = strides(config, config.split_after)
        check_last_batch("deposit_batch_size", len(deposit_set), config.deposit_batch_size, deposit_set.images, lower)
    target.history = []
    target.upper.requires_grad_(False)  # T^(n-) = T_0^(n-), frozen
    classes = deposit_set.deposit_classes
    if classes is None:  # a split by samples
        classes = deposit_set.labels.unique()  # (k,)
    elif len({*classes, *gone}) == deposit_set.num_classes - 1 and config.preservation == "paper":
        warnings.warn(
            "only one class is left, and preservation='paper' can't hold a single logit: the recovered network may "
            "answer with this class for every image; set preservation='logits', or deposit fewer classes",
            stacklevel=3,
        )
    source = target if teacher is None or config.container == "difference" else split(teacher, config.split_after)
    return target.eval(), empty_module(source, classes, config)  # T, T_r


def count_steps(deposit_set, config):
    """Return how many steps a deposit takes; the last batch of an epoch may be smaller."""
    return config.deposit_epochs * math.ceil(len(deposit_set) / config.deposit_batch_size)


def deposit_steps(original, target, deposit_module, deposit_set, config, teacher=None, gone=()):
    """Train target and deposit module in place, and yield after each step, so that you can look or stop.

    When the training ends or stops, a difference is taken, and the module remembers the target that it goes with.

    Parameters
    ----------
    original, deposit_set, config, teacher, gone
        As for `deposit`.
    target, deposit_module
        As `start_deposit` returns them.

    Yields
    ------
    int
        The epoch that the step belongs to, counted from 1. `target.history` has an entry for each finished epoch.
    """
    generator = seeded_generator(config.seed, deposit_set.labels.device)
    reference = original_reference(original, deposit_set.images, config)  # computed once: T_0 never changes
    if teacher is not None:
        reference += original_reference(teacher, deposit_set.images, config)
    nudged = _nudged(original, deposit_set, deposit_module.deposit_classes, config, gone)
    # a generator of their own, so that the target is the same with and without mixtures
    mixing = seeded_generator(config.seed, deposit_set.labels.device)
    start, taught = (split(network, config.split_after) for network in (original, teacher or original))
    learners = [list(target.lower.parameters()), list(deposit_module.parameters())]
    total = count_steps(deposit_set, config)
    # one optimiser serves both: no term of the loss pulls on both networks
    optimiser, schedule = one_cycle(
        sum(learners, []), config.deposit_learning_rate, total, config.momentum, config.weight_decay
    )
    try:
        for epoch in range(1, config.deposit_epochs + 1):
            # D_r alone would pull BatchNorm's statistics towards itself; frozen, they stay the original's
            target.lower.train(config.batch_statistics == "updated")
            deposit_module.train(config.batch_statistics == "updated")
            order = torch.randperm(len(deposit_set), generator=generator, device=generator.device)
            steps = order.split(config.deposit_batch_size)
            taken = []
            for chosen in steps:
                batch = deposit_set.select(chosen, deposit_set.deposit_classes)
                seen = [part[chosen.to(part.device)].to(chosen.device) for part in reference]  # z_T0 and T_0^(-n)(x)
                mixed = _mixed(start, taught, batch.images, mixing) if config.mixtures else None
                some = chosen[: -(-len(chosen) // 2)]  # half of the batch is enough, and takes half the time
                held = [part[some.to(part.device)].to(some.device) for part in nudged]
                terms = deposit_terms(target, deposit_module, batch, seen, generator, config, gone, mixed, held)
                taken.append(_descend(terms, learners, optimiser, schedule, epoch, config))
                yield epoch
            target.history.append(_epoch_means(epoch, taken, [len(chosen) for chosen in steps], config))
    finally:
        target.eval(), deposit_module.eval()
        deposit_module.hold(start.lower, target)  # a difference isn't trained: it follows from T_0 and T
    # the very last step has changed the weights, but no loss has been computed since
    lower = deposit_module.restore(target)
    answers = predict(lambda part: target(part) + target.upper(lower(part)), deposit_set.images)
    if not answers.isfinite().all():
        raise LirfError(_diverged(config.deposit_epochs, config))


def _nudged(original, deposit_set, deposit_classes, config, gone):
    """Return the deposit images nudged towards preserved classes, and the original's logits of them, if L_ap is on."""
    if not config.lambda_ap or deposit_set.deposit_classes is None:  # a deposit of samples gives up no class
        return ()
    generator = seeded_generator(config.seed, deposit_set.labels.device)
    images = nudge(original, deposit_set.images, [*deposit_classes.tolist(), *gone], generator)
    with evaluation_mode(original):
        return images, predict(original, images)


@torch.no_grad()
def _mixed(original, teacher, images, generator):
    """Return mixtures of a batch's images, the original's logits and the teacher's features."""
    mixtures = mix(images.to(generator.device), generator)
    with evaluation_mode(original), evaluation_mode(teacher):
        return mixtures, original(mixtures), teacher.lower(mixtures)


def _descend(terms, learners, optimiser, schedule, epoch, config):
    """Take one step down L_all; return the terms, detached, with the gradient's length before it was clipped."""
    # checked at once where that costs nothing; a GPU would have to wait, so there once an epoch
    if terms["loss"].device.type == "cpu" and not terms["loss"].isfinite():
        raise LirfError(_diverged(epoch, config))
    optimiser.zero_grad()
    terms["loss"].backward()
    # clipped one by one, so that a long gradient of one network doesn't slow down the other
    norms = [torch.nn.utils.clip_grad_norm_(weights, config.max_gradient_norm) for weights in learners]
    optimiser.step()
    schedule.step()
    return {name: term.detach() for name, term in terms.items()} | {"gradient_norm": torch.stack(norms).norm()}


def _epoch_means(epoch, taken, sizes, config):
    """Return an epoch's entry of the history: each term's mean over the samples, from its mean in each batch."""
    names = max(taken, key=len)  # a batch of a single class has no class scatter: it counts as 0
    shares = {
        name: [terms[name] * size / sum(sizes) for terms, size in zip(taken, sizes) if name in terms] for name in names
    }
    means = {name: float(sum(parts)) for name, parts in shares.items()}
    if not all(math.isfinite(mean) for mean in means.values()):
        raise LirfError(_diverged(epoch, config))
    return {"epoch": epoch, "loss": means["loss"]} | means


def original_reference(original, images, config):
    """Return what the original makes of some images: its logits (N, K), and its lower blocks' features (N, C, H, W).

    The features take the most memory of all that a deposit stores, so they are where the images are: with `images_on`
    at "host", they don't fill a GPU.
    """
    cut = split(original, config.split_after)
    with evaluation_mode(original):
        features = predict(lambda part: cut.lower(part).to(images.device), images)  # T_0^(-n)(x)
        return predict(lambda part: cut.upper(part.to(original.device)), features), features  # z_T0 is T^(n-) of these


@dataclasses.dataclass
class Views:
    """What the networks make of one batch of N samples: all that a term of the loss may look at.

    Attributes
    ----------
    labels : torch.Tensor
        y, int64, (N,).
    forgotten : torch.Tensor
        What to forget of each sample: the deposit classes, (k,), or where samples are deposited its own class, (N, 1);
        and the classes that are gone already.
    deposit_classes : torch.Tensor
        int64, (k,): the classes whose logits the module supplies.
    whole_classes : bool
        Whether whole classes are deposited, which L_cs and L_os are for. Where samples are deposited, their classes
        stay. A network that never saw these samples tells their classes apart as well, whatever BatchNorm's statistics
        are, and so may the target.
    original_logits, teacher_logits, target_logits, module_logits : torch.Tensor
        z_T0, the teacher's, z_T, and z of T_r ∘ T^(n-); (N, K). The module's are None if no term needs them.
    original_features, teacher_features, target_features, module_features : torch.Tensor
        T_0^(-n)(x), the teacher's, T^(-n)(x) and T_r(x); (N, C_n, H_n, W_n). The teacher is the original, or what the
        module learns from in its place.
    """

    labels: torch.Tensor
    forgotten: torch.Tensor
    deposit_classes: torch.Tensor
    whole_classes: bool
    original_logits: torch.Tensor
    original_features: torch.Tensor
    teacher_logits: torch.Tensor
    teacher_features: torch.Tensor
    target_logits: torch.Tensor
    target_features: torch.Tensor
    module_logits: torch.Tensor | None = None
    module_features: torch.Tensor | None = None

    @property
    def has_scatter(self):
        """Whether L_cs has a meaning here: the batch has two deposit classes or more to tell apart."""
        return self.whole_classes and len(self.labels.unique()) > 1

    @property
    def recovered_logits(self):
        """T̃(x), (N, K); detached from the target, since L_re is for the module to learn from."""
        return merge_logits(self.target_logits.detach(), self.module_logits, self.deposit_classes)


# The knobs that choose a variant: what each of their values stands for.
WRONG_LABELS = {  # y_r
    "random": lambda views, num_classes, generator: losses.wrong_labels(views.labels, num_classes, generator),
    "best_preserved": lambda views, *_: losses.best_preserved_labels(views.original_logits, views.forgotten),
}
JUDGED = {  # the logits that cross-entropy sees in L_kr
    "paper": lambda views: views.target_logits,
    "logits": lambda views: losses.hold_preserved(views.target_logits, views.original_logits, views.forgotten),
}
PRESERVATION = {  # L_kp
    "paper": lambda views, temperature: losses.preservation_loss(
        views.target_logits, views.original_logits, views.forgotten, temperature
    ),
    "logits": lambda views, _: losses.logit_preservation_loss(
        views.target_logits, views.original_logits, views.forgotten
    ),
}
RECOVERY = {  # L_re
    "paper": lambda views, _: losses.recovery_loss(views.recovered_logits, views.labels),
    "distilled": lambda views, temperature: losses.distilled_recovery_loss(
        views.recovered_logits, views.teacher_logits, temperature
    ),
    "features": lambda views, _: losses.feature_recovery_loss(views.module_features, views.teacher_features),
}


def deposit_terms(target, deposit_module, batch, reference, generator, config, gone=(), mixed=None, nudged=()):
    """Compute the terms of L_all on one batch.

    A term whose λ is 0 is left out. Recovery and transfer train a pruned module; a difference leaves them out.

    Parameters
    ----------
    target : SplitNetwork
    deposit_module : DepositModule or DifferenceModule
    batch : ImageData
        Samples of the deposit set.
    reference : tuple of torch.Tensor
        `original_reference` of the same images; if the module has a different teacher, followed by the teacher's.
    generator : torch.Generator
        Draws the random wrong labels.
    config : Config
    gone : iterable of int
        As for `deposit`.
    mixed : tuple of torch.Tensor, optional
        Mixtures of the images, the original's logits and the teacher's features of them, for L_kp and L_re.
    nudged : sequence of torch.Tensor
        Some deposit images, nudged towards preserved classes, and the original's logits of them, for L_ap.

    Returns
    -------
    dict of str to torch.Tensor
        Scalars: ``"loss"``, and as computed ``"removal"`` (L_kr), ``"attention_distance"``, ``"class_scatter"``,
        ``"preservation"``, ``"own_statistics"`` (L_os), ``"adversarial_preservation"`` (L_ap), ``"recovery"``,
        ``"transfer"``.
    """
    views = _look(target, deposit_module, batch, reference, config, gone)
    wrong = WRONG_LABELS[config.relabel](views, batch.num_classes, generator)  # y_r, (N,)
    terms, tau = _forgetting_terms(views, wrong, config), config.temperature
    if mixed is not None and config.lambda_kp:
        with autocast(config, batch.labels.device):
            logits = target(mixed[0]).float()  # (N, K)
        held = dataclasses.replace(views, target_logits=logits, original_logits=mixed[1])
        # a softmax doesn't hold the height of its logits, and a module's logits will have to compete with them
        height = HEIGHT * losses.logit_preservation_loss(logits, mixed[1], views.forgotten)
        terms["preservation"] = terms["preservation"] + PRESERVATION[config.preservation](held, tau) + height
    if config.lambda_os and views.whole_classes and len(batch) > 1:  # a single image may have no statistics
        again = _forgetting_terms(_look_again(target, batch, views, config), wrong, config)
        terms["own_statistics"] = again["removal"] + config.lambda_kp * again.get("preservation", 0.0)  # L_os
    if nudged:
        with autocast(config, batch.labels.device):
            logits = target(nudged[0]).float()  # (M, K)
        held = dataclasses.replace(views, target_logits=logits, original_logits=nudged[1])  # z_T, z_T0 of these
        terms["adversarial_preservation"] = PRESERVATION[config.preservation](held, tau)  # L_ap
    if config.lambda_re and views.module_features is not None:
        terms["recovery"] = RECOVERY[config.recovery](views, tau)  # L_re
        if mixed is not None:
            with autocast(config, batch.labels.device):
                features = deposit_module(mixed[0]).float()  # (N, C_n, H_n, W_n)
            terms["recovery"] = terms["recovery"] + losses.feature_recovery_loss(features, mixed[2])
    if config.lambda_pt and views.module_logits is not None:
        logits = views.module_logits, views.teacher_logits
        terms["transfer"] = losses.partial_transfer_loss(*logits, views.deposit_classes, tau)  # L_pt
    optional = ("preservation", "own_statistics", "recovery", "transfer", "adversarial_preservation")
    weighed = {name: terms.get(name, 0.0) for name in optional}
    terms["loss"] = losses.deposit_loss(terms["removal"], **weighed, config=config)  # L_all
    return terms


def _forgetting_terms(views, wrong, config):
    """Return the terms that train the target: L_at and L_cs, L_kr with both, and L_kp."""
    terms = {}
    if config.lambda_at:
        maps = [losses.attention_map(features) for features in (views.target_features, views.original_features)]
        terms["attention_distance"] = losses.attention_distance(*maps)  # L_at, maps (N, H_n·W_n)
    if config.lambda_cs and views.has_scatter:
        spread = views.original_features.mean(dim=(2, 3)).var(dim=0, correction=0).mean()  # of one feature, on average
        pooled = views.target_features.mean(dim=(2, 3))  # (N, C_n)
        terms["class_scatter"] = losses.class_scatter(pooled, views.labels, config.ridge * spread)  # L_cs
    hidden = terms.get("attention_distance", 0.0), config.lambda_at, terms.get("class_scatter", 0.0), config.lambda_cs
    terms["removal"] = losses.removal_loss(JUDGED[config.preservation](views), wrong, *hidden)  # L_kr
    if config.lambda_kp:
        terms["preservation"] = PRESERVATION[config.preservation](views, config.temperature)  # L_kp
    return terms


def _look(target, deposit_module, batch, reference, config, gone):
    """Run target and module on a batch; the module only where a term needs it. All that is returned is float32."""
    classes = deposit_module.deposit_classes
    whole = batch.deposit_classes is not None
    forgotten = classes if whole else batch.labels[:, None]  # (k,) or (N, 1)
    gone = torch.as_tensor([*gone], dtype=torch.int64, device=forgotten.device)
    forgotten = torch.cat([forgotten, gone if whole else gone.expand(len(batch), -1)], dim=-1)
    with autocast(config, batch.labels.device):
        features = target.lower(batch.images)  # (N, C_n, H_n, W_n)
        seen = [target.upper(features), features]  # z_T, T^(-n)(x)
        if config.container == "pruned" and (config.lambda_re or config.lambda_pt):
            features = deposit_module(batch.images)  # (N, C_n, H_n, W_n), read out by the target's frozen upper blocks
            seen += [target.upper(features), features]  # z of T_r ∘ T^(n-), T_r(x)
    given = (*reference, *reference)[:4]  # without a teacher the module learns from the original
    return Views(batch.labels, forgotten, classes, whole, *given, *(tensor.float() for tensor in seen))


def _look_again(target, batch, views, config):
    """Return the same views with the target's BatchNorm using the batch's own statistics; its running ones stay."""
    norms = [layer for layer in target.lower.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    before = [(layer.training, layer.track_running_stats) for layer in norms]
    try:
        for layer in norms:
            layer.training, layer.track_running_stats = True, False
        with autocast(config, batch.labels.device):
            features = target.lower(batch.images)  # (N, C_n, H_n, W_n)
            logits = target.upper(features)  # z_T, (N, K)
    finally:
        for layer, (training, tracking) in zip(norms, before):
            layer.training, layer.track_running_stats = training, tracking
    return dataclasses.replace(views, target_logits=logits.float(), target_features=features.float())


def _diverged(epoch, config):
    """Say that the loss stopped being finite, and which knobs to turn."""
    weights = {
        name: getattr(config, name)
        for name in ("lambda_at", "lambda_cs", "lambda_kp", "lambda_os", "lambda_ap", "lambda_re", "lambda_pt")
    }
    largest = max(weights, key=weights.get)
    return (
        f"the deposit's loss stopped being finite in epoch {epoch}: lower deposit_learning_rate, now "
        f"{config.deposit_learning_rate}, max_gradient_norm, now {config.max_gradient_norm}, or {largest}, now "
        f"{weights[largest]}"
    )
