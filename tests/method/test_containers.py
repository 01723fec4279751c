import copy
import statistics
import time

import pytest
import safetensors.torch
import torch

import lirf_kit as lk
from lirf_kit.method.containers import DifferenceModule, empty_module
from lirf_kit.method.networks import build_network
from lirf_kit.method.packing import pack, unpack


@pytest.fixture(scope="module")
def different(tiny):
    return tiny.replace(container="difference")


@pytest.fixture(scope="module")
def difference(tiny_original, tiny_parts, different):
    """Target and module of a tiny deposit with the difference as the container."""
    return lk.deposit(tiny_original, tiny_parts.deposit_set, different)


def test_the_quantiser_works_out_by_hand():
    # 2 bits stand for −1½, −½, ½ and 1½ times the scale; the largest weight, 3, has the code 3, so the scale is 2
    codes, scales = lk.quantise(torch.tensor([[3.0, 1.0, -1.0, -3.0]]), 2)
    assert codes.tolist() == [[3, 2, 1, 0]] and scales.tolist() == [2.0]
    assert lk.dequantise(codes, scales, 2).tolist() == [[3.0, 1.0, -1.0, -3.0]]
    # 1 bit stands for ±½ times the scale: the best is twice the mean size of the weights
    codes, scales = lk.quantise(torch.tensor([[1.0, -1.0], [0.0, 0.0]]), 1)
    assert codes.tolist()[0] == [1, 0] and scales.tolist() == [2.0, 0.0]
    assert lk.dequantise(codes, scales, 1).tolist() == [[1.0, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize("bits", range(1, 9))
def test_rounding_is_as_fine_as_the_best_uniform_quantiser_of_normal_numbers(bits, generator):
    # Max 1960, table II: the mean squared error of the best evenly spaced levels for normally distributed numbers
    best = [0.3634, 0.1188, 0.03744, 0.01154, 0.003495, 0.001041, 0.0003035, 0.00008714][bits - 1]
    weight = torch.randn(20, 50, 3, 3, generator=generator)
    error = (lk.dequantise(*lk.quantise(weight, bits), bits) - weight).square().mean().item()
    assert 0.5 * best < error < 1.1 * best


def test_outliers_are_clipped_where_that_gives_the_smaller_error():
    weight = torch.ones(1, 1000)
    weight[0, 0] = 10.0
    codes, scales = lk.quantise(weight, 2)
    assert lk.dequantise(codes, scales, 2)[0, 1:].sub(1).abs().max() < 0.2


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_numbers_come_back_and_take_no_more_than_their_bits(bits, generator):
    codes = torch.randint(2**bits, (1001,), generator=generator, dtype=torch.uint8)
    packed = pack(codes, bits)
    assert len(packed) == 126 * bits and packed.dtype == torch.uint8  # eight numbers in as many bytes as bits
    assert torch.equal(unpack(packed, 1001, bits), codes)


def test_packing_works_out_by_hand():
    # 3 bits each: 5 + 1·8 + 6·64 = 397 = 141 + 1·256; the lowest byte comes first
    assert pack(torch.tensor([5, 1, 6], dtype=torch.uint8), 3).tolist() == [141, 1, 0]


def test_the_target_does_not_depend_on_the_container(difference, tiny_deposited, same_weights):
    assert same_weights(difference[0], tiny_deposited[0])
    assert not {"recovery", "transfer"} & set(difference[0].history[0])


def test_target_and_difference_make_the_original(difference, tiny_original, tiny, tiny_parts, different):
    target, module = difference
    errors = []
    for bits in (2, 4, 8):
        rough = lk.DifferenceModule(target.lower, (0, 1, 2), bits)
        rough.hold(lk.split(tiny_original, tiny.split_after).lower, target)
        pairs = list(zip(rough.restore(target).parameters(), lk.split(tiny_original, 2).lower.parameters()))
        errors.append(sum((ours - theirs).square().sum().item() for ours, theirs in pairs))
    moved = [(ours - theirs).square().sum() for (ours, _), theirs in zip(pairs, target.lower.parameters())]
    assert errors[0] > 4 * errors[1] > 64 * errors[2] and errors[2] < 1e-3 * sum(moved).item()
    recovered = lk.withdraw(target, module, "target")
    with torch.no_grad():
        images = tiny_parts.test.images
        expected, found = tiny_original(images), recovered(images)
        assert torch.equal(found[:, 3:], target(images)[:, 3:])
        assert (found - expected)[:, :3].abs().mean() < 0.1 * (target(images) - expected)[:, :3].abs().mean()


def test_batch_norm_s_statistics_are_part_of_the_difference_if_the_deposit_changed_them(
    tiny_original, tiny_parts, different
):
    turned = different.replace(batch_statistics="updated", bits=8)
    target, module = lk.deposit(tiny_original, tiny_parts.deposit_set, turned)
    changed, restored, was = (
        next(layer for layer in lower.modules() if isinstance(layer, torch.nn.BatchNorm2d)).running_mean
        for lower in (target.lower, module.restore(target), tiny_original.lower)
    )
    assert not torch.allclose(changed, was, rtol=1e-2)
    torch.testing.assert_close(restored, was, rtol=1e-2, atol=1e-3)


def test_the_mean_of_the_preserved_logits_works_out_by_hand():
    target, module = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    assert lk.merge_logits(target, module, torch.tensor([1, 3]), "mean").tolist() == [[5.5, 20.0, 16.5, 40.0]]


@pytest.mark.parametrize("container", ["difference", "pruned"])
def test_withdrawing_takes_less_than_10_ms_with_the_network_for_a_class(container):
    config = lk.preset("cifar10-class").replace(device="cpu", container=container)
    target = build_network(config, 3, 10).eval()
    deposit_module = empty_module(target, (0, 1, 2), config)
    deposit_module.hold(target.lower, target)
    seconds = []
    for _ in range(21):
        start = time.process_time()  # others on this machine don't count
        lk.withdraw(target, deposit_module, "mean")
        seconds.append(time.process_time() - start)
    assert statistics.median(seconds) < 0.010


def test_the_fingerprint_notices_the_least_change_of_a_single_weight():
    target = build_network(lk.preset("cifar10-class").replace(device="cpu"), 3, 10).eval()
    known = DifferenceModule.identify(target)
    with torch.no_grad():
        for value in (value for value in target.state_dict().values() if value.is_floating_point()):
            first = value.view(-1)[:1]
            before = first.clone()
            first.copy_(torch.nextafter(before, torch.tensor(torch.inf)))  # the least possible change
            assert not torch.equal(DifferenceModule.identify(target), known)
            first.copy_(before)
    assert torch.equal(DifferenceModule.identify(target), known)


def test_withdrawing_changes_nothing(difference):
    before = [value.clone() for network in difference for value in network.state_dict().values()]
    lk.withdraw(*difference, "mean")
    after = [value for network in difference for value in network.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(before, after))


def test_a_target_that_is_not_the_difference_s_own_is_refused(difference, tiny_original, tiny_parts, different):
    target, module = difference
    sentence = "^deposit_module was made for a different target, or the target was trained on since; check=False"
    other, _ = lk.deposit(tiny_original, tiny_parts.deposit_set, different.replace(seed=1))
    since = copy.deepcopy(target)
    with torch.no_grad():
        since.lower[1][0].weight[0, 0, 0, 0] += 1e-3
    for wrong in (tiny_original, other, since):
        with pytest.raises(lk.LirfError, match=sentence):
            lk.withdraw(wrong, module)
        assert lk.withdraw(wrong, module, check=False)(tiny_parts.test.images).isfinite().all()


def test_a_pruned_module_goes_with_the_target_that_its_deposit_left_and_no_other(
    tiny_original, tiny_data, tiny_parts, tiny, tiny_deposited
):
    other = lk.train_original(tiny_data, tiny.replace(seed=1, epochs=1))
    target, module = lk.deposit(other, tiny_parts.deposit_set, tiny)
    with pytest.raises(lk.LirfError, match="^deposit_module was made for a different original; check=False"):
        lk.withdraw(tiny_deposited[0], module)
    again, _ = lk.deposit(tiny_original, lk.split_by_class(tiny_data, (4, 5)).deposit_set, tiny)
    for wrong in (again, tiny_original):  # the upper blocks are the same
        with pytest.raises(lk.LirfError, match="^deposit_module was made for a different target, or the target was tr"):
            lk.withdraw(wrong, tiny_deposited[1])
        assert lk.withdraw(wrong, tiny_deposited[1], check=False)(tiny_data.test.images).isfinite().all()


def test_before_the_deposit_ends_a_pruned_module_fits_any_target_of_its_original(tiny_original, tiny_parts, tiny):
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny)
    assert lk.withdraw(target, module) and lk.withdraw(tiny_original, module)


@pytest.mark.parametrize("container", ["pruned", "difference"])
def test_a_module_is_carried_away_and_brought_back(request, container, tiny, tiny_parts, tmp_path):
    both = request.getfixturevalue("difference" if container == "difference" else "tiny_deposited")
    turned, file = tiny.replace(container=container), tmp_path / "module.safetensors"
    lk.save_module(both[1], file)
    assert file.stat().st_size == lk.module_bytes(both[1]) and list(tmp_path.iterdir()) == [file]
    back = lk.load_module(file, both[0], turned)
    images = tiny_parts.test.images
    with torch.no_grad():
        assert torch.equal(lk.withdraw(both[0], back)(images), lk.withdraw(*both)(images))


def test_a_difference_of_the_preset_takes_an_eighth_of_the_bytes(original, deposited):
    target, module = deposited
    assert lk.module_share(lk.DepositModule(target.lower, (0, 1, 2)), target) == 1
    assert lk.module_share(module, target) < 0.52
    assert lk.module_share(lk.DifferenceModule(target.lower, (0, 1, 2), 4), target) < 0.14


def test_a_file_that_is_not_the_module_asked_for_is_refused(difference, tiny_deposited, tiny, different, tmp_path):
    file, target = tmp_path / "module.safetensors", difference[0]
    with pytest.raises(lk.LirfError, match="^file '.*' can't be read as a deposit module"):
        lk.load_module(file, target, different)
    lk.save_module(difference[1], file)
    with pytest.raises(lk.LirfError, match="must hold a module of container='pruned', not 'difference'"):
        lk.load_module(file, target, tiny)
    with pytest.raises(lk.LirfError, match=r"must hold codes of shape \(\d+,\), as this target and config have, not"):
        lk.load_module(file, target, different.replace(bits=3))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(lk.LirfError, match="can't be read as a deposit module"):
        lk.load_module(file, target, different)
    safetensors.torch.save_file({"weight": torch.zeros(2)}, file)
    with pytest.raises(lk.LirfError, match="must hold deposit_classes"):
        lk.load_module(file, target, tiny)
    lk.save_module(tiny_deposited[1], file)
    with pytest.raises(lk.LirfError, match="must hold lower.2.0.conv1.weight of shape"):
        lk.load_module(file, target, tiny.replace(keep=1.0))
    with pytest.raises(lk.LirfError, match="can't be written"):
        lk.save_module(difference[1], tmp_path / "nowhere" / "module.safetensors")


def test_a_difference_that_is_taken_for_a_network_says_what_to_do(difference, tiny_parts):
    with pytest.raises(lk.LirfError, match=r"call deposit_module.restore\(target\), or use container='pruned'$"):
        difference[1](tiny_parts.deposit_set.images[:5])


def test_a_difference_of_other_shapes_is_refused(difference, original):
    with pytest.raises(
        lk.LirfError, match="^deposit_module must fit the target: this difference is of lower blocks of"
    ):
        lk.withdraw(original, difference[1])


def test_a_deposit_that_stops_early_leaves_a_difference_that_fits(tiny_original, tiny_parts, different):
    target, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, different)
    steps = lk.deposit_steps(tiny_original, target, module, tiny_parts.deposit_set, different)
    next(steps), next(steps)
    steps.close()
    lk.withdraw(target, module)


