import json
import os
import pickle

import pytest
import safetensors.torch
import torch

import lirf_kit as lk

NAMES = {"first": (0, 1), "second": (5,), "third": (7, 8)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One folder for the deposits of this file's tests, so that each is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def deposits_made_once(home, own_home, monkeypatch):
    monkeypatch.setenv("LIRF_KIT_HOME", str(home))


@pytest.fixture
def sets(tiny_data):
    return {name: lk.split_by_class(tiny_data, classes).deposit_set for name, classes in NAMES.items()}


@pytest.fixture(params=["pruned", "difference"])
def knobs(request, tiny):
    return tiny.replace(container=request.param)


@pytest.fixture
def make(tiny_original, sets):
    def full(config, names=tuple(NAMES), **options):
        bank = lk.KnowledgeBank(tiny_original, config, **options)
        for name in names:
            bank.deposit(name, sets[name])
        return bank

    return full


@pytest.fixture
def images(tiny_data):
    return tiny_data.test.images


def same(bank, other, images):
    """Whether two banks give the same logits, bit by bit, for every subset."""
    ours, theirs = lk.bank_states(bank), lk.bank_states(other)
    return list(ours) == list(theirs) and all(torch.equal(ours[name](images), theirs[name](images)) for name in ours)


def test_a_new_bank_is_the_original(tiny, tiny_original, images):
    bank = lk.KnowledgeBank(tiny_original, tiny)
    assert torch.equal(bank.target(images), tiny_original(images))
    assert len(bank) == 0 and bank.names == () and list(bank) == [] and "first" not in bank


@pytest.mark.parametrize("subset", [["first"], ["third", "first"], list(NAMES)])
def test_every_logit_comes_from_where_the_formula_says(make, knobs, images, subset):
    bank = make(knobs)
    network = bank.withdraw(*subset)
    with torch.no_grad():
        logits, target_logits = network(images), bank.target(images)
        out = [number for name in subset for number in NAMES[name]]
        others = [number for number in range(10) if number not in out]
        if knobs.container == "difference":  # see the next test for the classes that were never deposited
            others = [number for number in others if number in sum(map(list, NAMES.values()), [])]
        assert torch.equal(logits[:, others], target_logits[:, others])
        for name, lower in zip(sorted(subset, key=list(NAMES).index), network.module_lowers):
            of_module = bank.target.upper(lower(images))
            assert torch.equal(logits[:, NAMES[name]], of_module[:, NAMES[name]])
            if knobs.container == "pruned":
                assert lower is bank[name].lower


def test_with_differences_the_mean_is_taken_of_the_classes_that_were_never_deposited(make, tiny, images):
    bank = make(tiny.replace(container="difference"))
    network = bank.withdraw("first", "third")
    with torch.no_grad():
        logits = network(images)
        read = [bank.target(images), *(bank.target.upper(lower(images)) for lower in network.module_lowers)]
    kept = [2, 3, 4, 6, 9]
    assert torch.allclose(logits[:, kept], sum(read)[:, kept] / 3)
    assert torch.equal(logits[:, 5], read[0][:, 5])  # 5 is still in the bank: no module may answer for it


def test_differences_withdrawn_last_in_first_out_are_the_networks_before(make, tiny, sets, images):
    config = tiny.replace(container="difference", bits=8)
    two, three = make(config, ("first", "second")), make(config)
    lower = three.withdraw("third").module_lowers[0]
    with torch.no_grad():
        before, again = two.target.lower(images), lower(images)
    assert (again - before).norm() < 0.02 * (three.target.lower(images) - before).norm()
    (lower, _) = three.withdraw("second", "third").module_lowers  # T after the first deposit
    with torch.no_grad():
        assert (lower(images) - make(config, ("first",)).target.lower(images)).norm() < 0.05 * before.norm()


def test_the_upper_blocks_exist_once(make, knobs):
    bank = make(knobs)
    places = {id(value) for value in bank.target.upper.parameters()}
    assert {id(value) for value in bank._original.upper.parameters()} == places
    for network in list(lk.bank_states(bank).values())[1:]:
        assert {id(value) for value in network.target.upper.parameters()} == places
        assert not any(id(value) in places for value in network.module_lowers.parameters())


def test_withdrawing_changes_nothing_in_the_bank(make, knobs, images):
    bank = make(knobs)
    before = [
        value.clone()
        for module in (bank.target, *map(bank.__getitem__, bank))
        for value in module.state_dict().values()
    ]
    lk.bank_states(bank)
    bank.withdraw_all()(images)
    after = [value for module in (bank.target, *map(bank.__getitem__, bank)) for value in module.state_dict().values()]
    assert all(map(torch.equal, before, after))


def test_the_same_deposits_give_the_same_bank(make, knobs, images, home, monkeypatch, tmp_path):
    bank = make(knobs)
    monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path / "elsewhere"))  # nothing is found there
    assert same(bank, make(knobs), images)


