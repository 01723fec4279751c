import builtins
import copy
import inspect
import io
import math
import warnings
from pathlib import Path

import numpy
import pytest
import torch
from torch.nn import functional

import lirf_kit as lk
from lirf_kit.method import depositing


@pytest.fixture
def terms_of(tiny_original, tiny_deposited, tiny_parts, tiny):
    """The terms of the loss on ten deposit samples, for a config with some knobs turned."""

    def terms(generator=None, **knobs):
        batch = tiny_parts.deposit_set.select(slice(0, 10), (0, 1, 2))
        turned = tiny.replace(**knobs)
        reference = lk.original_reference(tiny_original, batch.images, turned)
        return lk.deposit_terms(*tiny_deposited, batch, reference, generator or torch.Generator(), turned)

    return terms


@pytest.fixture(scope="session")
def some_samples(tiny_data):
    """Every third training image of the classes 3 and 5, deposited sample by sample."""
    chosen = [place for place in tiny_data.train_indices.tolist() if tiny_data.labels[place] in (3, 5)]
    return lk.split_by_sample(tiny_data, indices=chosen[::3])


def test_neither_deposit_nor_withdraw_is_given_the_preservation_set():
    assert list(inspect.signature(lk.deposit).parameters) == [
        "original", "deposit_set", "config", "teacher", "gone",  # a network and class numbers
    ]  # fmt: skip
    assert list(inspect.signature(lk.withdraw).parameters) == [
        "target", "deposit_module", "preserved", "check",
    ]  # fmt: skip


@pytest.mark.parametrize("chosen", ["tiny_parts", "some_samples"])
def test_a_deposit_loads_nothing(tiny_original, tiny, monkeypatch, request, chosen):
    deposit_set = request.getfixturevalue(chosen).deposit_set

    def refuse(*_, **__):
        raise AssertionError("a loader was called")

    for place in (
        # first the module that imports the others: what it imports later would be refused for good
        "lirf_kit.evidence.experiments.load_dataset", "lirf_kit.load_dataset", "lirf_kit.data.images.load_dataset",
        "lirf_kit.data.sources.load_digits", "sklearn.datasets.load_digits", "lirf_kit.data.sources.decode",
        "lirf_kit.load_run", "lirf_kit.artifacts.load_run",
        "lirf_kit.method.caching.load_run", "lirf_kit.evidence.experiments.load_run",
        "torch.utils.data.DataLoader.__iter__", "torch.load", "safetensors.torch.load", "numpy.load",
    ):  # fmt: skip
        monkeypatch.setattr(place, refuse)
    for part in ("train", "validation", "test"):
        monkeypatch.setattr(lk.Dataset, part, property(refuse))
    with monkeypatch.context() as closed:
        for module in (builtins, io):
            closed.setattr(module, "open", refuse)
        target, module = lk.deposit(tiny_original, deposit_set, tiny)
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


@pytest.mark.parametrize("after, keep", [(1, 1.0), (2, 0.5), (3, 1.0)])
def test_upper_blocks_are_the_original_s_bit_by_bit_and_lower_blocks_are_not(
    original, parts, config, same_weights, after, keep
):
    quick = config.replace(split_after=after, keep=keep, deposit_epochs=1, batch_statistics="updated")
    target, module = lk.deposit(original, parts.deposit_set, quick)
    _, untrained = lk.start_deposit(original, parts.deposit_set, quick)
    cut = lk.split(original, after)
    assert same_weights(target.upper, cut.upper)
    assert not any(parameter.requires_grad for parameter in target.upper.parameters())
    assert not same_weights(target.lower, cut.lower) and not same_weights(module.lower, cut.lower)
    assert not any(torch.equal(*pair) for pair in zip(module.parameters(), untrained.parameters()))
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


