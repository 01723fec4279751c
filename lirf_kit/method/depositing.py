"""The deposit: knowledge moves out of the original into a deposit module, and a target network stays behind.

Only the original network and the deposit set are used; the preservation set is not a parameter. Target and module
share the original's upper blocks, which stay frozen, so the two learn side by side in one pass over the deposit set.
"""

import copy
import math

import torch

from lirf_kit.config import LirfError
from lirf_kit.devices import autocast, cpu_threads, memory_advice, progress_bar, seeded_generator
from lirf_kit.method import losses
from lirf_kit.method.networks import evaluation_mode, predict, split
from lirf_kit.method.pruning import prune_lower
from lirf_kit.method.training import one_cycle
from lirf_kit.method.withdrawing import DepositModule, merge_logits


def deposit(original, deposit_set, config):
    """Take the knowledge of the deposit set out of a network: T_0, D_r → T, T_r   (Ye et al. 2022, deposit).

    Parameters
    ----------
    original : SplitNetwork
        T_0; left as it is.
    deposit_set : ImageData
        D_r; the only images that are seen, as they are, without augmentation.
    config : Config
        Reads the knobs of the deposit stage, `momentum`, `weight_decay` and the seed.

    Returns
    -------
    target : SplitNetwork
        T, of the original's architecture; its upper blocks are the original's, bit by bit. Its `history` has an entry
        an epoch: the mean of the loss, of each term that was computed, and of the gradient's length.
    deposit_module : DepositModule
        T_r.

    Raises
    ------
    LirfError
        If the deposit set is empty, if the network can't be cut after `split_after` or pruned to `keep`, or if the
        loss stops being finite; then the sentence names the knob to turn.
    """
    target, deposit_module = start_deposit(original, deposit_set, config)
    total = config.deposit_epochs * -(-len(deposit_set) // config.deposit_batch_size)
    steps = deposit_steps(original, target, deposit_module, deposit_set, config)
    with cpu_threads(config), memory_advice(config):
        for _ in progress_bar(steps, desc="deposit", total=total, unit="step"):
            pass
    return target, deposit_module


def start_deposit(original, deposit_set, config):
    """Return target and deposit module before the first step: the original's weights, in the module the ones kept.

    The module holds the deposit classes; after a split by samples those are the classes that occur in the deposit set.
    """
    if not len(deposit_set):
        raise LirfError("deposit_set must hold at least one image, not none")
    target = split(copy.deepcopy(original), config.split_after)
    target.history = []
    target.upper.requires_grad_(False)
    classes = deposit_set.deposit_classes
    if classes is None:
        classes = deposit_set.labels.unique()
    deposit_module = DepositModule(prune_lower(target.lower, config.keep), classes)
    return target.eval(), deposit_module.to(target.device, memory_format=torch.channels_last).eval()


def deposit_steps(original, target, deposit_module, deposit_set, config):
    """Train target and deposit module in place, and yield after each step, so that a caller can look or stop.

    Parameters
    ----------
    original, deposit_set, config
        As for `deposit`.
    target, deposit_module
        As `start_deposit` returns them.

    Yields
    ------
    int
        The epoch that the step belongs to, counted from 1. `target.history` has an entry for each finished epoch.
    """
    generator = seeded_generator(config.seed, deposit_set.labels.device)
    reference = original_reference(original, deposit_set.images, config)
    steps = -(-len(deposit_set) // config.deposit_batch_size)
    learners = [list(target.lower.parameters()), list(deposit_module.parameters())]
    optimiser, schedule = one_cycle(
        sum(learners, []),
        config.deposit_learning_rate,
        config.deposit_epochs * steps,
        config.momentum,
        config.weight_decay,
    )
    follow = config.batch_statistics == "updated"
    try:
        for epoch in range(1, config.deposit_epochs + 1):
            target.lower.train(follow), deposit_module.train(follow)
            totals = {}
            order = torch.randperm(len(deposit_set), generator=generator, device=generator.device)
            for chosen in order.split(config.deposit_batch_size):
                batch = deposit_set.select(chosen, deposit_set.deposit_classes)
                terms = deposit_terms(
                    target, deposit_module, batch, [part[chosen] for part in reference], generator, config
                )
                # at once where asking costs nothing; a GPU would have to be waited for, so there at the epoch's end
                if terms["loss"].device.type == "cpu" and not terms["loss"].isfinite():
                    raise LirfError(_diverged(epoch, config))
                optimiser.zero_grad()
                terms["loss"].backward()
                norms = [torch.nn.utils.clip_grad_norm_(weights, config.max_gradient_norm) for weights in learners]
                optimiser.step()
                schedule.step()
                terms["gradient_norm"] = torch.stack(norms).norm()
                for name, term in terms.items():
                    totals[name] = totals.get(name, 0) + term.detach() * len(chosen) / len(deposit_set)
                yield epoch
            means = {name: float(total) for name, total in totals.items()}
            if not all(math.isfinite(mean) for mean in means.values()):
                raise LirfError(_diverged(epoch, config))
            target.history.append({"epoch": epoch, "loss": means["loss"]} | means)
    finally:
        target.eval(), deposit_module.eval()
    # what the very last step did shows in no loss
    answers = predict(lambda part: target(part) + target.upper(deposit_module(part)), deposit_set.images)
    if not answers.isfinite().all():
        raise LirfError(_diverged(config.deposit_epochs, config))


def original_reference(original, images, config):
    """Return what the original makes of some images: its logits (N, K), and its lower blocks' features (N, C, H, W)."""
    cut = split(original, config.split_after)
    with evaluation_mode(original):
        features = predict(cut.lower, images)
        return predict(cut.upper, features), features


def deposit_terms(target, deposit_module, batch, reference, generator, config):
    """Compute the terms of L_all on one batch; a term whose λ is 0 is left out.

    Parameters
    ----------
    target : SplitNetwork
    deposit_module : DepositModule
    batch : ImageData
        Samples of the deposit set.
    reference : tuple of torch.Tensor
        `original_reference` of the same images.
    generator : torch.Generator
        Draws the random wrong labels.
    config : Config

    Returns
    -------
    dict of str to torch.Tensor
        Scalars: ``"loss"``, and as computed ``"removal"`` (L_kr), ``"attention_distance"``, ``"preservation"``,
        ``"recovery"``, ``"transfer"``.
    """
    original_logits, original_features = reference
    classes = deposit_module.deposit_classes
    # what is to be forgotten of a sample: all deposit classes, or where samples are deposited just its own
    forgotten = batch.labels[:, None] if batch.deposit_classes is None else classes
    with autocast(config, batch.labels.device):
        target_features = target.lower(batch.images)  # (N, C_n, H_n, W_n)
        target_logits = target.upper(target_features).float()  # (N, K)
        if config.lambda_re or config.lambda_pt:
            module_features = deposit_module(batch.images)  # (N, C_n, H_n, W_n)
            module_logits = target.upper(module_features).float()  # (N, K)
    if config.relabel == "random":
        labels_wrong = losses.wrong_labels(batch.labels, batch.num_classes, generator)
    else:
        labels_wrong = losses.best_preserved_labels(original_logits, forgotten)
    terms, distance = {}, 0.0
    if config.lambda_at:
        maps = [losses.attention_map(features.float()) for features in (target_features, original_features)]  # (N, H·W)
        distance = losses.attention_distance(*maps)
        terms["attention_distance"] = distance
    if config.preservation == "logits":
        judged = losses.hold_preserved(target_logits, original_logits, forgotten)
    else:
        judged = target_logits
    terms["removal"] = losses.removal_loss(judged, labels_wrong, distance, config.lambda_at)
    if config.lambda_kp and config.preservation == "logits":
        terms["preservation"] = losses.logit_preservation_loss(target_logits, original_logits, forgotten)
    elif config.lambda_kp:
        terms["preservation"] = losses.preservation_loss(target_logits, original_logits, forgotten, config.temperature)
    if config.lambda_re and config.recovery == "features":
        terms["recovery"] = losses.feature_recovery_loss(module_features.float(), original_features)
    elif config.lambda_re:
        # detached: what makes withdrawal easy is the module's to learn, it must not teach the target the deposit set
        recovered_logits = merge_logits(target_logits.detach(), module_logits, classes)
        if config.recovery == "paper":
            terms["recovery"] = losses.recovery_loss(recovered_logits, batch.labels)
        else:
            terms["recovery"] = losses.distilled_recovery_loss(recovered_logits, original_logits, config.temperature)
    if config.lambda_pt:
        terms["transfer"] = losses.partial_transfer_loss(module_logits, original_logits, classes, config.temperature)
    optional = [terms.get(name, 0.0) for name in ("preservation", "recovery", "transfer")]
    terms["loss"] = losses.deposit_loss(terms["removal"], *optional, config)
    return terms


def _diverged(epoch, config):
    """Say that the loss stopped being finite, and which knobs to turn."""
    weights = {name: getattr(config, name) for name in ("lambda_at", "lambda_kp", "lambda_re", "lambda_pt")}
    largest = max(weights, key=weights.get)
    return (
        f"the deposit's loss stopped being finite in epoch {epoch}: lower deposit_learning_rate, now "
        f"{config.deposit_learning_rate}, max_gradient_norm, now {config.max_gradient_norm}, or {largest}, now "
        f"{weights[largest]}"
    )
