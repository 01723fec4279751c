"""The terms of the deposit loss, one function per symbol of the paper (Ye et al. 2022).

Logits are (N, K), features (N, C, H, W), labels (N,). Every loss is a scalar, most of them a mean over the samples.
The outputs of the network to learn from (the teacher, here the original) should carry no gradient.
"""

import torch
from torch.nn import functional

from lirf_kit.config import LirfError


def select_preserved(logits, deposit_classes):
    """g: the logits of the preserved classes. The other columns are dropped, not zeroed.

    Parameters
    ----------
    logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        The classes whose columns are dropped: k numbers for all samples, or int64 (N, k), different for each sample.

    Returns
    -------
    torch.Tensor
        (N, K − k), in the order of the class numbers.
    """
    columns = _columns(logits, deposit_classes)  # (N, k)
    dropped = torch.zeros_like(logits, dtype=torch.uint8).scatter_(1, columns, 1)  # (N, K), 1 where a column goes
    # a stable sort moves the zeros to the front and keeps their order: the columns that stay, (N, K − k)
    kept = dropped.argsort(dim=1, stable=True)[:, : logits.shape[1] - columns.shape[1]]
    return logits.gather(1, kept)


def select_deposited(logits, deposit_classes):
    """ḡ: the logits of the deposit classes.

    Parameters
    ----------
    logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        The k classes whose columns are kept, as for `select_preserved`.

    Returns
    -------
    torch.Tensor
        (N, k), in the order given.
    """
    return logits.gather(1, _columns(logits, deposit_classes))


def _columns(logits, classes):
    """Return the column numbers of some classes for each sample, (N, k)."""
    # expand repeats (k,) for every sample, and leaves (N, k) as it is
    return torch.as_tensor(classes, device=logits.device).expand(len(logits), -1)


def wrong_labels(labels, num_classes, generator):
    """y_r: a random wrong label for each sample. Each of the K − 1 wrong classes is equally likely.

    Parameters
    ----------
    labels : torch.Tensor
        int64, (N,), the true labels.
    num_classes : int
        K.
    generator : torch.Generator
        On the same device as the labels.

    Returns
    -------
    torch.Tensor
        int64, (N,). An offset from 1 to K − 1 never leads back to the true label.
    """
    offset = torch.randint(1, num_classes, labels.shape, generator=generator, device=labels.device)  # 1 to K − 1
    return (labels + offset) % num_classes


def best_preserved_labels(original_logits, deposit_classes):
    """y_r, the kit's variant: the preserved class that the original finds most likely.

    Parameters
    ----------
    original_logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        The classes that may not be chosen, as for `select_preserved`.

    Returns
    -------
    torch.Tensor
        int64, (N,).
    """
    # a logit of −∞ never wins the arg max
    return original_logits.scatter(1, _columns(original_logits, deposit_classes), -torch.inf).argmax(dim=1)


def attention_map(features):
    """Where a network looks: the channel-wise mean of squared activations, flattened, scaled to length 1.

    Zagoruyko & Komodakis 2017, attention transfer. If all activations of a sample are zero, its map is all zeros.

    Parameters
    ----------
    features : torch.Tensor
        (N, C, H, W).

    Returns
    -------
    torch.Tensor
        (N, H·W), non-negative.
    """
    # the mean over the channels is (N, H, W), flattened (N, H·W); each row is then scaled to length 1
    return functional.normalize(features.square().mean(dim=1).flatten(1), dim=1)