def test_the_module_s_parameters_are_the_pruned_lower_blocks_and_nothing_else(original, deposited, parts, config):
    module = deposited[1]
    lower = {f"lower.{name}": value.shape for name, value in original.lower.named_parameters()}
    shapes = {name: value.shape for name, value in module.named_parameters()}
    smaller = {name for name in lower if shapes[name] != lower[name]}
    inner = ("conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight")  # between a block's two convolutions
    assert list(shapes) == list(lower) and smaller == {f"lower.{at}.0.{name}" for at in (2, 3, 4) for name in inner}
    assert lk.count_parameters(module) <= config.keep * lk.count_parameters(original.lower)
    _, whole = lk.start_deposit(original, parts.deposit_set, config.replace(keep=1.0))
    assert {name: value.shape for name, value in whole.named_parameters()} == lower
    assert not {id(value) for value in module.parameters()} & {id(value) for value in deposited[0].parameters()}
    assert module.deposit_classes.tolist() == [0, 1, 2]
    assert set(module.state_dict()) - {f"lower.{name}" for name in original.lower.state_dict()} == {
        "deposit_classes", "belongs_to",
    }  # fmt: skip


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_before_the_first_step_the_target_is_the_original_and_the_module_what_pruning_left(
    tiny_original, tiny_parts, tiny, same_weights, keep
):
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(keep=keep))
    recovered = lk.withdraw(target, module)
    assert same_weights(module.lower, lk.prune_lower(tiny_original.lower, keep))
    with torch.no_grad():
        expected, answers = tiny_original(tiny_parts.test.images), recovered(tiny_parts.test.images)
        assert torch.equal(target(tiny_parts.test.images), expected)
        assert module(tiny_parts.test.images).shape == target.lower(tiny_parts.test.images).shape
    assert torch.equal(answers[:, 3:], expected[:, 3:])
    assert torch.equal(answers[:, :3], expected[:, :3]) == (keep == 1)


def gradients(term, module):
    """Every gradient of a term that reaches a module's parameters."""
    found = torch.autograd.grad(term, list(module.parameters()), allow_unused=True, retain_graph=True)
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("recovery", ["paper", "distilled", "features"])
def test_gradients_of_recovery_and_transfer_reach_the_module_and_not_the_target(terms_of, tiny_deposited, recovery):
    target, module = tiny_deposited
    terms = terms_of(recovery=recovery)
    for name in ("recovery", "transfer"):
        assert not gradients(terms[name], target.lower), name
        assert sum(gradient.abs().sum() for gradient in gradients(terms[name], module)) > 0, name


def test_gradients_of_removal_and_preservation_reach_the_target_and_not_the_module(terms_of, tiny_deposited):
    target, module = tiny_deposited
    terms = terms_of(lambda_os=1.0)
    terms |= {"class_scatter": terms_of(lambda_cs=1.0)["class_scatter"]}
    for name in ("removal", "preservation", "attention_distance", "class_scatter", "own_statistics"):
        assert not gradients(terms[name], module), name
        assert sum(gradient.abs().sum() for gradient in gradients(terms[name], target.lower)) > 0, name


@pytest.mark.parametrize(
    "knob, name",
    [
        ("lambda_at", "attention_distance"),
        ("lambda_cs", "class_scatter"),
        ("lambda_kp", "preservation"),
        ("lambda_os", "own_statistics"),
        ("lambda_re", "recovery"),
        ("lambda_pt", "transfer"),
    ],
)
def test_a_lambda_of_zero_leaves_its_term_out_and_no_other(terms_of, knob, name):
    whole = {"lambda_cs": 1.0, "lambda_os": 1.0}
    every, without = terms_of(**whole), terms_of(**whole | {knob: 0.0})
    assert set(every) - set(without) == {name}


