"""The recovered network: target and deposit module, plugged together without data and without training."""

import torch
from torch import nn

from lirf_kit.config import LirfError
from lirf_kit.method.networks import penultimate


class DepositModule(nn.Module):
    """T_r: a container for the knowledge of the deposit classes, no classifier on its own.

    Attributes
    ----------
    lower : nn.Sequential
        A copy of the original's lower blocks; its parameters are the module's only ones.
    deposit_classes : torch.Tensor
        int64, (k,), a buffer: the classes whose logits it supplies.
    """

    def __init__(self, lower, deposit_classes):
        super().__init__()
        self.lower = lower
        self.register_buffer("deposit_classes", torch.as_tensor(deposit_classes, dtype=torch.int64))

    def forward(self, images):
        """Images to features (N, C_n, H_n, W_n), which the shared upper blocks read out."""
        return self.lower(images)


class RecoveredNetwork(nn.Module):
    """T̃(x) = g(T(x)) + ḡ((T_r ∘ T^(n-))(x)), one formula for every input   (Ye et al. 2022, withdrawal).

    Attributes
    ----------
    target : SplitNetwork
    deposit_module : DepositModule
        Both as they were given, not copied.
    """

    def __init__(self, target, deposit_module):
        super().__init__()
        self.target = target
        self.deposit_module = deposit_module

    def forward(self, images):
        """uint8 images (N, C, H, W) to logits (N, K)."""
        target_logits = self.target(images)  # (N, K)
        module_logits = self.target.upper(self.deposit_module(images))  # (N, K)
        return merge_logits(target_logits, module_logits, self.deposit_module.deposit_classes)

    def features(self, images):
        """Return the target's and the module's final-layer features side by side, (N, 2·D), for every input alike."""
        module_features = penultimate(self.target.upper, self.deposit_module(images))
        return torch.cat([self.target.features(images), module_features], dim=1)

    @property
    def device(self):
        """The device of the parameters."""
        return self.target.device


def merge_logits(target_logits, module_logits, deposit_classes):
    """Take the deposit classes' logits from the module and all others from the target.

    Parameters
    ----------
    target_logits, module_logits : torch.Tensor
        (N, K).
    deposit_classes : torch.Tensor
        int64, (k,).

    Returns
    -------
    torch.Tensor
        (N, K), every logit at its class's index.
    """
    deposited = torch.zeros(target_logits.shape[1], dtype=torch.bool, device=target_logits.device)
    deposited[deposit_classes] = True
    return torch.where(deposited, module_logits, target_logits)


def withdraw(target, deposit_module):
    """Plug the deposit module back in.

    No data, no training: the two networks are joined as they are, and nothing is copied.

    Parameters
    ----------
    target : SplitNetwork
        What `deposit` left.
    deposit_module : DepositModule
        What the same call of `deposit` took out.

    Returns
    -------
    RecoveredNetwork
        In evaluation mode.

    Raises
    ------
    LirfError
        If the module's features don't fit the target's upper blocks, or its classes aren't the target's.
    """
    if not isinstance(deposit_module, DepositModule):
        raise LirfError(f"deposit_module must be what deposit returned second, not a {type(deposit_module).__name__}")
    width = _width(target.lower)
    if _width(deposit_module.lower) != width or len(deposit_module.lower) != len(target.lower):
        raise LirfError(
            f"deposit_module must fit the target: {len(target.lower)} lower layers that end in {width} channels, not "
            f"{len(deposit_module.lower)} that end in {_width(deposit_module.lower)}"
        )
    num_classes = target.upper[-1].out_features
    if int(deposit_module.deposit_classes.max()) >= num_classes:
        raise LirfError(
            f"deposit_module must hold classes of the target, from 0 to {num_classes - 1}, not "
            f"{deposit_module.deposit_classes.tolist()}"
        )
    return RecoveredNetwork(target, deposit_module).eval()


def _width(lower):
    """How many channels lower blocks end in."""
    return [layer for layer in lower.modules() if isinstance(layer, nn.BatchNorm2d)][-1].num_features