def attention_distance(attention, original_attention):
    """L_at = mean over samples of ‖A(T^(-n)(x)) − A(T_0^(-n)(x))‖²; A is the attention map   (Ye et al. 2022).

    Two non-negative unit vectors are at most √2 apart, so L_at lies in [0, 2]. For maps with a single position it is
    always 0.

    Parameters
    ----------
    attention, original_attention : torch.Tensor
        (N, H·W), the `attention_map` of what the target's and the original's lower blocks return.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return (attention - original_attention).square().sum(dim=1).mean()  # sum over positions, mean over samples


def distillation_loss(student_logits, teacher_logits, temperature):
    """KD = τ² · mean over samples of KL(softmax(z_teacher/τ) ‖ softmax(z_student/τ))   (Hinton et al. 2015).

    Parameters
    ----------
    student_logits, teacher_logits : torch.Tensor
        (N, any number of classes), not yet divided by τ.
    temperature : float
        τ.

    Returns
    -------
    torch.Tensor
        Scalar, in nats times τ².
    """
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    # τ² because the gradients of softened logits shrink as 1/τ²; batchmean: sum over classes, mean over samples
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def class_scatter(features, labels, ridge):
    """L_cs = tr[(S_T + εI)⁻¹ S_B] / (k − 1): the share of the class labels that ridge regression reads off features.

    S_T is the covariance of the features, and S_B that of their class means. A linear probe looks for the same thing,
    so a target that lowers L_cs hides the classes from it. L_cs is 0 exactly when all class means are equal, and then
    no linear classifier can tell the classes apart (Fisher 1936; Belrose et al. 2023, LEACE). This term is the kit's
    own.

    Parameters
    ----------
    features : torch.Tensor
        (N, D), float32: the lower blocks' features, averaged over their positions.
    labels : torch.Tensor
        int64, (N,), of k classes.
    ridge : torch.Tensor or float
        ε, above 0, in the unit of a variance. The larger ε is, the more L_cs ignores directions in which the features
        hardly vary. Compute it from the original's features: if it followed the target's, L_cs would not notice that
        they shrink.

    Returns
    -------
    torch.Tensor
        Scalar in [0, 1].

    Raises
    ------
    LirfError
        If all samples belong to one class, which has no scatter between classes; if there isn't a label for each
        sample; or if ε is a plain number that isn't above 0.
    """
    if not isinstance(ridge, torch.Tensor) and not ridge > 0:  # to look at a tensor, the GPU would have to wait
        raise LirfError(f"ridge must be above 0, not {ridge!r}")
    if labels.shape != features.shape[:1]:
        raise LirfError(
            f"labels must have the shape ({len(features)},), one for each sample, not {tuple(labels.shape)}"
        )
    classes = labels.unique()  # (k,)
    if len(classes) < 2:
        raise LirfError(f"labels must contain at least two classes, not just {classes.tolist()}")
    belongs = (labels[:, None] == classes).float()  # (N, k), one-hot
    centred = features - features.mean(dim=0)  # (N, D)
    means = (belongs / belongs.sum(dim=0)).T @ centred  # (k, D): m_c, the mean of each class
    total = centred.T @ centred / len(features)  # S_T, (D, D)
    # without εI, S_T has no inverse if there are at most D samples, or if a feature never varies
    total = total + ridge * torch.eye(len(total), device=features.device)
    solved = torch.linalg.solve(total, means.T).T  # (S_T + εI)⁻¹ m_c, (k, D)
    # S_B is the sum of share_c · m_c m_cᵀ, so the trace is the sum of share_c · m_cᵀ (S_T + εI)⁻¹ m_c
    trace = belongs.mean(dim=0) @ (means * solved).sum(dim=1)
    return trace / (len(classes) - 1)


def removal_loss(target_logits, labels_wrong, distance, lambda_at, scatter=0.0, lambda_cs=0.0):
    """L_kr = CE(T(x), y_r) − λ_at · L_at + λ_cs · L_cs   (Ye et al. 2022, knowledge removal; L_cs is the kit's own).

    Parameters
    ----------
    target_logits : torch.Tensor
        (N, K), T(x).
    labels_wrong : torch.Tensor
        int64, (N,), y_r.
    distance : torch.Tensor or float
        L_at, as `attention_distance` returns it.
    lambda_at : float
        The weight of the distance.
    scatter : torch.Tensor or float
        L_cs, as `class_scatter` returns it.
    lambda_cs : float
        The weight of the scatter; 0 in the paper's loss.

    Returns
    -------
    torch.Tensor
        Scalar; below zero if the distance outweighs the cross-entropy.
    """
    # minus: L_kr is minimised, and the attention distance should grow
    return functional.cross_entropy(target_logits, labels_wrong) - lambda_at * distance + lambda_cs * scatter


def preservation_loss(target_logits, original_logits, deposit_classes, temperature):
    """L_kp = KD(g(z_T/τ), g(z_T0/τ))   (Ye et al. 2022, knowledge preservation).

    Parameters
    ----------
    target_logits, original_logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        g drops their columns, as for `select_preserved`.
    temperature : float
        τ.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return distillation_loss(
        select_preserved(target_logits, deposit_classes),  # g(z_T), the student: (N, K − k)
        select_preserved(original_logits, deposit_classes),  # g(z_T0), the teacher
        temperature,
    )


def logit_preservation_loss(target_logits, original_logits, deposit_classes):
    """L_kp, the kit's variant: ½ · mean of (g(z_T) − g(z_T0))² over samples and preserved classes.

    KD compares softmaxes, and a softmax doesn't change when all of its logits rise together. In the recovered network
    these logits compete with the deposit module's, so their height matters, and this loss keeps it (logit matching;
    Ba & Caruana 2014).

    Parameters
    ----------
    target_logits, original_logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        g drops their columns, as for `select_preserved`.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    preserved = [select_preserved(logits, deposit_classes) for logits in (target_logits, original_logits)]  # (N, K − k)
    return functional.mse_loss(*preserved) / 2


def hold_preserved(target_logits, original_logits, deposit_classes):
    """Join the target's deposit logits with the original's preserved ones, so that a loss can only move the former.

    Otherwise cross-entropy with a wrong label could also fall because the target's preserved logits rise.

    Parameters
    ----------
    target_logits, original_logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        The columns to take from the target, as for `select_preserved`.

    Returns
    -------
    torch.Tensor
        (N, K).
    """
    columns = _columns(target_logits, deposit_classes)  # (N, k)
    return original_logits.scatter(1, columns, target_logits.gather(1, columns))  # gradients reach these columns only


def partial_transfer_loss(module_logits, original_logits, deposit_classes, temperature):
    """L_pt = KD(ḡ(z_{T_r∘T^(n-)}/τ), ḡ(z_T0/τ))   (Ye et al. 2022, partial knowledge transfer).

    Parameters
    ----------
    module_logits, original_logits : torch.Tensor
        (N, K). The deposit module's logits are read out through the shared upper blocks.
    deposit_classes : iterable of int
        ḡ keeps their columns.
    temperature : float
        τ.

    Returns
    -------
    torch.Tensor
        Scalar; always 0 for a single deposit class, because a softmax over one class is always 1.
    """
    return distillation_loss(
        select_deposited(module_logits, deposit_classes),  # ḡ(z_{T_r∘T^(n-)}), the student: (N, k)
        select_deposited(original_logits, deposit_classes),  # ḡ(z_T0), the teacher
        temperature,
    )


def recovery_loss(recovered_logits, labels):
    """L_re = CE(T̃(x), y)   (Ye et al. 2022, recovery).

    Parameters
    ----------
    recovered_logits : torch.Tensor
        (N, K), T̃(x).
    labels : torch.Tensor
        int64, (N,), the true labels.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return functional.cross_entropy(recovered_logits, labels)


def distilled_recovery_loss(recovered_logits, original_logits, temperature):
    """L_re, the kit's variant: KD(T̃(x)/τ, z_T0/τ) over all K classes.

    Cross-entropy on deposit samples alone teaches the module to answer "one of mine" to every image. The original's
    logits also say how little each image resembles the other classes.

    Parameters
    ----------
    recovered_logits, original_logits : torch.Tensor
        (N, K).
    temperature : float
        τ.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return distillation_loss(recovered_logits, original_logits, temperature)


def feature_recovery_loss(module_features, original_features):
    """L_re, the kit's choice: ‖T_r(x) − T_0^(-n)(x)‖² / ‖T_0^(-n)(x)‖², norms over the whole batch.

    A module that reproduces the original's features also gives the original's logits through the shared upper blocks,
    for every image and on the original scale. Features say far more about an image than K logits do (Romero et al.
    2015, FitNets).

    Parameters
    ----------
    module_features, original_features : torch.Tensor
        (N, C, H, W).

    Returns
    -------
    torch.Tensor
        Scalar, at least 0; 1 for a module that returns zeros.
    """
    distance = (module_features - original_features).square().sum()  # over samples, channels and positions
    # relative, so that λ_re means the same for features of any size; the clamp avoids a division by 0
    return distance / original_features.square().sum().clamp_min(torch.finfo(torch.float32).tiny)


def deposit_loss(removal, preservation, own_statistics, recovery, transfer, config, adversarial_preservation=0.0):
    """L_all = L_kr + λ_kp·L_kp + λ_ap·L_ap + λ_os·L_os + λ_re·L_re + λ_pt·L_pt   (Ye et al. 2022).

    Two terms are the kit's own. L_ap is L_kp on images that are nudged towards preserved classes (`nudge`): the
    deposit images alone don't show how high the preserved classes' logits can be, and a target that forgets inside
    shrinks them. L_os is L_kr + λ_kp·L_kp once more, with the target's BatchNorm using the statistics of the batch
    instead of the original's. Without it a target can forget in a way that depends on the old statistics: if somebody
    recomputes them from any images, the deposit classes come back without training.

    Parameters
    ----------
    removal, preservation, own_statistics, recovery, transfer : torch.Tensor or float
        L_kr, L_kp, L_os, L_re and L_pt.
    config : Config
        Reads `lambda_kp`, `lambda_ap`, `lambda_os`, `lambda_re` and `lambda_pt`; `lambda_at` and `lambda_cs` are part
        of L_kr.
    adversarial_preservation : torch.Tensor or float
        L_ap.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    target_learns = removal + config.lambda_kp * preservation + config.lambda_os * own_statistics
    target_learns = target_learns + config.lambda_ap * adversarial_preservation
    return target_learns + config.lambda_re * recovery + config.lambda_pt * transfer