@pytest.mark.parametrize(
    "knobs, functions",
    [
        ({"lambda_at": 0.0}, ["attention_map", "attention_distance"]),
        ({"lambda_cs": 0.0}, ["class_scatter"]),
        ({"lambda_kp": 0.0}, ["preservation_loss"]),
        ({"lambda_kp": 0.0, "preservation": "logits"}, ["logit_preservation_loss"]),
        ({"preservation": "paper"}, ["hold_preserved"]),
        ({"lambda_re": 0.0, "recovery": "features"}, ["feature_recovery_loss"]),
        ({"lambda_re": 0.0, "recovery": "paper"}, ["recovery_loss"]),
        ({"lambda_re": 0.0, "recovery": "distilled"}, ["distilled_recovery_loss"]),
        ({"lambda_pt": 0.0}, ["partial_transfer_loss"]),
        ({"relabel": "random"}, ["best_preserved_labels"]),
    ],
)
def test_a_term_that_is_off_is_not_computed(terms_of, monkeypatch, knobs, functions):
    for name in functions:
        monkeypatch.setattr(f"lirf_kit.method.losses.{name}", None)  # computing it would end in a TypeError
    assert terms_of(**knobs)["loss"].isfinite()
    variants = {name: knobs[name] for name in ("recovery", "preservation") if name in knobs}
    with pytest.raises(TypeError):  # and it is computed where nothing is off
        terms_of(lambda_cs=1.0, **variants | ({"preservation": "logits"} if functions == ["hold_preserved"] else {}))


def test_without_recovery_and_transfer_the_module_is_not_run(terms_of, monkeypatch):
    monkeypatch.setattr(lk.DepositModule, "forward", None)
    assert set(terms_of(lambda_re=0.0, lambda_pt=0.0)) == {"loss", "removal", "attention_distance", "preservation"}
    for needed in ("lambda_re", "lambda_pt"):
        with pytest.raises(TypeError):
            terms_of(**{"lambda_re": 0.0, "lambda_pt": 0.0, needed: 1.0})


def test_the_reference_is_the_original_s_logits_and_the_features_at_the_cut(tiny_original, tiny_parts, tiny):
    images = tiny_parts.deposit_set.images[:10]
    for after in (1, 2):
        logits, features = lk.original_reference(tiny_original, images, tiny.replace(split_after=after))
        with torch.no_grad():
            assert torch.equal(logits, tiny_original(images))
            assert torch.equal(features, lk.split(tiny_original, after).lower(images))
        assert not logits.requires_grad and not features.requires_grad


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
    with torch.no_grad():
        made, wanted = module(images), tiny_original.lower(images)
    lost = ((made - wanted) ** 2).sum().item() / (wanted**2).sum().item()
    assert terms_of(recovery="features")["recovery"].item() == pytest.approx(lost, rel=1e-5)


def test_preservation_by_logits_is_its_formula_and_leaves_the_preserved_classes_out_of_removal(
    terms_of, tiny_original, tiny_deposited, tiny_parts
):
    images = tiny_parts.deposit_set.images[:10]
    with torch.no_grad():
        was, now = tiny_original(images), tiny_deposited[0](images)
    terms = terms_of(preservation="logits", relabel="best_preserved", lambda_at=0.0)
    held = torch.cat([now[:, :3], was[:, 3:]], dim=1)
    removal = functional.cross_entropy(held, 3 + was[:, 3:].argmax(1)).item()
    assert terms["removal"].item() == pytest.approx(removal, abs=1e-5)
    assert terms["preservation"].item() == pytest.approx((now - was)[:, 3:].square().mean().item() / 2, rel=1e-4)