@pytest.mark.parametrize("bits", [16, 8, 1])
def test_a_rounded_module_comes_back_from_its_file_bit_by_bit(tiny_deposited, tiny, tmp_path, bits, same_weights):
    target, module = tiny_deposited
    rounded = lk.round_module(module, bits)
    lk.save_module(rounded, tmp_path / "module")
    assert (tmp_path / "module").stat().st_size == lk.module_bytes(rounded) < lk.module_bytes(module)
    again = lk.load_module(tmp_path / "module", target, tiny)
    assert same_weights(rounded, again) and lk.module_bytes(again) == lk.module_bytes(rounded)
    assert torch.equal(again.belongs_to, module.belongs_to) and lk.withdraw(target, again) is not None
    for name, value in module.lower.named_parameters():
        near = dict(rounded.lower.named_parameters())[name]
        assert (near - value).norm() <= {16: 0.001, 8: 0.01, 1: 0.8}[bits] * value.norm()


def test_rounding_needs_a_pruned_module_and_a_number_of_bits(tiny_deposited, difference):
    for bits in (0, 9, 32, 2.5, True):
        with pytest.raises(lk.LirfError, match=f"bits must be 16, or from 1 to 8, not {bits}"):
            lk.round_module(tiny_deposited[1], bits)
    with pytest.raises(lk.LirfError, match="must be a pruned one, not a DifferenceModule"):
        lk.round_module(difference[1], 8)
