"""The terms of the deposit's loss, one function per symbol of the paper (Ye et al. 2022).

Logits are (N, K), features (N, C, H, W), labels (N,); every loss is a scalar, the mean over the samples. What a
function calls a teacher should carry no gradient.
"""

import torch
from torch.nn import functional

from lirf_kit.config import LirfError


def select_preserved(logits, deposit_classes):
    """g: the logits of the preserved classes; the other columns are dropped, not zeroed.

    Parameters
    ----------
    logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        The classes whose columns are dropped: k numbers for all samples alike, or int64 (N, k), each sample's own.

    Returns
    -------
    torch.Tensor
        (N, K − k), in the order of the classes' numbers.
    """
    columns = _columns(logits, deposit_classes)
    dropped = torch.zeros_like(logits, dtype=torch.uint8).scatter_(1, columns, 1)
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
    """Return the numbers of some classes' columns for each sample, (N, k)."""
    return torch.as_tensor(classes, device=logits.device).expand(len(logits), -1)


def wrong_labels(labels, num_classes, generator):
    """y_r: a random wrong label for each sample, each of the K − 1 wrong classes equally likely.

    Parameters
    ----------
    labels : torch.Tensor
        int64, (N,), the true labels.
    num_classes : int
        K.
    generator : torch.Generator
        On the labels' device.

    Returns
    -------
    torch.Tensor
        int64, (N,); an offset of 1 to K − 1 never leads back to the true label.
    """
    offset = torch.randint(1, num_classes, labels.shape, generator=generator, device=labels.device)
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
    return original_logits.scatter(1, _columns(original_logits, deposit_classes), -torch.inf).argmax(dim=1)


def attention_map(features):
    """Where a network looks: the channel-wise mean of squared activations, flattened, scaled to length 1.

    Zagoruyko & Komodakis 2017, attention transfer. A sample whose activations are all zero has a map of zeros.

    Parameters
    ----------
    features : torch.Tensor
        (N, C, H, W).

    Returns
    -------
    torch.Tensor
        (N, H·W), non-negative.
    """
    return functional.normalize(features.square().mean(dim=1).flatten(1), dim=1)


def attention_distance(attention, original_attention):
    """L_at = mean over samples of ‖A(T^(-n)(x)) − A(T_0^(-n)(x))‖²; A is the attention map   (Ye et al. 2022).

    Non-negative unit vectors are at most √2 apart, so it lies in [0, 2]; for maps of one position it is always 0.

    Parameters
    ----------
    attention, original_attention : torch.Tensor
        (N, H·W), `attention_map` of what the target's and the original's lower blocks return.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return (attention - original_attention).square().sum(dim=1).mean()


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
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def class_scatter(features, labels, ridge):
    """L_cs = tr[(S_T + εI)⁻¹ S_B] / (k − 1): the share of the class labels that a ridge regression reads off features.

    S_T is the covariance of the features, S_B that of their class means. A linear probe asks for the same thing, so a
    target that lowers L_cs hides the classes from it. L_cs is 0 exactly where all class means are equal, and then no
    linear classifier can tell the classes apart (Fisher 1936; Belrose et al. 2023, LEACE). It is the kit's own term.

    Parameters
    ----------
    features : torch.Tensor
        (N, D), float32: the lower blocks' features, averaged over their positions.
    labels : torch.Tensor
        int64, (N,), of k classes.
    ridge : torch.Tensor or float
        ε, above 0, in the unit of a variance. A larger ε overlooks directions in which the features hardly vary. Take
        it from the original's features: if it followed the target's, L_cs would not see them shrink.

    Returns
    -------
    torch.Tensor
        Scalar in [0, 1].

    Raises
    ------
    LirfError
        If all samples are of one class: a single class has no scatter between classes.
    """
    classes = labels.unique()
    if len(classes) < 2:
        raise LirfError(f"labels must be of at least two classes, not only of {classes.tolist()}")
    belongs = (labels[:, None] == classes).float()  # (N, k), one-hot
    centred = features - features.mean(dim=0)  # (N, D)
    means = (belongs / belongs.sum(dim=0)).T @ centred  # (k, D), of the classes
    total = centred.T @ centred / len(features)  # S_T, (D, D)
    total = total + ridge * torch.eye(len(total), device=features.device)
    solved = torch.linalg.solve(total, means.T).T  # (S_T + εI)⁻¹ m_c, (k, D)
    trace = belongs.mean(dim=0) @ (means * solved).sum(dim=1)  # S_B is the sum of share_c · m_c m_cᵀ
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
        L_at, as `attention_distance` gives it.
    lambda_at : float
        How much the distance counts.
    scatter : torch.Tensor or float
        L_cs, as `class_scatter` gives it.
    lambda_cs : float
        How much the scatter counts; 0 in the paper's loss.

    Returns
    -------
    torch.Tensor
        Scalar; below zero where the distance outweighs the cross-entropy.
    """
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
        select_preserved(target_logits, deposit_classes),
        select_preserved(original_logits, deposit_classes),
        temperature,
    )