def test_the_class_scatter_is_its_formula_and_joins_removal(terms_of, tiny_original, tiny_deposited, tiny_parts, tiny):
    with_it, without = terms_of(lambda_cs=0.5, ridge=0.7), terms_of(lambda_cs=0.0)
    batch = tiny_parts.deposit_set.select(slice(0, 10))
    pooled = tiny_deposited[0].lower(batch.images).mean((2, 3))
    its_variance = lk.split(tiny_original, 2).lower(batch.images).mean((2, 3)).var(0, correction=0).mean()
    expected = lk.class_scatter(pooled, batch.labels, 0.7 * its_variance)
    assert with_it["class_scatter"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert with_it["removal"].item() == pytest.approx(without["removal"].item() + 0.5 * expected.item(), rel=1e-4)


def test_without_two_whole_classes_there_is_no_class_scatter(
    tiny_original, tiny_data, tiny, some_samples, same_weights, tiny_deposited, tiny_parts
):
    # a single class has no scatter; the classes of deposited samples stay, and may be told apart
    for deposit_set in (lk.split_by_class(tiny_data, [4]).deposit_set, some_samples.deposit_set):
        with_it, without = (lk.deposit(tiny_original, deposit_set, tiny.replace(lambda_cs=cs)) for cs in (1.0, 0.0))
        assert same_weights(with_it[0], without[0]) and same_weights(with_it[1], without[1])
        assert "class_scatter" not in with_it[0].history[0]
    target, _ = lk.deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(lambda_cs=1.0))
    assert "class_scatter" in target.history[0] and not same_weights(target, tiny_deposited[0])


def test_a_last_batch_of_a_single_class_is_no_trouble(tiny_original, tiny_parts, tiny):
    pair = tiny_parts.deposit_set.select(tiny_parts.deposit_set.labels < 2, (0, 1))
    odd = pair.select(slice(0, 65), (0, 1))  # the second batch has one image
    target, _ = lk.deposit(tiny_original, odd, tiny.replace(lambda_cs=1.0, deposit_epochs=1))
    assert 0 < target.history[0]["class_scatter"] < 1


@pytest.mark.parametrize(
    "name, images, megabytes",  # of a deposit set: 106 a class, 4,500, 450 and 27 are in the training part
    [
        ("digits", 318, 0.3), ("cifar10-class", 13500, 111), ("cifar10-small", 13500, 166), ("cifar10", 13500, 885),
        ("cifar100", 13500, 885), ("cub200", 1620, 425),
    ],
)  # fmt: skip
def test_the_features_that_a_deposit_stores_take_less_than_a_gigabyte_in_every_preset(name, images, megabytes):
    config = lk.preset(name).replace(device="cpu")
    side = {"digits": 8, "cub200": 64}.get(name, 32)
    picture = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    _, features = lk.original_reference(lk.build_network(config, 3, 10), picture, config)
    assert images * features.nbytes / 1e6 == pytest.approx(megabytes, rel=0.1) and megabytes < 1000
    reliability = (Path(__file__).parents[2] / "RELIABILITY.md").read_text()
    assert name != "cifar10" or f"{megabytes} MB" in reliability


def test_a_deposit_that_leaves_one_class_warns_once_and_says_what_helps(tiny_original, tiny_data, tiny, recwarn):
    but_one, but_two = (lk.split_by_class(tiny_data, range(count)).deposit_set for count in (9, 8))
    lk.load_or_deposit(tiny_original, but_two, tiny)
    lk.load_or_deposit(tiny_original, but_one, tiny.replace(preservation="logits"))
    assert not recwarn.list
    sentence = (
        "^only one class is left, and preservation='paper' can't hold .*; set preservation='logits', or deposit fewer"
    )
    for _ in range(2):  # also when it is loaded
        with pytest.warns(UserWarning, match=sentence) as caught:
            lk.load_or_deposit(tiny_original, but_one, tiny)
        assert len(caught) == 1
    with pytest.warns(UserWarning, match=sentence):
        lk.deposit(tiny_original, but_two, tiny, gone=(9,))


