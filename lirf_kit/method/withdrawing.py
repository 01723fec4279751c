"""The recovered network: the target with the deposit module plugged in, without data and without training."""

import torch
from torch import nn

from lirf_kit.config import LirfError
from lirf_kit.method.networks import penultimate


class DepositModule(nn.Module):
    """T_r: a container for the knowledge of the deposit classes. It can't classify on its own.

    Attributes
    ----------
    lower : nn.Sequential
        A copy of the original's lower blocks, perhaps pruned. The module has no other parameters.
    deposit_classes : torch.Tensor
        int64, (k,), a buffer: the classes whose logits the module supplies.
    """

    def __init__(self, lower, deposit_classes):
        super().__init__()
        self.lower = lower
        # a buffer is saved with the weights and moves with the module, but is never trained
        self.register_buffer("deposit_classes", torch.as_tensor(deposit_classes, dtype=torch.int64))

    def forward(self, images):
        """uint8 images (N, C, H, W) to features (N, C_n, H_n, W_n), for the shared upper blocks to read out."""
        return self.lower(images)  # T_r(x)


class RecoveredNetwork(nn.Module):
    """T̃(x) = g(T(x)) + ḡ((T_r ∘ T^(n-))(x)), one formula for every input   (Ye et al. 2022, withdrawal).

    Attributes
    ----------
    target : SplitNetwork
    deposit_module : DepositModule
        Both are the objects that were given, not copies.
    """

    def __init__(self, target, deposit_module):
        super().__init__()
        self.target = target
        self.deposit_module = deposit_module

    def forward(self, images):
        """uint8 images (N, C, H, W) to logits (N, K)."""
        target_logits = self.target(images)  # T(x), (N, K)
        module_logits = self.target.upper(self.deposit_module(images))  # (T_r ∘ T^(n-))(x), (N, K)
        return merge_logits(target_logits, module_logits, self.deposit_module.deposit_classes)

    def features(self, images):
        """Return the target's and the module's final-layer features side by side, (N, 2·D), whatever the input."""
        module_features = penultimate(self.target.upper, self.deposit_module(images))  # (N, D)
        return torch.cat([self.target.features(images), module_features], dim=1)

    @property
    def device(self):
        """The device of the parameters."""
        return self.target.device


def merge_logits(target_logits, module_logits, deposit_classes):
    """Take the deposit classes' logits from the module and all other logits from the target.

    Parameters
    ----------
    target_logits, module_logits : torch.Tensor
        (N, K).
    deposit_classes : torch.Tensor
        int64, (k,).

    Returns
    -------
    torch.Tensor
        (N, K), every logit at the index of its class.
    """
    deposited = torch.zeros(target_logits.shape[1], dtype=torch.bool, device=target_logits.device)  # (K,)
    deposited[deposit_classes] = True
    return torch.where(deposited, module_logits, target_logits)  # the same columns for every sample


def withdraw(target, deposit_module):
    """Plug the deposit module back in.

    This takes no data and no training. The two networks are joined without changing or copying anything.

    Parameters
    ----------
    target : SplitNetwork
        The first result of `deposit`.
    deposit_module : DepositModule
        The second result of the same call.

    Returns
    -------
    RecoveredNetwork
        In evaluation mode.

    Raises
    ------
    LirfError
        If the module's features don't fit the target's upper blocks, or if it has classes that the target doesn't have.
    """
    if not isinstance(deposit_module, DepositModule):
        raise LirfError(f"deposit_module must be deposit's second result, not a {type(deposit_module).__name__}")
    width = _width(target.lower)  # C_n, the channels that the upper blocks expect
    if _width(deposit_module.lower) != width or len(deposit_module.lower) != len(target.lower):
        raise LirfError(
            f"deposit_module must fit the target: {len(target.lower)} lower layers that end in {width} channels, not "
            f"{len(deposit_module.lower)} that end in {_width(deposit_module.lower)}"
        )
    num_classes = target.upper[-1].out_features  # K
    if int(deposit_module.deposit_classes.max()) >= num_classes:
        raise LirfError(
            f"deposit_module must hold classes of the target, from 0 to {num_classes - 1}, not "
            f"{deposit_module.deposit_classes.tolist()}"
        )
    return RecoveredNetwork(target, deposit_module).eval()


def _width(lower):
    """Return the number of channels that lower blocks end in, C_n."""
    # the last BatchNorm, at the end of the last block or of its shortcut, is as wide as the output
    return [layer for layer in lower.modules() if isinstance(layer, nn.BatchNorm2d)][-1].num_features