def test_the_original_can_change_without_the_bank(make, tiny, tiny_original, images):
    import copy

    mine = copy.deepcopy(tiny_original)
    bank = lk.KnowledgeBank(mine, tiny)
    with torch.no_grad():
        mine.upper[-1].weight.zero_()
    assert torch.equal(bank.target(images), tiny_original(images))


def test_the_teacher_makes_a_difference_from_the_second_deposit_on(make, tiny, same_weights):
    config = tiny.replace(mixtures=True)
    from_original, from_target = (
        make(config, ("first", "second"), teacher=teacher) for teacher in ("original", "target")
    )
    assert same_weights(from_original["first"], from_target["first"])
    assert same_weights(from_original.target, from_target.target)  # the teacher is the modules' alone
    assert not same_weights(from_original["second"], from_target["second"])


def test_a_bank_that_learns_from_its_target_keeps_no_original(make, tiny, images):
    assert make(tiny, ("first",), teacher="target")._original is None


def test_the_second_deposit_never_relabels_as_a_class_that_is_gone(tiny, tiny_original, sets, monkeypatch):
    seen, look = [], lk.method.depositing._look
    monkeypatch.setattr("lirf_kit.method.depositing._look", lambda *given: seen.append(look(*given)) or seen[-1])
    bank = lk.KnowledgeBank(tiny_original, tiny.replace(seed=77))
    bank.deposit("first", sets["first"])
    assert seen[-1].forgotten.tolist() == [0, 1]
    bank.deposit("second", sets["second"])
    assert seen[-1].forgotten.tolist() == [5, 0, 1]


def test_a_bank_comes_back_from_its_folder_bit_by_bit(make, knobs, images, tmp_path, tiny_original, sets):
    bank = make(knobs, ("first", "second"))
    bank.save(tmp_path / "bank")
    again = lk.KnowledgeBank.load(tmp_path / "bank", tiny_original)
    assert same(bank, again, images) and again.names == bank.names and again.config == bank.config
    for each in (bank, again):
        each.deposit("third", sets["third"])
    assert same(bank, again, images)
    lk.KnowledgeBank.load(tmp_path / "bank").save(tmp_path / "copy")  # without the original, and still of it
    assert lk.KnowledgeBank.load(tmp_path / "copy", tiny_original).names == ("first", "second")
    again.save(tmp_path / "bank")  # a step further: the old target's file goes
    assert len(list((tmp_path / "bank").iterdir())) == 5
    assert same(again, lk.KnowledgeBank.load(tmp_path / "bank"), images)


def test_a_module_is_carried_away_and_brought_back(make, knobs, images, tmp_path):
    bank = make(knobs)
    whole = bank.withdraw_all()(images)
    bank.hand_out("second", tmp_path / "second.safetensors")
    assert list(bank) == ["first", "third"] and bank.names == tuple(NAMES) and len(bank) == 2 and "second" not in bank
    assert "handed out" in repr(bank) and "<table" in bank._repr_html_()
    with pytest.raises(lk.LirfError, match="'second' is handed out: bring its module back first, with bank.bring_back"):
        bank.withdraw("second")
    bank.save(tmp_path / "bank")
    again = lk.KnowledgeBank.load(tmp_path / "bank")
    for each in (bank, again):
        assert each.bring_back(tmp_path / "second.safetensors") == "second"
        assert torch.equal(each.withdraw_all()(images), whole)
    with pytest.raises(lk.LirfError, match="'second' is in the bank"):
        bank.bring_back(tmp_path / "second.safetensors")