def logit_preservation_loss(target_logits, original_logits, deposit_classes):
    """L_kp, the kit's variant: ½ · mean of (g(z_T) − g(z_T0))² over samples and preserved classes.

    KD compares softmaxes, and no softmax changes when all of its logits rise together. The recovered network has the
    deposit module's logits beside these, so their height counts: here they keep it (logit matching; Ba & Caruana 2014).

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
    preserved = [select_preserved(logits, deposit_classes) for logits in (target_logits, original_logits)]
    return functional.mse_loss(*preserved) / 2


def hold_preserved(target_logits, original_logits, deposit_classes):
    """The target's deposit logits among the original's preserved ones: who lowers a loss of these can't raise those.

    Parameters
    ----------
    target_logits, original_logits : torch.Tensor
        (N, K).
    deposit_classes : iterable of int, or torch.Tensor
        The columns of the target, as for `select_preserved`.

    Returns
    -------
    torch.Tensor
        (N, K).
    """
    columns = _columns(target_logits, deposit_classes)
    return original_logits.scatter(1, columns, target_logits.gather(1, columns))


def partial_transfer_loss(module_logits, original_logits, deposit_classes, temperature):
    """L_pt = KD(ḡ(z_{T_r∘T^(n-)}/τ), ḡ(z_T0/τ))   (Ye et al. 2022, partial knowledge transfer).

    Parameters
    ----------
    module_logits, original_logits : torch.Tensor
        (N, K); the deposit module's are read out through the shared upper blocks.
    deposit_classes : iterable of int
        ḡ keeps their columns.
    temperature : float
        τ.

    Returns
    -------
    torch.Tensor
        Scalar; always 0 for a single deposit class.
    """
    return distillation_loss(
        select_deposited(module_logits, deposit_classes),
        select_deposited(original_logits, deposit_classes),
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

    Cross-entropy on deposit samples alone teaches the module to answer "one of mine" to everything; the original's
    logits also say how unlike the other classes each image is.

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

    A module that makes the original's features gives the original's logits through the shared upper blocks, on every
    image and on their old scale. Features say far more of an image than K logits (Romero et al. 2015, FitNets).

    Parameters
    ----------
    module_features, original_features : torch.Tensor
        (N, C, H, W).

    Returns
    -------
    torch.Tensor
        Scalar, at least 0; 1 for a module that returns zeros.
    """
    distance = (module_features - original_features).square().sum()
    return distance / original_features.square().sum().clamp_min(torch.finfo(torch.float32).tiny)


def deposit_loss(removal, preservation, recovery, transfer, config):
    """L_all = L_kr + λ_kp·L_kp + λ_re·L_re + λ_pt·L_pt   (Ye et al. 2022).

    Parameters
    ----------
    removal, preservation, recovery, transfer : torch.Tensor or float
        L_kr, L_kp, L_re and L_pt.
    config : Config
        Reads `lambda_kp`, `lambda_re` and `lambda_pt`.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return removal + config.lambda_kp * preservation + config.lambda_re * recovery + config.lambda_pt * transfer
