import pandas
import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.readings import untrained_network
from lirf_kit.evidence.relearning import SCENARIOS, relearn, relearning_table


@pytest.fixture(scope="module")
def known(original, deposited, parts, config):
    return {"original": original, "target": deposited[0], "untrained": untrained_network(parts, config)}


@pytest.fixture(scope="module")
def curves(known, parts, config):
    return relearn(known, parts, config, steps=(0, 8, 16))


def dep(curves, scenario, network):
    rows = curves[(curves["scenario"] == scenario) & (curves["network"] == network)]
    return rows.set_index("step")["Dep Acc"]


def test_every_network_starts_as_it_is_in_every_scenario(curves, known, parts):
    assert len(curves) == len(SCENARIOS) * len(known) * 3
    for name, network in known.items():
        starts = curves[(curves["network"] == name) & (curves["step"] == 0)]
        assert set(starts["Dep Acc"]) == {lk.accuracy(network, parts.deposit_validation)}
        assert set(starts["Pre Acc"]) == {lk.accuracy(network, parts.preservation_validation)}


def test_what_was_hidden_at_the_output_comes_back_sooner_than_it_is_learnt_from_scratch(curves):
    assert dep(curves, "labelled", "target")[0] < 5
    assert dep(curves, "labelled", "target")[16] > 90 > dep(curves, "labelled", "untrained")[16]


def test_shuffled_labels_teach_nothing_and_pre_acc_stays_up(curves):
    assert dep(curves, "shuffled labels", "target")[16] < 60 < dep(curves, "labelled", "target")[16]
    assert (curves[curves["network"] != "untrained"]["Pre Acc"] > 95).all()


def test_preserved_images_alone_never_teach_a_class_that_was_not_there(curves):
    assert dep(curves, "preserved only", "untrained")[16] == 0


def test_the_table_says_where_each_network_starts_and_who_starts_behind(curves, known, parts):
    table = relearning_table(curves).set_index(["test", "task", "network"]).sort_index()
    starts = table["value"]["relearning", "Pre Acc at the start, not matched"]
    for name, network in known.items():
        assert starts[name] == lk.accuracy(network, parts.preservation_validation, "part")
    notes = table["note"]["relearning, labelled", "after 16 steps"]
    assert notes["untrained"] == "starts more than a point behind in Pre Acc"
    assert notes["original"] == notes["target"] == ""


def test_the_networks_are_left_as_they_are_and_the_seed_decides(tiny_original, tiny_deposited, tiny_parts, tiny):
    target = tiny_deposited[0]
    before = {key: value.clone() for key, value in target.state_dict().items()}
    frozen = [weight.requires_grad for weight in target.parameters()]
    networks = {"target": target, "recovered": lk.withdraw(*tiny_deposited)}
    networks["head masking"] = lk.mask_head(tiny_original, (0, 1, 2))
    first, again, other = (
        relearn(networks, tiny_parts, tiny.replace(seed=seed), scenarios=("labelled",), steps=(0, 3), rate=0.1)
        for seed in (0, 0, 1)
    )
    assert first.equals(again) and not first.equals(other)
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())
    assert [weight.requires_grad for weight in target.parameters()] == frozen and not target.training
    start = first[(first["network"] == "head masking") & (first["step"] == 0)]
    assert start["Dep Acc"].item() == lk.accuracy(tiny_original, tiny_parts.deposit_validation)  # taken off


def test_the_accuracies_can_be_read_on_fewer_images(tiny_original, tiny_parts, tiny):
    few = relearn({"original": tiny_original}, tiny_parts, tiny, steps=(0,), per_class=1)
    assert all(3 * value / 100 == pytest.approx(round(3 * value / 100)) for value in few["Dep Acc"])  # of three images


def test_the_table_works_out_by_hand():
    def run(scenario, network, *accuracies):
        return [(scenario, network, step, dep, 90.0, 90.0) for step, dep in zip((0, 4, 16, 64), accuracies)]

    rows = run("labelled", "target", 0, 60, 80, 90) + run("labelled", "retrained", 0, 0, 20, 40)
    rows += run("labelled", "untrained", 10, 0, 50, 70) + run("preserved only", "untrained", 10, 0, 0, 0)
    curves = pandas.DataFrame(rows, columns=["scenario", "network", "step", "Dep Acc", "Pre Acc", "start"])
    table = relearning_table(curves).set_index(["test", "task", "network"])
    value, test = table["value"].sort_index(), "relearning, labelled"
    assert value[test, "after 16 steps"].to_dict() == {"target": 80, "retrained": 20, "untrained": 50}
    assert value[test, "steps to 50 %"].to_dict() == {"target": 4, "retrained": 64, "untrained": 16}
    assert value[test, "steps to 50 %, of those from scratch"].to_dict() == {
        "target": 0.25,
        "retrained": 4,
        "untrained": 1,
    }
    notes = table["note"]
    assert notes[test, "steps to 50 %", "retrained"] == "not reached in 64 steps"
    assert notes[test, "steps to 50 %", "target"] == ""
    # scratch never gets there in the other scenario, so there is nothing to take a ratio to
    assert ("relearning, preserved only", "steps to 50 %, of those from scratch", "untrained") not in table.index


@pytest.mark.parametrize(
    "asked, sentence",
    [
        (
            {"shots": 1000},
            "^shots must be whole numbers from 1 to 13[0-9], the number of training images of '[012]', not 1000",
        ),
        ({"steps": (1, 2)}, r"^steps must be whole numbers that start at 0 and increase, not \(1, 2\)"),
        ({"steps": (0, 2, 2)}, "^steps must be whole numbers that start at 0 and increase"),
        ({"steps": (0, 1.5)}, r"^steps must be whole numbers that start at 0 and increase, not \(0, 1.5\)"),
        ({"steps": ("0", 1)}, "^steps must be whole numbers that start at 0 and increase"),
        ({"steps": ()}, "^steps must be whole numbers that start at 0 and increase"),
        ({"scenarios": ("more",)}, "^scenarios must be labelled, preserved only or shuffled labels, not 'more'"),
        ({"on": "train"}, "^on must be validation or test"),
    ],
)
def test_wrong_input_is_one_sentence(tiny_original, tiny_parts, tiny, asked, sentence):
    with pytest.raises(lk.LirfError, match=sentence):
        relearn({"original": tiny_original}, tiny_parts, tiny, **asked)


def test_a_network_without_lower_blocks_is_one_sentence(tiny_parts, tiny):
    with pytest.raises(lk.LirfError, match="^mine must be a network with lower blocks"):
        relearn({"mine": torch.nn.Identity()}, tiny_parts, tiny)
