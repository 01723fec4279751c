import builtins
import copy
import inspect

import numpy
import pytest
import torch
from torch.nn import functional

import lirf_kit as lk


@pytest.fixture
def terms_of(tiny_original, tiny_deposited, tiny_parts, tiny):
    """The terms of the loss on ten deposit samples, for a config with some knobs turned."""

    def terms(generator=None, **knobs):
        batch = tiny_parts.deposit_set.select(slice(0, 10), (0, 1, 2))
        turned = tiny.replace(**knobs)
        reference = lk.original_reference(tiny_original, batch.images, turned)
        return lk.deposit_terms(*tiny_deposited, batch, reference, generator or torch.Generator(), turned)

    return terms


def test_neither_deposit_nor_withdraw_is_given_the_preservation_set():
    assert list(inspect.signature(lk.deposit).parameters) == ["original", "deposit_set", "config"]
    assert list(inspect.signature(lk.withdraw).parameters) == ["target", "deposit_module"]


def test_a_deposit_loads_nothing(tiny_original, tiny_parts, tiny, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a loader was called")

    for place in (
        "lirf_kit.load_dataset", "lirf_kit.data.load_dataset", "lirf_kit.experiments.load_dataset",
        "lirf_kit.datasets.load_digits", "sklearn.datasets.load_digits", "lirf_kit.datasets.decode",
        "lirf_kit.load_run", "lirf_kit.artifacts.load_run",
        "torch.utils.data.DataLoader.__iter__", "torch.load", "safetensors.torch.load", "numpy.load",
    ):  # fmt: skip
        monkeypatch.setattr(place, refuse)
    for part in ("train", "validation", "test"):
        monkeypatch.setattr(lk.Dataset, part, property(refuse))
    with monkeypatch.context() as closed:
        closed.setattr(builtins, "open", refuse)
        target, module = lk.deposit(tiny_original, tiny_parts.deposit_set, tiny)
        lk.withdraw(target, module)


def test_the_preset_forgets_and_preserves(networks, parts):
    table = lk.results_table(networks, parts, on="validation")
    assert table.loc["target", "Dep Acc"] < 10
    assert table.loc["target", "Pre Acc"] > table.loc["original", "Pre Acc"] - 3
    assert table.loc["recovered", "Avg Acc"] > table.loc["original", "Avg Acc"] - 3
    assert lk.accuracy(networks["target"], parts.deposit_set) < 10


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_the_original_stays_as_it_is(tiny_data, tiny_parts, tiny, tiny_original, same_weights, mode):
    original = copy.deepcopy(tiny_original).train(mode == "training")
    lk.deposit(original, tiny_parts.deposit_set, tiny)
    assert same_weights(original, tiny_original)
    assert original.training == (mode == "training")
    assert original.history == tiny_original.history
    assert all(parameter.requires_grad and parameter.grad is None for parameter in original.parameters())


@pytest.mark.parametrize("after", [1, 2, 3])
def test_upper_blocks_are_the_original_s_bit_by_bit_and_lower_blocks_are_not(
    original, parts, config, same_weights, after
):
    quick = config.replace(split_after=after, deposit_epochs=1, batch_statistics="updated")
    target, module = lk.deposit(original, parts.deposit_set, quick)
    cut = lk.split(original, after)
    assert same_weights(target.upper, cut.upper)
    assert not any(parameter.requires_grad for parameter in target.upper.parameters())
    assert not same_weights(target.lower, cut.lower) and not same_weights(module.lower, cut.lower)
    assert not same_weights(target.lower, module.lower)


def test_the_target_has_the_original_s_architecture_and_nothing_on_its_logits(original, deposited, data):
    target = deposited[0]
    assert type(target) is type(original) is lk.SplitNetwork
    assert str(target) == str(original)
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (target, original)]
    assert shapes[0] == shapes[1]
    assert not target._forward_hooks and not any(layer._forward_hooks for layer in target.modules())
    fresh = copy.deepcopy(original)
    fresh.load_state_dict(target.state_dict())  # its weights in the original's code are the target
    with torch.no_grad():
        assert torch.equal(fresh(data.test.images), target(data.test.images))


def test_the_module_s_parameters_are_the_lower_blocks_copy_and_nothing_else(original, deposited):
    module = deposited[1]
    lower = {f"lower.{name}": value.shape for name, value in original.lower.named_parameters()}
    assert {name: value.shape for name, value in module.named_parameters()} == lower
    assert not {id(value) for value in module.parameters()} & {id(value) for value in deposited[0].parameters()}
    assert module.deposit_classes.tolist() == [0, 1, 2]
    assert set(module.state_dict()) - {f"lower.{name}" for name in original.lower.state_dict()} == {"deposit_classes"}


def test_before_the_first_step_target_and_module_are_the_original(tiny_original, tiny_parts, tiny):
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny)
    recovered = lk.withdraw(target, module)
    with torch.no_grad():
        expected = tiny_original(tiny_parts.test.images)
        assert torch.equal(target(tiny_parts.test.images), expected)
        assert torch.equal(recovered(tiny_parts.test.images), expected)


