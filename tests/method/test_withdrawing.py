import statistics
import time

import pytest
import torch

import lirf_kit as lk
from lirf_kit.classroom import toys


def test_merging_works_out_by_hand():
    for arguments, expected in toys.MERGE_LOGITS:
        assert torch.equal(lk.merge_logits(*arguments), expected)
    target, module = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    assert lk.merge_logits(target, module, torch.tensor([1, 3])).tolist() == [[1.0, 20.0, 3.0, 40.0]]
    assert target.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_deposit_logits_are_the_module_s_and_all_others_the_target_s(recovered, deposited, data):
    target, module = deposited
    images = data.images[::7]  # of both sets and of all parts: one formula for every input
    with torch.no_grad():
        logits, from_target, from_module = recovered(images), target(images), target.upper(module(images))
    assert torch.equal(logits[:, :3], from_module[:, :3])
    assert torch.equal(logits[:, 3:], from_target[:, 3:])
    assert not torch.equal(from_target[:, :3], from_module[:, :3])


def test_an_image_is_answered_alike_in_any_company(recovered, parts):
    one, other = parts.deposit_test.images[:5], parts.preservation_test.images[:5]
    with torch.no_grad():
        together = recovered(torch.cat([one, other]))
        torch.testing.assert_close(together, torch.cat([recovered(one), recovered(other)]), atol=1e-4, rtol=1e-4)


def test_no_parameter_is_made_or_copied(recovered, deposited):
    given = {id(each) for network in deposited for each in (*network.parameters(), *network.buffers())}
    assert {id(each) for each in (*recovered.parameters(), *recovered.buffers())} == given


def test_withdrawing_takes_less_than_10_ms_and_changes_nothing(deposited):
    before = [value.clone() for network in deposited for value in network.state_dict().values()]
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        lk.withdraw(*deposited)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.010
    after = [value for network in deposited for value in network.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(before, after))


def test_features_are_the_target_s_and_the_module_s_side_by_side(recovered, deposited, data):
    target, module = deposited
    images = data.test.images[:30]
    with torch.no_grad():
        features = recovered.features(images)
        assert torch.equal(features[:, :64], target.features(images))
        pooled = module(images).mean(dim=(2, 3))  # split after the last stage: only the average lies between
        torch.testing.assert_close(features[:, 64:], pooled)


def test_a_module_that_is_none_is_refused(deposited):
    with pytest.raises(lk.LirfError, match="^deposit_module must be deposit's second result, not a SplitNetwork"):
        lk.withdraw(deposited[0], deposited[0])


def test_a_module_of_another_cut_is_refused(original, parts, config, deposited):
    early = config.replace(split_after=1)
    _, module = lk.start_deposit(original, parts.deposit_set, early)
    with pytest.raises(
        lk.LirfError, match="^deposit_module must fit the target: .* end in 64 channels, not .* end in 16"
    ):
        lk.withdraw(deposited[0], module)


def test_a_module_of_other_classes_is_refused(deposited):
    target, module = deposited
    with pytest.raises(lk.LirfError, match=r"^deposit_module must hold classes of the target, from 0 to 9, not \[10\]"):
        lk.withdraw(target, lk.DepositModule(module.lower, [10]))


def test_a_pruned_module_leaves_the_preserved_logits_to_the_target_and_a_difference_takes_the_mean(
    tiny_original, tiny_parts, tiny
):
    images = tiny_parts.validation.images[:5]
    for container, expected in {"pruned": "target", "difference": "mean"}.items():
        target, module = lk.deposit(tiny_original, tiny_parts.deposit_set, tiny.replace(container=container))
        usual, chosen, other = (lk.withdraw(target, module, how) for how in (None, expected, "target"))
        assert usual.preserved == expected
        with torch.no_grad():
            assert torch.equal(usual(images), chosen(images))
            assert torch.equal(usual(images), other(images)) == (expected == "target")
    with pytest.raises(lk.LirfError, match="^preserved must be target or mean, not 'sum'$"):
        lk.withdraw(target, module, "sum")
