"""Wrong deposit modules, and targets that were trained on: refused in a sentence, by `withdraw` and by a bank."""

import copy
import re
import warnings

import pytest
import torch

import lirf_kit as lk

CLASSES = (0, 1, 2)


@pytest.fixture(params=["pruned", "difference"])
def knobs(request, tiny):
    return tiny.replace(container=request.param)


@pytest.fixture
def pair(tiny_original, tiny_parts, knobs):
    """The right target and module."""
    return lk.deposit(tiny_original, tiny_parts.deposit_set, knobs)


def of_another_original(data, original, pair, knobs):
    other = knobs.replace(seed=1, epochs=1)
    return lk.deposit(lk.train_original(data, other), lk.split_by_class(data, CLASSES).deposit_set, knobs)[1]


def of_other_classes(data, original, pair, knobs):
    return lk.deposit(original, lk.split_by_class(data, (4, 5, 6)).deposit_set, knobs)[1]


def of_a_deeper_network(data, original, pair, knobs):
    deeper = knobs.replace(blocks_per_stage=2, epochs=1)  # its features have the same shape
    return lk.deposit(lk.train_original(data, deeper), lk.split_by_class(data, CLASSES).deposit_set, deeper)[1]


def with_nan(data, original, pair, knobs):
    module = copy.deepcopy(pair[1])
    weights = module.scales if knobs.container == "difference" else module.lower[1][0].weight
    with torch.no_grad():
        weights.view(-1)[0] = torch.nan
    return module


DIFFERENT = "deposit_module was made for a different "
SINCE = "target, or the target was trained on since; check=False withdraws it all the same"
WRONG = {  # what `withdraw` says of a pruned module, of a difference, and what a bank says
    of_another_original: (
        f"^{DIFFERENT}original; check=False withdraws it all the same$",
        f"^{DIFFERENT}{SINCE}$",
        "holds a module of a different bank$",
    ),
    of_other_classes: (f"^{DIFFERENT}{SINCE}$", f"^{DIFFERENT}{SINCE}$", "holds a module of a different bank$"),
    of_a_deeper_network: (
        f"^{DIFFERENT}original; check=False withdraws it all the same$",
        "^deposit_module must fit the target: this difference is of lower blocks of other shapes$",
        r"must hold (no lower\.\d\.1[.\w]+, since this target and config have none|codes of shape .*, as this target)",
    ),
    with_nan: (
        *("^deposit_module must have finite weights, not NaN or infinite ones; check=False",) * 2,
        "must hold a module as it was handed out; this one was changed since, or belongs to a different deposit$",
    ),
}
each_wrong_module = pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)


@each_wrong_module
def test_a_wrong_module_is_refused_by_withdraw(faults, make, tiny_data, tiny_original, pair, knobs, tmp_path):
    module, file = make(tiny_data, tiny_original, pair, knobs), tmp_path / "module.safetensors"
    sentence = WRONG[make][knobs.container == "difference"]
    with faults.fault(make.__name__), pytest.raises(lk.LirfError, match=sentence):
        lk.withdraw(pair[0], module)
    lk.save_module(module, file)
    at_loading = WRONG[make][2] if make is of_a_deeper_network else sentence
    with faults.fault(f"{make.__name__}, from a file"), pytest.raises(lk.LirfError, match=at_loading):
        lk.withdraw(pair[0], lk.load_module(file, pair[0], knobs))
    if "check=False" in sentence:
        logits = lk.withdraw(pair[0], module, check=False)(tiny_data.test.images)
        assert logits.shape == (len(tiny_data.test), 10) and logits.isfinite().all() == (make is not with_nan)


@each_wrong_module
def test_a_wrong_module_is_refused_by_a_bank(faults, make, tiny_data, tiny_original, pair, knobs, tmp_path):
    bank, images = lk.KnowledgeBank(tiny_original, knobs), tiny_data.test.images
    bank.deposit("first", lk.split_by_class(tiny_data, CLASSES).deposit_set)
    whole = bank.withdraw("first")(images)
    bank.save(tmp_path / "bank")
    bank.hand_out("first", tmp_path / "right")
    lk.save_module(make(tiny_data, tiny_original, (bank.target, pair[1]), knobs), tmp_path / "wrong")
    with faults.fault(make.__name__), pytest.raises(lk.LirfError, match=f"^file '.*wrong' {WRONG[make][2]}"):
        bank.bring_back(tmp_path / "wrong")
    assert "first" not in bank
    (file,) = (tmp_path / "bank").glob("module-first-*")
    file.write_bytes((tmp_path / "wrong").read_bytes())
    with faults.fault(f"{make.__name__}, in the folder"):
        with pytest.warns(UserWarning, match="^module first can't be withdrawn: its file .* is damaged, or of a diff"):
            again = lk.KnowledgeBank.load(tmp_path / "bank")
        with pytest.raises(lk.LirfError, match="'first' is handed out"):
            again.withdraw("first")
    for each in (bank, again):
        assert each.bring_back(tmp_path / "right") == "first"
        assert torch.equal(each.withdraw("first")(images), whole)


def trained_a_little(network):
    with torch.no_grad():
        network.lower[1][0].weight.view(-1)[0] += 1e-3


def with_new_statistics(network):
    network.lower[1][1].running_mean += 1e-3


@pytest.mark.parametrize("change", [trained_a_little, with_new_statistics])
def test_a_target_that_was_trained_on_is_refused_by_withdraw(faults, change, pair, tiny_data):
    since = copy.deepcopy(pair[0])
    change(since)
    with faults.fault(change.__name__), pytest.raises(lk.LirfError, match=f"^{DIFFERENT}{SINCE}$"):
        lk.withdraw(since, pair[1])
    assert lk.withdraw(since, pair[1], check=False)(tiny_data.test.images).isfinite().all()
    lk.withdraw(*pair)


@pytest.mark.parametrize("change", [trained_a_little, with_new_statistics])
@pytest.mark.parametrize("what", ["bank.target", "module 'first'"])
def test_a_bank_whose_target_or_module_was_changed_says_so(
    faults, change, what, tiny, tiny_data, tiny_original, tmp_path
):
    bank, images = lk.KnowledgeBank(tiny_original, tiny), tiny_data.test.images
    first, second = (lk.split_by_class(tiny_data, classes).deposit_set for classes in (CLASSES, (5, 6)))
    bank.deposit("first", first)
    whole = bank.withdraw("first")(images)
    bank.save(tmp_path / "bank")
    change(bank.target if what == "bank.target" else bank["first"])
    sentence = (
        f"^{re.escape(what)} must be as its deposit left it, but was changed since: load the bank from its folder"
    )
    attempts = {
        "withdraw": lambda: bank.withdraw("first"),
        "save": lambda: bank.save(tmp_path / "bank"),
        "hand out": lambda: bank.hand_out("first", tmp_path / "module"),
    }
    if what == "bank.target":
        attempts["deposit"] = lambda: bank.deposit("second", second)
    for name, attempt in attempts.items():
        with faults.fault(f"{name} after {change.__name__}"), pytest.raises(lk.LirfError, match=sentence):
            attempt()
    assert "first" in bank and bank.names == ("first",) and not (tmp_path / "module").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(lk.KnowledgeBank.load(tmp_path / "bank").withdraw("first")(images), whole)