def test_a_file_that_was_not_handed_out_is_refused(make, tiny, tiny_original, sets, tmp_path, images):
    bank = make(tiny)
    bank.hand_out("second", tmp_path / "second")
    content = (tmp_path / "second").read_bytes()
    other = lk.KnowledgeBank(lk.build_network(tiny.replace(seed=5), 1, 10).eval(), tiny)
    other.deposit("second", sets["second"])
    other.hand_out("second", tmp_path / "foreign")
    (tmp_path / "truncated").write_bytes(content[:-100])
    weights = safetensors.torch.load(content)
    weights["lower.1.0.weight"] += 1
    (tmp_path / "changed").write_bytes(safetensors.torch.save(weights))
    (tmp_path / "pickle").write_bytes(pickle.dumps({"deposit_classes": 1}))
    for file, sentence in {
        "foreign": "holds a module of a different bank",
        "truncated": "can't be read as a deposit module",
        "changed": "must hold a module as it was handed out",
        "pickle": "can't be read as a deposit module",
        "missing": "can't be read as a deposit module",
    }.items():
        with pytest.raises(lk.LirfError, match=f"{file}' {sentence}"):
            bank.bring_back(tmp_path / file)
    assert len(bank) == 2


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:50]), "is damaged, or of a different bank"),
        (lambda file: file.write_bytes(b""), "is damaged, or of a different bank"),
    ],
)
def test_a_bank_with_a_bad_module_names_it_and_serves_the_rest(make, tiny, tmp_path, images, fault, sentence):
    bank = make(tiny)
    bank.save(tmp_path)
    (file,) = tmp_path.glob("module-second-*")
    content = file.read_bytes()
    fault(file)
    with pytest.warns(
        UserWarning, match=f"^module second can't be withdrawn: .*{sentence}; the rest of the bank works$"
    ):
        again = lk.KnowledgeBank.load(tmp_path)
    assert list(again) == ["first", "third"]
    assert torch.equal(again.withdraw("first", "third")(images), bank.withdraw("first", "third")(images))
    file.write_bytes(content)
    assert again.bring_back(file) == "second" and same(again, bank, images)


def test_a_module_s_file_that_could_not_be_read_is_neither_removed_nor_forgotten(make, tiny, tmp_path, images, sets):
    bank = make(tiny, ("first", "second"))
    bank.save(tmp_path)
    (file,) = tmp_path.glob("module-first-*")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.warns(UserWarning, match="^module first can't be withdrawn"):
        again = lk.KnowledgeBank.load(tmp_path)
    again.teacher = "target"
    again.deposit("third", sets["third"])
    again.save(tmp_path)
    assert file.read_bytes() == content[:-1]
    with pytest.warns(UserWarning, match="^module first can't be withdrawn"):
        lk.KnowledgeBank.load(tmp_path)
    file.write_bytes(content)
    found = lk.KnowledgeBank.load(tmp_path)
    assert list(found) == list(NAMES) and torch.equal(found.withdraw("first")(images)[:, 0], whole_of(found, images))
    found.hand_out("first", tmp_path / "away")
    found.save(tmp_path)
    assert not file.exists() and (tmp_path / "away").exists()


def whole_of(bank, images):
    """The logit of class 0, from the first module."""
    return bank.target.upper(bank["first"].lower(images))[:, 0]