def test_what_the_warning_of_a_last_class_says_is_so(original, data, config):
    parts = lk.split_by_class(data, range(1, 10))
    back = {}
    for preservation in ("paper", "logits"):
        turned = config.replace(preservation=preservation, deposit_epochs=4, lambda_os=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            back[preservation] = lk.accuracy(
                lk.withdraw(*lk.deposit(original, parts.deposit_set, turned)), parts.validation
            )
    assert back["paper"] < 50 and back["logits"] > 90


def test_deposited_samples_leave_own_statistics_out(tiny_original, some_samples, tiny, same_weights):
    turned = [tiny.replace(lambda_os=weight) for weight in (0.0, 2.0)]
    without, with_it = (lk.deposit(tiny_original, some_samples.deposit_set, config)[0] for config in turned)
    assert same_weights(with_it, without)


def test_own_statistics_are_removal_and_preservation_of_a_network_in_training_mode(
    terms_of, tiny_original, tiny_deposited, tiny_parts, same_weights
):
    knobs = {"lambda_cs": 0.5, "relabel": "best_preserved", "lambda_kp": 3.0, "lambda_re": 0.0, "lambda_pt": 0.0}
    target, before = tiny_deposited[0], copy.deepcopy(tiny_deposited[0])
    found = terms_of(lambda_os=2.0, **knobs)
    training = copy.deepcopy(target)
    training.lower.train()  # BatchNorm takes the batch's own statistics
    batch = tiny_parts.deposit_set.select(slice(0, 10), (0, 1, 2))
    turned = lk.preset("digits").replace(widths=(4, 8), split_after=2, device="cpu", lambda_os=0.0, **knobs)
    reference = lk.original_reference(tiny_original, batch.images, turned)
    expected = lk.deposit_terms(training, tiny_deposited[1], batch, reference, torch.Generator(), turned)
    assert found["own_statistics"].item() == pytest.approx(expected["loss"].item(), rel=1e-4)
    plain = terms_of(lambda_os=0.0, **knobs)["loss"].item()
    assert found["loss"].item() == pytest.approx(plain + 2 * expected["loss"].item(), rel=1e-4)
    assert plain != pytest.approx(expected["loss"].item(), rel=1e-2)
    assert same_weights(target, before) and not any(layer.training for layer in target.modules())


def test_own_statistics_leave_batch_norm_in_the_mode_it_was_in_even_if_interrupted(
    terms_of, tiny_deposited, monkeypatch
):
    monkeypatch.setattr(tiny_deposited[0].upper, "forward", None)
    with pytest.raises(TypeError):
        depositing._look_again(tiny_deposited[0], lk.load_dataset(lk.preset("digits")).train.select(slice(4)), None,
                               lk.preset("digits").replace(device="cpu"))  # fmt: skip
    norms = [layer for layer in tiny_deposited[0].modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert all(layer.track_running_stats and not layer.training for layer in norms)


def test_the_preset_s_target_stays_silent_when_its_statistics_are_recomputed(original, deposited, parts, config):
    silent = lk.deposit(original, parts.deposit_set, config.replace(lambda_os=0.0))[0]
    networks = {"original": original, "with": deposited[0], "without": silent}
    back = lk.recalibration_table(networks, parts, config).set_index("network")["value"]
    assert back["original"] > 95 and back["without"] > 80 and back["with"] < 60


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
    before = lk.start_deposit(tiny_original, tiny_parts.deposit_set, still)
    for stayed, started in zip(lk.deposit(tiny_original, tiny_parts.deposit_set, still), before):
        for now, was in zip(stayed.parameters(), started.parameters(), strict=True):
            torch.testing.assert_close(now, was, atol=1e-6, rtol=0)


def test_the_history_has_the_mean_of_every_term_for_every_epoch(deposited, config):
    history = deposited[0].history
    assert [entry["epoch"] for entry in history] == list(range(1, config.deposit_epochs + 1))
    for entry in history:
        total = entry["removal"] + config.lambda_kp * entry["preservation"]
        total += config.lambda_os * entry["own_statistics"]
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
    both = lk.start_deposit(broken, tiny_parts.deposit_set, tiny)
    with pytest.raises(lk.LirfError, match="in epoch 1"):
        next(lk.deposit_steps(broken, *both, tiny_parts.deposit_set, tiny))  # at once, where the loss is on the CPU


def test_what_cannot_be_deposited_is_refused_before_any_step(tiny_original, tiny_parts, tiny, monkeypatch):
    monkeypatch.setattr("lirf_kit.method.depositing.deposit_terms", None)  # a step would end in a TypeError
    with pytest.raises(lk.LirfError, match="^deposit_set must hold at least one image, not none"):
        lk.deposit(tiny_original, tiny_parts.deposit_set.select(slice(0), (0, 1, 2)), tiny)
    with pytest.raises(lk.LirfError, match="^keep must leave each block a channel, at least 0.*, not 0.01"):
        lk.deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(keep=0.01))
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
    turned = tiny.replace(
        deposit_learning_rate=1e15, max_gradient_norm=1e15, deposit_epochs=1, deposit_batch_size=1000, momentum=0.0
    )
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


def test_a_deposit_of_samples_takes_the_classes_that_occur(tiny_original, some_samples, tiny, same_weights):
    target, module = lk.deposit(tiny_original, some_samples.deposit_set, tiny)
    assert module.deposit_classes.tolist() == [3, 5]
    assert same_weights(target.upper, tiny_original.upper) and not same_weights(target.lower, tiny_original.lower)
    recovered = lk.withdraw(target, module)
    for part in (some_samples.deposit_set, some_samples.preservation_set, some_samples.test):  # one formula for each
        with torch.no_grad():
            logits, from_target, from_module = (
                recovered(part.images), target(part.images), target.upper(module(part.images))
            )  # fmt: skip
        for number in range(10):
            source = from_module if number in (3, 5) else from_target
            assert torch.equal(logits[:, number], source[:, number])


def test_what_is_forgotten_of_a_deposited_sample_is_its_own_class(tiny_original, tiny_deposited, some_samples, tiny):
    target, module = lk.start_deposit(tiny_original, some_samples.deposit_set, tiny)
    target.lower.load_state_dict(tiny_deposited[0].lower.state_dict())  # of another deposit: no term is 0
    batch, turned = some_samples.deposit_set.select(slice(0, 10)), tiny.replace(lambda_at=0.0)
    reference = lk.original_reference(tiny_original, batch.images, turned)
    terms = lk.deposit_terms(target, module, batch, reference, torch.Generator(), turned)
    with torch.no_grad():
        was, now, stored = tiny_original(batch.images), target(batch.images), target.upper(module(batch.images))
    others = torch.arange(10) != batch.labels[:, None]  # g drops one column a sample
    wrong = torch.stack([row.masked_fill(~other, -torch.inf).argmax() for row, other in zip(was, others)])
    assert terms["removal"].item() == pytest.approx(functional.cross_entropy(now, wrong).item(), abs=1e-5)
    expected = lk.distillation_loss(now[others].view(10, 9), was[others].view(10, 9), tiny.temperature)
    assert terms["preservation"].item() == pytest.approx(expected.item(), abs=1e-5)
    expected = lk.distillation_loss(stored[:, [3, 5]], was[:, [3, 5]], tiny.temperature)
    assert terms["transfer"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_of_a_deposited_sample_preservation_by_logits_lets_removal_move_its_own_class_alone(
    tiny_original, tiny_deposited, some_samples, tiny
):
    target, module = lk.start_deposit(tiny_original, some_samples.deposit_set, tiny)
    target.lower.load_state_dict(tiny_deposited[0].lower.state_dict())  # of another deposit: no term is 0
    batch, turned = some_samples.deposit_set.select(slice(0, 10)), tiny.replace(lambda_at=0.0, preservation="logits")
    reference = lk.original_reference(tiny_original, batch.images, turned)
    terms = lk.deposit_terms(target, module, batch, reference, torch.Generator(), turned)
    with torch.no_grad():
        was, now = tiny_original(batch.images), target(batch.images)
    removal, preservation = 0.0, 0.0
    for label, before, after in zip(batch.labels.tolist(), was.tolist(), now.tolist()):
        others = [number for number in range(10) if number != label]
        held = [after[number] if number == label else before[number] for number in range(10)]
        wrong = max(before[number] for number in others)  # the logit of the wrong label
        removal += (math.log(sum(math.exp(logit) for logit in held)) - wrong) / 10
        preservation += sum((after[number] - before[number]) ** 2 for number in others) / 9 / 10 / 2
    assert terms["removal"].item() == pytest.approx(removal, abs=1e-5)
    assert terms["preservation"].item() == pytest.approx(preservation, rel=1e-4) and preservation > 0


@pytest.mark.parametrize("chosen", ["tiny_parts", "some_samples"])
def test_a_deposit_with_preservation_by_logits_stays_finite_and_forgets(tiny_original, tiny, request, chosen):
    deposit_set = request.getfixturevalue(chosen).deposit_set
    turned = tiny.replace(preservation="logits", lambda_kp=3.0, deposit_epochs=20)
    target, module = lk.deposit(tiny_original, deposit_set, turned)
    assert all(math.isfinite(value) for entry in target.history for value in entry.values())
    with torch.no_grad():
        assert lk.withdraw(target, module)(deposit_set.images).isfinite().all()
        change = target(deposit_set.images) - tiny_original(deposit_set.images)
    own = torch.arange(10) == deposit_set.labels[:, None]
    assert change[own].mean() < -0.05  # these networks' logits are small
    assert lk.accuracy(target, deposit_set) < lk.accuracy(tiny_original, deposit_set)


def test_deposited_samples_are_forgotten_and_come_back(original, data, config):
    # of 106 samples of all ten classes; the target still knows two of three of the images that were preserved
    parts = lk.split_by_sample(data, 0.1)
    target, module = lk.deposit(original, parts.deposit_set, config.replace(deposit_epochs=60))
    recovered = lk.withdraw(target, module)
    table = lk.sample_table({"original": original, "target": target, "recovered": recovered}, parts, on="validation")
    assert table.loc["original", "deposited samples"] > 99
    assert table.loc["target", "deposited samples"] < 35
    assert table.loc["target", "deposited samples"] < table.loc["target", "preserved samples"] - 25
    assert table.loc["recovered", "deposited samples"] > 97
    assert table.loc["recovered", "validation, all classes"] > 96


def test_the_original_looks_at_each_deposit_image_once_however_many_epochs(tiny_original, tiny_parts, tiny):
    original, seen = copy.deepcopy(tiny_original), []

    def count(module, arguments):
        if module is original.lower[0]:  # the target's copy of the layer has a copy of this hook
            seen.append(len(arguments[0]))

    original.lower[0].register_forward_pre_hook(count)
    lk.deposit(original, tiny_parts.deposit_set, tiny.replace(deposit_epochs=3))
    assert sum(seen) == len(tiny_parts.deposit_set)


def test_mixtures_count_in_preservation_and_recovery_and_nowhere_else(tiny_original, tiny_parts, tiny):
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny)
    batch = tiny_parts.deposit_set.select(torch.arange(20), (0, 1, 2))
    reference = lk.original_reference(tiny_original, batch.images, tiny)
    logits, features = (part + 1 for part in lk.original_reference(tiny_original, batch.images, tiny))
    logits[:, 4] += 2  # the mixtures here are the images themselves, and what is asked of them is something else
    plain = lk.deposit_terms(target, module, batch, reference, None, tiny)
    mixed = lk.deposit_terms(target, module, batch, reference, None, tiny, mixed=(batch.images, logits, features))
    held = lk.preservation_loss(target(batch.images), logits, (0, 1, 2), tiny.temperature)
    held += 0.1 * lk.logit_preservation_loss(target(batch.images), logits, (0, 1, 2))  # and their height
    recovered = lk.feature_recovery_loss(module(batch.images), features)
    assert mixed["preservation"].item() == pytest.approx((plain["preservation"] + held).item())
    assert mixed["recovery"].item() == pytest.approx((plain["recovery"] + recovered).item())
    assert {name for name in plain if mixed[name] != plain[name]} == {"loss", "preservation", "recovery"}


def test_nudged_images_count_in_a_term_of_their_own(tiny_original, tiny_parts, tiny):
    config = tiny.replace(lambda_ap=3.0)
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, config)
    batch = tiny_parts.deposit_set.select(torch.arange(20), (0, 1, 2))
    reference = lk.original_reference(tiny_original, batch.images, config)
    images, logits = batch.images[:7], reference[0][:7] + torch.arange(10.0)  # what is asked of them is something else
    plain = lk.deposit_terms(target, module, batch, reference, None, config)
    more = lk.deposit_terms(target, module, batch, reference, None, config, nudged=(images, logits))
    held = lk.preservation_loss(target(images), logits, (0, 1, 2), config.temperature)
    assert more["adversarial_preservation"].item() == pytest.approx(held.item())
    assert more["loss"].item() == pytest.approx((plain["loss"] + 3 * held).item())
    assert {name for name in plain if more[name] != plain[name]} == {"loss"}


