import pandas
import pytest
import torch
from torch.nn import functional

import lirf_kit as lk

TARGET_TERMS, MODULE_TERMS = ("removal", "attention", "preservation"), ("recovery", "transfer")


@pytest.fixture
def batch(tiny_parts):
    deposit_set = tiny_parts.deposit_set
    return deposit_set.select(slice(0, 32), deposit_set.deposit_classes)


@pytest.fixture
def arguments(tiny_original, tiny_deposited, batch, tiny):
    """What a batch of the finished deposit is judged by; a generator of its own for each call."""

    def of(config=tiny, pair=tiny_deposited):
        reference = lk.original_reference(tiny_original, batch.images, config)
        return *pair, batch, reference, torch.Generator().manual_seed(0), config

    return of


def blocks(board, owner):
    return [column for column in board.columns if column.startswith(owner)]


def test_the_board_has_a_row_a_term_and_a_column_a_block(arguments, tiny):
    board = lk.loss_switchboard(*arguments())
    assert list(board.index) == ["removal", "attention", "preservation", "recovery", "transfer"]
    assert list(board.columns[:2]) == ["value", "weight"]
    assert blocks(board, "target") == ["target stem", "target stage 1", "target stage 2"]
    assert blocks(board, "module") == ["module stem", "module stage 1", "module stage 2"]
    weights = [1.0, tiny.lambda_at, tiny.lambda_kp, tiny.lambda_re, tiny.lambda_pt]
    assert board["weight"].tolist() == weights


@pytest.mark.parametrize("relabel", ["random", "best_preserved"])
@pytest.mark.parametrize("recovery", ["paper", "distilled", "features"])
def test_the_values_are_the_deposit_s_own_and_weighted_they_sum_to_its_loss(arguments, tiny, relabel, recovery):
    turned = tiny.replace(relabel=relabel, recovery=recovery)
    board = lk.loss_switchboard(*arguments(turned))
    terms = {name: term.item() for name, term in lk.deposit_terms(*arguments(turned)).items()}
    for name in ("preservation", "recovery", "transfer"):
        assert board.loc[name, "value"] == pytest.approx(terms[name])
    assert board.loc["attention", "value"] == pytest.approx(-terms["attention_distance"])
    cross_entropy = terms["removal"] + tiny.lambda_at * terms["attention_distance"]
    assert board.loc["removal", "value"] == pytest.approx(cross_entropy)
    assert (board["value"] * board["weight"]).sum() == pytest.approx(terms["loss"])


def test_the_class_scatter_has_a_row_of_its_own_that_pulls_at_the_target_alone(arguments, tiny):
    board = lk.loss_switchboard(*arguments(tiny.replace(lambda_cs=0.5)))
    assert list(board.index[:3]) == ["removal", "attention", "scatter"]
    assert board.loc["scatter", "weight"] == 0.5 and 0 < board.loc["scatter", "value"] < 1
    assert (board.loc["scatter", blocks(board, "target")] > 0).all()
    assert (board.loc["scatter", blocks(board, "module")] == 0).all()
    # cross-entropy is what is left of L_kr without its other terms
    assert board.loc["removal", "value"] == pytest.approx(lk.loss_switchboard(*arguments()).loc["removal", "value"])


def test_before_the_first_step_of_a_full_copy_only_removal_pulls(tiny_original, tiny_parts, arguments, tiny):
    turned = tiny.replace(keep=1.0)
    board = lk.loss_switchboard(*arguments(turned, lk.start_deposit(tiny_original, tiny_parts.deposit_set, turned)))
    pulls = board.drop(columns=["value", "weight"])
    assert (pulls.loc["removal", blocks(board, "target")] > 0.01).all()
    assert pulls.drop(index="removal").to_numpy().max() < 1e-3 * pulls.loc["removal"].max()


def test_before_the_first_step_of_a_pruned_module_recovery_pulls_at_the_module(
    tiny_original, tiny_parts, arguments, tiny
):
    board = lk.loss_switchboard(*arguments(tiny, lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny)))
    assert (board.loc["recovery", blocks(board, "module")] > 0.01).all()


@pytest.mark.parametrize("recovery", ["paper", "distilled", "features"])
def test_what_is_the_target_s_never_reaches_the_module_nor_the_module_s_the_target(arguments, tiny, recovery):
    board = lk.loss_switchboard(*arguments(tiny.replace(recovery=recovery)))
    target, module = blocks(board, "target"), blocks(board, "module")
    assert not board.loc[list(TARGET_TERMS), module].to_numpy().any()
    assert not board.loc[list(MODULE_TERMS), target].to_numpy().any()
    assert board.loc[list(TARGET_TERMS), target].to_numpy().all()
    assert board.loc[list(MODULE_TERMS), module].to_numpy().all()