def test_what_a_killed_saving_left_is_removed_by_the_next_one_and_other_files_are_not(make, tiny, tmp_path):
    bank = make(tiny, ("first",))
    bank.save(tmp_path)
    for name in ("target-00000000.safetensors", "module-first-00000000.safetensors", "first.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    bank.save(tmp_path)
    left = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert left == ["bank.json", "first.safetensors", "module", "notes.txt", "target"]


def test_a_folder_without_a_usable_bank_is_named(make, tiny, tmp_path, tiny_original):
    with pytest.raises(lk.LirfError, match="holds no bank: there is no bank.json in it"):
        lk.KnowledgeBank.load(tmp_path / "nowhere")
    bank = make(tiny, ("first",))
    bank.save(tmp_path)
    with pytest.raises(lk.LirfError, match="original must be the network that this bank was made from"):
        lk.KnowledgeBank.load(tmp_path, lk.build_network(tiny.replace(seed=5), 1, 10))
    index = json.loads((tmp_path / "bank.json").read_bytes())
    (target,) = tmp_path.glob("target-*")
    content = target.read_bytes()
    target.write_bytes(content[:-1])
    with pytest.raises(lk.LirfError, match="holds no usable bank: the target can't be used"):
        lk.KnowledgeBank.load(tmp_path)
    target.write_bytes(content)
    for text, sentence in {
        json.dumps(index | {"format": 2}): "must be of format 1, which this version of lirf_kit reads, not 2",
        json.dumps(index | {"teacher": "target"}): "it was changed since it was written",
        json.dumps(index)[:-20]: "can't be used",
        "[" * 100_000: "can't be used",
        "[]": "can't be used",
    }.items():
        (tmp_path / "bank.json").write_text(text)
        with pytest.raises(lk.LirfError, match=sentence):
            lk.KnowledgeBank.load(tmp_path)


def test_a_folder_of_a_different_bank_is_left_alone(make, tiny, tmp_path, images, tiny_original, sets):
    bank = make(tiny)
    bank.save(tmp_path)
    other = lk.KnowledgeBank(tiny_original, tiny)
    other.deposit("first", sets["third"])  # the same name for something else
    with pytest.raises(lk.LirfError, match="holds a different bank: choose another folder"):
        other.save(tmp_path)
    assert same(lk.KnowledgeBank.load(tmp_path), bank, images)


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_saving_that_fails_at_any_file_leaves_the_old_bank(make, tiny, tmp_path, images, sets, monkeypatch, stop):
    bank = make(tiny, ("first", "second"))
    bank.save(tmp_path)
    further = make(tiny)
    calls, replace = [], os.replace

    def failing(*names):
        calls.append(names)
        if len(calls) == stop:
            raise OSError(28, "No space left on device")
        return replace(*names)

    monkeypatch.setattr("os.replace", failing)
    with pytest.raises(lk.LirfError, match="can't be written: .*No space left"):
        further.save(tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob(".writing-*")) and len(further) == 3
    assert same(lk.KnowledgeBank.load(tmp_path), bank, images)


def test_a_file_in_the_folder_s_place_is_named(make, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(lk.LirfError, match="file' can't be written"):
        make(tiny, ("first",)).save(tmp_path / "file")


def test_an_interrupted_deposit_leaves_the_bank_as_it_was(make, tiny, sets, images, monkeypatch):
    bank = make(tiny, ("first",))
    before = bank.target(images)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lirf_kit.method.depositing._descend", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bank.deposit("third", sets["third"])  # a deposit after "first" that no other test has made
    assert torch.equal(bank.target(images), before) and bank.names == ("first",)
    monkeypatch.undo()
    assert bank.withdraw("first") is not None


def test_wrong_deposits_are_refused_before_anything_is_computed(
    make, tiny, tiny_data, sets, tiny_original, monkeypatch
):
    bank = make(tiny, ("first", "second"))
    monkeypatch.setattr("lirf_kit.method.bank.load_or_deposit", None)

    def of(classes):
        return lk.split_by_class(tiny_data, classes).deposit_set

    birds = lk.ImageData(sets["third"].images, sets["third"].labels, sets["third"].indices, ("bird",) * 10)
    samples = lk.split_by_sample(tiny_data, fraction=0.1).deposit_set
    for name, deposit_set, sentence in (
        ("first", sets["third"], "name must be a new one: 'first' is in the bank"),
        ("a/b", sets["third"], "name must be 1 to 60 letters, digits, hyphens and underscores, not 'a/b'"),
        ("", sets["third"], "name must be 1 to 60 letters"),
        (3, sets["third"], "name must be 1 to 60 letters"),
        ("new", of([1, 2]), "deposit_set must not share classes with 'first', which has 1"),
        ("new", samples, "deposit_set must not share classes with 'first', which has 0"),
        ("new", of([2, 3, 4, 6, 7, 8, 9]), "deposit_set must leave a class that was never deposited"),
        ("new", birds, r"deposit_set must be of the bank's data set, .* not one with 10 classes \(bird to bird\)"),
        ("new", sets["third"].select(torch.tensor([], dtype=torch.int64), (7, 8)), "must hold at least one image"),
    ):
        with pytest.raises(lk.LirfError, match=sentence):
            bank.deposit(name, deposit_set)
    assert bank.names == ("first", "second")
    with pytest.raises(lk.LirfError, match="teacher must be original or target, not 'me'"):
        lk.KnowledgeBank(tiny_original, tiny, teacher="me")


def test_a_loaded_bank_says_when_it_needs_the_original(make, tiny, sets, tmp_path):
    make(tiny, ("first",)).save(tmp_path)
    bank = lk.KnowledgeBank.load(tmp_path)
    with pytest.raises(lk.LirfError, match="teacher='original' needs the original"):
        bank.deposit("second", sets["second"])
    bank.teacher = "target"
    bank.deposit("second", sets["second"])
    assert len(bank) == 2


def test_wrong_withdrawals_are_refused(make, tiny):
    bank = make(tiny)
    for names, sentence in (
        ((), "names must name at least one deposit, not none"),
        (("fourth",), "name must be one of 'first', 'second', 'third', not 'fourth'"),
        (("first", "first"), "names must name each deposit once, not 'first' twice"),
    ):
        with pytest.raises(lk.LirfError, match=sentence):
            bank.withdraw(*names)


def test_the_wrong_key_is_refused_and_can_be_tried(make, tiny, sets, images):
    bank = make(tiny, ("first",))
    other = lk.KnowledgeBank(lk.build_network(tiny.replace(seed=5), 1, 10).eval(), tiny)
    other.deposit("first", sets["first"])
    with pytest.raises(lk.LirfError, match="deposit_module was made for a different original"):
        lk.withdraw(other.target, bank["first"])
    assert lk.withdraw(other.target, bank["first"], check=False)(images).shape == (len(images), 10)


def test_features_stand_side_by_side(make, tiny, tiny_data):
    network = make(tiny).withdraw("first", "third")
    assert lk.extract_features(network, tiny_data.test).shape == (len(tiny_data.test), 3 * 8)