def test_nudged_images_hold_the_preserved_classes_where_the_deposit_images_don_t(original, data, config):
    drift, parts = {}, lk.split_by_class(data, (3, 8, 9))
    for weight in (0.0, 60.0):
        chosen = config.replace(deposit_classes=(3, 8, 9), deposit_epochs=8, lambda_ap=weight, container="difference")
        target, _ = lk.deposit(original, parts.deposit_set, chosen)
        assert ("adversarial_preservation" in target.history[0]) == (weight > 0)
        logits = [network(parts.preservation_validation.images) for network in (target, original)]
        drift[weight] = lk.preservation_loss(*logits, (3, 8, 9), config.temperature).item()
    assert drift[60.0] < 0.7 * drift[0.0]


def test_images_are_nudged_once_away_from_all_that_is_out_and_half_of_a_batch_is_enough(
    tiny_original, tiny_parts, tiny, monkeypatch
):
    calls, sizes = [], []
    monkeypatch.setattr(depositing, "nudge", lambda network, images, out, generator: calls.append(out) or images)

    def noted(*arguments, terms=depositing.deposit_terms):
        sizes.append((len(arguments[2]), *map(len, arguments[-1])))
        return terms(*arguments)

    monkeypatch.setattr(depositing, "deposit_terms", noted)
    lk.deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(lambda_ap=3.0), gone=[7])
    assert calls == [[0, 1, 2, 7]]
    assert len(sizes) > 2 and all(nudged == held == (size + 1) // 2 for size, nudged, held in sizes)


def test_deposited_samples_leave_nudged_images_out(tiny_original, some_samples, tiny, same_weights):
    alike = [
        lk.deposit(tiny_original, some_samples.deposit_set, tiny.replace(lambda_ap=weight)) for weight in (0.0, 3.0)
    ]
    assert same_weights(alike[0][0], alike[1][0])


def test_the_teacher_s_features_are_what_the_module_learns(tiny_original, tiny_parts, tiny):
    config = tiny.replace(keep=1.0, lambda_pt=0.0)
    teacher = lk.build_network(config.replace(seed=9), 1, 10).eval()
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, config, teacher)
    batch = tiny_parts.deposit_set.select(torch.arange(20), (0, 1, 2))
    reference = [
        *lk.original_reference(tiny_original, batch.images, config),
        *lk.original_reference(teacher, batch.images, config),
    ]
    terms = lk.deposit_terms(target, module, batch, reference, None, config)
    assert terms["recovery"].item() == pytest.approx(0, abs=1e-9)  # an unpruned copy of the teacher
    terms = lk.deposit_terms(target, module, batch, reference[:2], None, config)
    assert terms["recovery"].item() > 0.1  # without a teacher the module learns from the original
