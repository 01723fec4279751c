"""The recovered network: the target with the deposit module plugged in, without data and without training."""

import torch
from torch import nn

from lirf_kit.config import LirfError, check_choice
from lirf_kit.devices import all_finite
from lirf_kit.method.containers import HALF, DepositModule, DifferenceModule
from lirf_kit.method.networks import penultimate


class RecoveredNetwork(nn.Module):
    """T̃(x) = g(T(x)) + ḡ((T_r ∘ T^(n-))(x)), one formula for every input   (Ye et al. 2022, withdrawal).

    Attributes
    ----------
    target : SplitNetwork
    deposit_module : DepositModule or DifferenceModule
        Both are the objects that were given, not copies.
    module_lower : nn.Sequential
        The lower blocks that see the deposit classes: the module itself, or the target's with the difference added.
    preserved : {"target", "mean"}
        As for `withdraw`.
    """

    def __init__(self, target, deposit_module, preserved="target"):
        super().__init__()
        self.target = target
        self.deposit_module = deposit_module
        self.module_lower = deposit_module.restore(target)
        self.preserved = preserved

    def forward(self, images):
        """uint8 images (N, C, H, W) to logits (N, K)."""
        target_logits = self.target(images)  # T(x), (N, K)
        module_logits = self.target.upper(self.module_lower(images))  # (T_r ∘ T^(n-))(x), (N, K)
        return merge_logits(target_logits, module_logits, self.deposit_module.deposit_classes, self.preserved)

    def features(self, images):
        """Return the target's and the module's final-layer features side by side, (N, 2·D), whatever the input."""
        module_features = penultimate(self.target.upper, self.module_lower(images))  # (N, D)
        return torch.cat([self.target.features(images), module_features], dim=1)

    @property
    def device(self):
        """The device of the parameters."""
        return self.target.device


def merge_logits(target_logits, module_logits, deposit_classes, preserved="target"):
    """Take the deposit classes' logits from the module and all other logits from the target, or from both.

    Parameters
    ----------
    target_logits, module_logits : torch.Tensor
        (N, K).
    deposit_classes : torch.Tensor
        int64, (k,).
    preserved : {"target", "mean"}
        As for `withdraw`.

    Returns
    -------
    torch.Tensor
        (N, K), every logit at the index of its class.
    """
    deposited = torch.zeros(target_logits.shape[1], dtype=torch.bool, device=target_logits.device)  # (K,)
    deposited[deposit_classes] = True
    others = target_logits if preserved == "target" else (target_logits + module_logits) / 2
    return torch.where(deposited, module_logits, others)  # the same columns for every sample


def withdraw(target, deposit_module, preserved=None, check=True):
    """Plug the deposit module back in.

    This takes no data and no training. Nothing that is given changes. A difference is added to a copy of the target's
    lower blocks, once.

    Parameters
    ----------
    target : SplitNetwork
        The first result of `deposit`.
    deposit_module : DepositModule or DifferenceModule
        The second result of the same call.
    preserved : {"target", "mean"}, optional
        Where the preserved classes' logits come from: the target alone, as in the paper's formula, or the mean of the
        target's and the module's. By default, it is the target with a pruned module, which has only learnt the deposit
        classes, and the mean with a difference, whose preserved logits are as good as the original's.
    check : bool
        Whether to compare the fingerprint that the module carries with the target, and to look for weights that are
        NaN or infinite; False shows what a wrong key gives.

    Returns
    -------
    RecoveredNetwork
        In evaluation mode.

    Raises
    ------
    LirfError
        If the module was made for a different target, or the target was trained on since; if the module's weights
        aren't finite, its features don't fit the target's upper blocks, or it has classes that the target doesn't have.
    """
    if preserved is not None:
        check_choice("preserved", preserved, ("target", "mean"))
    if not isinstance(deposit_module, (DepositModule, DifferenceModule)):
        raise LirfError(f"deposit_module must be deposit's second result, not a {type(deposit_module).__name__}")
    _check_fit(target, deposit_module)
    num_classes = target.upper[-1].out_features  # K
    if int(deposit_module.deposit_classes.max()) >= num_classes:
        raise LirfError(
            f"deposit_module must hold classes of the target, from 0 to {num_classes - 1}, not "
            f"{deposit_module.deposit_classes.tolist()}"
        )
    if check:
        _check_key(target, deposit_module)
    return RecoveredNetwork(target, deposit_module, preserved or deposit_module.preserved).eval()


def _check_fit(target, deposit_module):
    """Raise a `LirfError` unless the module's shapes fit the target."""
    if isinstance(deposit_module, DifferenceModule):
        if not deposit_module.fits(target.lower):
            raise LirfError("deposit_module must fit the target: this difference is of lower blocks of other shapes")
        return
    width = _width(target.lower)  # C_n, the channels that the upper blocks expect
    if _width(deposit_module.lower) != width or len(deposit_module.lower) != len(target.lower):
        raise LirfError(
            f"deposit_module must fit the target: {len(target.lower)} lower layers that end in {width} channels, not "
            f"{len(deposit_module.lower)} that end in {_width(deposit_module.lower)}"
        )


def _check_key(target, deposit_module):
    """Raise a `LirfError` if the module carries the fingerprint of something else than this target, or isn't finite."""
    known, expected = (
        marks.split(HALF) for marks in (deposit_module.belongs_to.cpu(), deposit_module.identify(target))
    )
    unlike = [bool(ours.any()) and not torch.equal(ours, theirs) for ours, theirs in zip(known, expected)]
    if any(unlike):
        other = isinstance(deposit_module, DepositModule) and unlike[0]
        what = "original" if other else "target, or the target was trained on since"
        raise LirfError(f"deposit_module was made for a different {what}; check=False withdraws it all the same")
    if not all_finite(deposit_module):
        raise LirfError(
            "deposit_module must have finite weights, not NaN or infinite ones; check=False withdraws it all the same"
        )


def _width(lower):
    """Return the number of channels that lower blocks end in, C_n."""
    # the last BatchNorm, at the end of the last block or of its shortcut, is as wide as the output
    return [layer for layer in lower.modules() if isinstance(layer, nn.BatchNorm2d)][-1].num_features