def gradients(term, module):
    """Every gradient of a term that reaches a module's parameters."""
    found = torch.autograd.grad(term, list(module.parameters()), allow_unused=True, retain_graph=True)
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("recovery", ["paper", "distilled"])
def test_gradients_of_recovery_and_transfer_reach_the_module_and_not_the_target(terms_of, tiny_deposited, recovery):
    target, module = tiny_deposited
    terms = terms_of(recovery=recovery)
    for name in ("recovery", "transfer"):
        assert not gradients(terms[name], target.lower), name
        assert sum(gradient.abs().sum() for gradient in gradients(terms[name], module)) > 0, name


def test_gradients_of_removal_and_preservation_reach_the_target_and_not_the_module(terms_of, tiny_deposited):
    target, module = tiny_deposited
    terms = terms_of()
    for name in ("removal", "preservation", "attention_distance"):
        assert not gradients(terms[name], module), name
        assert sum(gradient.abs().sum() for gradient in gradients(terms[name], target.lower)) > 0, name


@pytest.mark.parametrize(
    "knob, name",
    [
        ("lambda_at", "attention_distance"),
        ("lambda_kp", "preservation"),
        ("lambda_re", "recovery"),
        ("lambda_pt", "transfer"),
    ],
)
def test_a_lambda_of_zero_leaves_its_term_out_and_no_other(terms_of, knob, name):
    every, without = terms_of(), terms_of(**{knob: 0.0})
    assert set(every) - set(without) == {name}


def test_each_term_is_its_formula(terms_of, tiny_original, tiny_deposited, tiny_parts):
    # K = 10 classes, of which 0, 1, 2 are deposited; log-probabilities written out with torch's own layers
    images, labels = tiny_parts.deposit_set.images[:10], tiny_parts.deposit_set.labels[:10]
    target, module = tiny_deposited
    with torch.no_grad():
        was, now, stored = tiny_original(images), target(images), target.upper(module(images))
    recovered = torch.cat([stored[:, :3], now[:, 3:]], dim=1)

    def divergence(student, teacher):  # τ = 2, so τ² = 4
        student, teacher = functional.log_softmax(student / 2, 1), functional.softmax(teacher / 2, 1)
        return 4 * torch.nn.KLDivLoss(reduction="batchmean")(student, teacher).item()

    terms = terms_of(temperature=2.0, relabel="best_preserved", recovery="distilled")
    wrong = 3 + was[:, 3:].argmax(1)
    removal = functional.cross_entropy(now, wrong).item() - 0.3 * terms["attention_distance"].item()
    assert terms["removal"].item() == pytest.approx(removal, abs=1e-5)
    assert terms["preservation"].item() == pytest.approx(divergence(now[:, 3:], was[:, 3:]), abs=1e-5)
    assert terms["transfer"].item() == pytest.approx(divergence(stored[:, :3], was[:, :3]), abs=1e-5)
    assert terms["recovery"].item() == pytest.approx(divergence(recovered, was), abs=1e-5)
    paper = functional.cross_entropy(recovered, labels).item()
    assert terms_of(recovery="paper")["recovery"].item() == pytest.approx(paper, abs=1e-5)


def test_the_loss_adds_the_weighed_terms(terms_of):
    terms = terms_of(lambda_kp=2.0, lambda_re=5.0, lambda_pt=11.0)
    expected = terms["removal"] + 2 * terms["preservation"] + 5 * terms["recovery"] + 11 * terms["transfer"]
    assert terms["loss"].item() == pytest.approx(expected.item())


def test_random_wrong_labels_are_drawn_anew_each_step_and_best_preserved_ones_stay(terms_of, generator):
    first, second = (terms_of(generator, relabel="random")["removal"].item() for _ in range(2))
    assert first != second
    first, second = (terms_of(generator, relabel="best_preserved")["removal"].item() for _ in range(2))
    assert first == second


def test_only_updated_batch_statistics_follow_the_deposit_set(tiny_original, tiny_parts, tiny):
    for choice, stays in (("frozen", True), ("updated", False)):
        turned = tiny.replace(batch_statistics=choice)
        target, module = lk.deposit(tiny_original, tiny_parts.deposit_set, turned)
        for lower in (target.lower, module.lower):
            assert torch.equal(lower[1][1].running_mean, tiny_original.lower[1][1].running_mean) == stays
        assert not target.training and not module.training


def test_gradients_are_never_longer_than_the_knob_says(tiny_original, tiny_parts, tiny):
    # with gradients of length 1e-9 at most and no weight decay, no weight moves by as much as 1e-6
    still = tiny.replace(max_gradient_norm=1e-9, weight_decay=0.0)
    target, module = lk.deposit(tiny_original, tiny_parts.deposit_set, still)
    for lower in (target.lower, module.lower):
        for now, was in zip(lower.parameters(), tiny_original.lower.parameters()):
            torch.testing.assert_close(now, was, atol=1e-6, rtol=0)


