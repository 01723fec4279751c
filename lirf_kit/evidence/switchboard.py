"""The deposit loss taken apart: each term's value on a batch, and how hard it pulls on each block of both networks."""

import pandas
import torch

from lirf_kit.config import LirfError
from lirf_kit.method.containers import DepositModule
from lirf_kit.method.depositing import deposit_terms

WEIGHTS = {"preservation": "lambda_kp", "own_statistics": "lambda_os", "recovery": "lambda_re", "transfer": "lambda_pt"}


def loss_switchboard(target, deposit_module, batch, reference, generator, config):
    """Return each term of L_all on one batch: its value, its weight, and the length of its gradient in each block.

    Parameters
    ----------
    target, deposit_module, batch, reference, generator, config
        As for `deposit_terms`; nothing is changed. L_ap isn't shown, because its images take the original to make.

    Returns
    -------
    pandas.DataFrame
        One row per term that is switched on (λ above 0). L_kr has up to three rows: removal is CE(T(x), y_r), attention
        is −L_at, scatter is L_cs. The columns are value, weight, and for each block ("target stem", "target stage 1",
        …, "module stem", …) the L2 norm of the weighted term's gradient. A zero means that the term doesn't reach the
        block.

    Raises
    ------
    LirfError
        If the batch is empty.
    """
    if not len(batch):
        raise LirfError("batch must hold at least one image, not none")
    terms = deposit_terms(target, deposit_module, batch, reference, generator, config)
    parts = {"attention": (-terms.get("attention_distance", 0.0), config.lambda_at)}  # of L_kr, beside CE
    parts["scatter"] = (terms.get("class_scatter", 0.0), config.lambda_cs)
    parts = {name: (term, weight) for name, (term, weight) in parts.items() if isinstance(term, torch.Tensor)}
    cross_entropy = terms["removal"] - sum(weight * term for term, weight in parts.values())
    pulls = {"removal": (cross_entropy, 1.0)} | parts
    pulls |= {name: (terms[name], getattr(config, knob)) for name, knob in WEIGHTS.items() if name in terms}
    blocks = _blocks("target", target.lower)
    if isinstance(deposit_module, DepositModule):  # a difference has no weights that learn
        blocks |= _blocks("module", deposit_module.lower)
    rows = {
        name: {"value": term.item(), "weight": weight}
        | {block: weight * _gradient_norm(term, layer) for block, layer in blocks.items()}
        for name, (term, weight) in pulls.items()
    }
    return pandas.DataFrame.from_dict(rows, orient="index")


def _blocks(owner, lower):
    """Return the lower blocks by name, without the first layer, the normalisation, which has no weights."""
    names = ["stem", *(f"stage {number}" for number in range(1, len(lower) - 1))]
    return {f"{owner} {name}": layer for name, layer in zip(names, list(lower)[1:])}


def _gradient_norm(term, layer):
    """Return the L2 norm of a term's gradient with respect to a layer's weights, 0 if it doesn't depend on them."""
    if not term.requires_grad:
        return 0.0
    found = torch.autograd.grad(term, list(layer.parameters()), retain_graph=True, allow_unused=True)
    return float(sum(gradient.square().sum() for gradient in found if gradient is not None) ** 0.5)