def length(loss, layer):
    """The L2 norm of a loss's gradient in a layer, all its weights as one vector."""
    gradients = torch.autograd.grad(loss, list(layer.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


def test_the_pulls_are_autograd_s(tiny_original, arguments, batch, tiny):
    target, module, *_ = arguments()
    board = lk.loss_switchboard(*arguments())
    original_logits = tiny_original(batch.images).detach()
    wrong = original_logits.index_fill(1, torch.tensor(batch.deposit_classes), -torch.inf).argmax(1)
    removal = functional.cross_entropy(target(batch.images), wrong)
    assert board.loc["removal", "target stage 1"] == pytest.approx(length(removal, target.lower[2]), rel=1e-3)
    kept = torch.arange(3, 10)  # the deposit classes are 0, 1 and 2
    soft = [(logits[:, kept] / tiny.temperature).log_softmax(1) for logits in (target(batch.images), original_logits)]
    preservation = tiny.temperature**2 * (soft[1].exp() * (soft[1] - soft[0])).sum(1).mean()
    by_hand = tiny.lambda_kp * length(preservation, target.lower[1])
    assert board.loc["preservation", "target stem"] == pytest.approx(by_hand, rel=1e-3)
    features = lk.split(tiny_original, tiny.split_after).lower(batch.images).detach()
    recovery = (module(batch.images) - features).square().sum() / features.square().sum()
    by_hand = tiny.lambda_re * length(recovery, module.lower[3])
    assert board.loc["recovery", "module stage 2"] == pytest.approx(by_hand, rel=1e-3)


def test_preservation_by_logits_pulls_at_the_target_and_changes_no_other_row(tiny_original, arguments, batch, tiny):
    turned = tiny.replace(preservation="logits")
    paper, board = lk.loss_switchboard(*arguments()), lk.loss_switchboard(*arguments(turned))
    others = ["attention", "recovery", "transfer"]
    pandas.testing.assert_frame_equal(board.loc[others], paper.loc[others])
    mine = board.loc[["removal", "preservation"]]
    assert mine[blocks(board, "target")].to_numpy().all() and not mine[blocks(board, "module")].to_numpy().any()
    target, was = arguments()[0], tiny_original(batch.images).detach()
    held = torch.cat([target(batch.images)[:, :3], was[:, 3:]], dim=1)  # the deposit classes are 0, 1 and 2
    removal = functional.cross_entropy(held, 3 + was[:, 3:].argmax(1))
    preservation = (target(batch.images) - was)[:, 3:].square().mean() / 2
    for name, term, weight in (("removal", removal, 1), ("preservation", preservation, tiny.lambda_kp)):
        assert board.loc[name, "value"] == pytest.approx(term.item(), rel=1e-4)
        by_hand = weight * length(term, target.lower[1])
        assert board.loc[name, "target stem"] == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize(
    "knob, term",
    [
        ("lambda_at", "attention"),
        ("lambda_kp", "preservation"),
        ("lambda_re", "recovery"),
        ("lambda_pt", "transfer"),
    ],
)
def test_a_term_that_is_switched_off_has_no_row_and_leaves_the_others_as_they_were(arguments, tiny, knob, term):
    whole, without = lk.loss_switchboard(*arguments()), lk.loss_switchboard(*arguments(tiny.replace(**{knob: 0.0})))
    assert list(without.index) == [name for name in whole.index if name != term]
    for name in without.index:
        assert without.loc[name].tolist() == pytest.approx(whole.loc[name].tolist(), rel=1e-4)


def test_with_every_term_switched_off_removal_stays(arguments, tiny):
    off = dict.fromkeys(("lambda_at", "lambda_kp", "lambda_re", "lambda_pt"), 0.0)
    board = lk.loss_switchboard(*arguments(tiny.replace(**off)))
    assert list(board.index) == ["removal"]
    assert not board[blocks(board, "module")].to_numpy().any()


def test_looking_changes_nothing(arguments):
    target, module, *rest = arguments()

    def everything():
        tensors = [value for network in (target, module) for value in network.state_dict().values()]
        learners = [*target.lower.parameters(), *module.parameters()]
        return [tensor.clone() for tensor in tensors + [weights.grad for weights in learners]]

    before = everything()
    lk.loss_switchboard(target, module, *rest)
    assert all(torch.equal(one, other) for one, other in zip(before, everything()))
    assert not target.training and not module.training


def test_an_empty_batch_is_refused(arguments, batch):
    target, module, _, reference, generator, config = arguments()
    with pytest.raises(lk.LirfError, match="^batch must hold at least one image, not none"):
        lk.loss_switchboard(target, module, batch.select(slice(0)), reference, generator, config)