def test_the_history_has_the_mean_of_every_term_for_every_epoch(deposited, config):
    history = deposited[0].history
    assert [entry["epoch"] for entry in history] == list(range(1, config.deposit_epochs + 1))
    for entry in history:
        total = entry["removal"] + config.lambda_kp * entry["preservation"]
        total += config.lambda_re * entry["recovery"] + config.lambda_pt * entry["transfer"]
        assert entry["loss"] == pytest.approx(total, abs=1e-4)
        assert 0 <= entry["attention_distance"] <= 2 and entry["gradient_norm"] > 0
    assert history[-1]["removal"] < history[0]["removal"]


def test_the_same_seed_deposits_alike_to_the_last_bit(tiny_original, tiny_parts, tiny, tiny_deposited, same_weights):
    torch.manual_seed(99)
    numpy.random.seed(99)
    before = torch.get_rng_state()
    again = lk.deposit(tiny_original, tiny_parts.deposit_set, tiny)
    assert all(same_weights(one, other) for one, other in zip(again, tiny_deposited))
    assert again[0].history == tiny_deposited[0].history
    assert torch.equal(torch.get_rng_state(), before)
    other = lk.deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(seed=1))
    assert not same_weights(other[0], tiny_deposited[0])


def test_a_deposit_that_diverges_names_the_knobs(tiny_original, tiny_parts, tiny):
    wild = tiny.replace(deposit_learning_rate=1e12, max_gradient_norm=1e12, lambda_kp=500.0, deposit_epochs=3)
    with pytest.raises(lk.LirfError, match="finite in epoch .: lower deposit_learning_rate, now 1.*lambda_kp, now 500"):
        lk.deposit(tiny_original, tiny_parts.deposit_set, wild)


def test_an_original_that_is_not_finite_is_noticed(tiny_original, tiny_parts, tiny):
    broken = copy.deepcopy(tiny_original)
    broken.upper[-1].bias.data[0] = float("nan")
    with pytest.raises(lk.LirfError, match="the deposit's loss stopped being finite in epoch 1"):
        lk.deposit(broken, tiny_parts.deposit_set, tiny)


def test_what_cannot_be_deposited_is_refused_before_any_step(tiny_original, tiny_data, tiny_parts, tiny, monkeypatch):
    monkeypatch.setattr("lirf_kit.depositing.deposit_terms", None)  # a step would end in a TypeError
    with pytest.raises(lk.LirfError, match="^deposit_set must hold at least one image, not none"):
        lk.deposit(tiny_original, tiny_parts.deposit_set.select(slice(0), (0, 1, 2)), tiny)
    with pytest.raises(lk.LirfError, match="^deposit_set must come from split_by_class"):
        lk.deposit(tiny_original, lk.split_by_sample(tiny_data, 0.1).deposit_set, tiny)
    three_stages = tiny.replace(widths=(4, 8, 8), split_after=3)
    with pytest.raises(lk.LirfError, match="^split_after must be 1 or 2, not 3"):
        lk.deposit(tiny_original, tiny_parts.deposit_set, three_stages)


@pytest.mark.parametrize("statistics", ["frozen", "updated"])
def test_looking_at_a_deposit_does_not_change_it(tiny_original, tiny_parts, tiny, same_weights, statistics):
    turned = tiny.replace(batch_statistics=statistics)
    found = []
    for look in (False, True):
        both = lk.start_deposit(tiny_original, tiny_parts.deposit_set, turned)
        for _ in lk.deposit_steps(tiny_original, *both, tiny_parts.deposit_set, turned):
            if look:
                lk.accuracy(both[0], tiny_parts.validation)
        found.append(both)
    assert all(same_weights(one, other) for one, other in zip(*found))


def test_a_deposit_that_is_stopped_early_leaves_both_in_evaluation_mode(tiny_original, tiny_parts, tiny):
    turned = tiny.replace(batch_statistics="updated")
    both = lk.start_deposit(tiny_original, tiny_parts.deposit_set, turned)
    steps = lk.deposit_steps(tiny_original, *both, tiny_parts.deposit_set, turned)
    next(steps)
    steps.close()
    assert not any(layer.training for network in both for layer in network.modules())


def test_weights_that_blow_up_in_the_very_last_step_are_noticed(tiny_original, tiny_parts, tiny):
    turned = tiny.replace(deposit_learning_rate=1e38, deposit_epochs=1, deposit_batch_size=1000, momentum=0.0)
    with pytest.raises(lk.LirfError, match="stopped being finite in epoch 1: lower deposit_learning_rate"):
        lk.deposit(tiny_original, tiny_parts.deposit_set, turned)


def test_training_and_deposit_use_the_config_s_threads_and_put_them_back(tiny_data, tiny_parts, tiny, monkeypatch):
    seen, real = set(), torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (seen.add(torch.get_num_threads()), real(self))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    original = lk.train_original(tiny_data, tiny)
    lk.deposit(original, tiny_parts.deposit_set, tiny)
    assert seen == {1} and torch.get_num_threads() == 2
    torch.set_num_threads(before)
