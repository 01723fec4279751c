import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.readings import ALL, ONLY
from lirf_kit.evidence.thieves import thief_table, untaught


def test_the_target_alone_is_wrong_and_both_together_are_right(networks, parts):
    table = thief_table(networks, parts).set_index(["task", "network"])["value"]
    assert set(table.index.get_level_values("network")) == {*networks, "module alone"}
    assert table[ALL, "target"] < 5 and table[ALL, "recovered"] > 95 and table[ALL, "original"] > 95
    for name, network in networks.items():
        for task, among in ((ALL, "all"), (ONLY, "part")):
            assert table[task, name] == pytest.approx(lk.accuracy(network, parts.deposit_validation, among))


def test_the_module_alone_is_read_out_through_the_shared_upper_blocks(networks, deposited, parts):
    table = thief_table({"recovered": networks["recovered"]}, parts, on="test").set_index(["task", "network"])["value"]
    target, module = deposited
    with torch.no_grad():
        answers = target.upper(module(parts.deposit_test.images)).argmax(dim=1)
    expected = 100 * (answers == parts.deposit_test.labels).float().mean().item()
    assert table[ALL, "module alone"] == pytest.approx(expected)


def test_a_difference_alone_is_added_to_lower_blocks_that_have_learnt_nothing(original, deposited, parts, same_weights):
    target, classes = deposited[0], (0, 1, 2)
    module = lk.DifferenceModule(target.lower, classes, 8)
    module.hold(original.lower, target)
    values = thief_table({"recovered": lk.withdraw(target, module)}, parts).set_index(["task", "network"])["value"]
    assert values[ONLY, "recovered"] > 95 and values[ONLY, "module alone"] < 60  # chance is 33
    fresh, again = untaught(target), untaught(target)
    assert same_weights(fresh, again) and same_weights(fresh.upper, target.upper)
    assert not same_weights(fresh.lower[1][0], target.lower[1][0])
    assert torch.equal(fresh.lower[0].mean, target.lower[0].mean)


def test_a_single_deposit_class_has_nothing_to_be_told_apart(tiny_data, tiny_original):
    table = thief_table({"original": tiny_original}, lk.split_by_class(tiny_data, (4,)))
    assert table["task"].tolist() == [ALL]


def test_wrong_input_is_one_sentence(tiny_data, tiny_parts, tiny_original):
    with pytest.raises(lk.LirfError, match="^parts must come from split_by_class"):
        thief_table({"original": tiny_original}, lk.split_by_sample(tiny_data, 0.1))
    with pytest.raises(lk.LirfError, match="^mine must be a network with lower blocks"):
        thief_table({"mine": torch.nn.Identity()}, tiny_parts)
