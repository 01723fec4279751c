"""The blind audit: the draw, the budget, the score, and that nothing gives the key away."""

import itertools
import json
import pprint

import pytest

import lirf_kit as lk
from lirf_kit.evidence import audit as auditing

NAMES = ("network A", "network B", "network C", "network D")


@pytest.fixture(scope="module")
def small(tiny):
    return tiny.replace(lambda_cs=0.5, lambda_os=1.0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder in which the four networks are saved once, for all tests of this module."""
    return tmp_path_factory.mktemp("networks")


@pytest.fixture
def begin(saved, monkeypatch, tiny_original, tiny_data, small):
    monkeypatch.setenv("LIRF_KIT_HOME", str(saved))
    return lambda seed=0, **given: lk.blind_audit(tiny_original, tiny_data, small, seed, **given)


def truth(audit):
    """What each network is, read off a wrong verdict that is given on a second audit with the same seed."""
    return dict(zip(NAMES, audit.verdict(dict(zip(NAMES, auditing.KINDS))).table["it is"]))


def test_the_same_seed_draws_the_same_letters_and_other_seeds_other_ones(begin):
    assert truth(begin(3)) == truth(begin(3))
    drawn = {tuple(truth(begin(seed)).values()) for seed in range(40)}
    assert len(drawn) > 15  # of 24
    assert all(sorted(kinds) == sorted(auditing.KINDS) for kinds in drawn)
    assert {kinds[0] for kinds in drawn} == set(auditing.KINDS)


def test_the_answers_are_the_laboratory_s(begin, tiny_original, tiny_data, tiny_parts, small):
    audit, kinds = begin(5, budget=100), truth(begin(5))
    networks = lk.evidence_networks(tiny_original, tiny_data, tiny_parts, small)
    readings = lk.read_features(networks, tiny_parts, small)
    for tool, table in {
        "new statistics": lk.recalibration_table(networks, tiny_parts, small),
        "kNN": lk.probe_table(readings, small, probes=("kNN",), tasks=("all classes",)),
        "five images": lk.few_shot_table(readings, small, shots=(5,), tasks=("all classes",)).head(len(networks)),
    }.items():
        expected = table.set_index("network")["value"]
        for name in NAMES:
            assert audit.ask(tool, name) == round(expected[kinds[name]], 1)
        assert audit.ask(tool, "original") == round(expected["original"], 1)
        assert audit.ask(tool, "retrained reference") == round(expected["retrained, another seed"], 1)


@pytest.mark.parametrize("tool", auditing.TOOLS)
def test_every_tool_answers_about_every_kind_of_network(tool, begin):
    audit = begin(budget=100)
    for name in (*NAMES, "original"):
        assert 0 <= audit.ask(tool, name) <= 250
    assert audit.left == 100 - 5 * audit.tools.loc[tool, "queries"]
    assert list(audit.log.index) == [tool] and audit.log.loc[tool, "original"] == audit.ask(tool, "original")
    assert audit.log["retrained reference"].isna().all()


def test_a_question_costs_its_queries_once_and_the_budget_holds(begin):
    audit = begin(budget=5)
    audit.ask("kNN", "network A"), audit.ask("kNN", "network A")
    assert audit.left == 3
    sentence = "^'new statistics' costs 4 queries, but only 3 of your 5 are left$"
    with pytest.raises(lk.LirfError, match=sentence):
        audit.ask("new statistics", "network A")
    assert audit.left == 3 and audit.log.size == 6
    audit.ask("membership", "network B")
    assert audit.left == 0 and audit.ask("kNN", "network A") == audit.log.loc["kNN", "network A"]


def test_the_budget_is_enough_for_a_plan_but_not_for_everything():
    everything = 6 * sum(cost for cost, *_ in auditing.TOOLS.values())
    assert 6 * auditing.TOOLS["new statistics"][0] < auditing.BUDGET < everything / 4


def test_printing_an_audit_or_its_attributes_reveals_no_kind(begin):
    audit = begin(1)
    audit.ask("own answers", "network A")
    shown = [repr(audit), str(audit), pprint.pformat(vars(audit)), audit.log.to_string(), repr(dir(audit))]
    for text, kind in itertools.product(shown, ("head masking", "output alone", "HeadMasked", "'retrained'")):
        assert kind not in text
    public = [getattr(audit, name) for name in dir(audit) if not name.startswith("_")]
    assert not any(isinstance(value, dict) and set(value) & set(NAMES) for value in public)


def test_a_right_verdict_with_reasons_and_a_yardstick_scores_ten(begin):
    audit, kinds = begin(2, budget=100), truth(begin(2))
    reasons = {name: f"The {tool} gives {audit.ask(tool, name)} here." for name in NAMES for tool in ["five images"]}
    for reference in audit.references:
        audit.ask("five images", reference)
    verdict = audit.verdict(kinds, reasons)
    assert verdict.points == {"networks": 4, "reasons": 4, "yardstick": 2} and verdict.total == 10
    assert verdict.table["right"].all() and (verdict.spent, verdict.budget) == (12, 100)
    assert str(verdict).startswith("10 of 10 points: 4 of 4 networks named right, 4 of 4 reasons")


def test_a_wrong_verdict_scores_what_is_right_in_it(begin):
    audit, kinds = begin(2), truth(begin(2))
    kinds["network A"], kinds["network B"] = kinds["network B"], kinds["network A"]
    verdict = audit.verdict(kinds)
    assert verdict.points == {"networks": 2, "reasons": 0, "yardstick": 0}
    assert verdict.table["right"].tolist() == [False, False, True, True]


def test_a_reason_scores_only_with_a_tool_and_its_value_for_this_network(begin, monkeypatch):
    answers = {"kNN": 40.0, "uncertainty": 1.35}
    audit, kinds = begin(2), truth(begin(2))
    monkeypatch.setattr(audit, "_measure", lambda tool, network: answers[tool])
    for network in ("network A", "network B", "network D"):
        audit.ask("kNN", network)
    audit.ask("uncertainty", "network D")
    reasons = {
        "network A": "knn: 40 %",  # whole numbers will do, and so do small letters
        "network B": "kNN reads 47 %",  # not what it read
        "network C": "kNN reads 40 %",  # not asked about this one
        "network D": "kNN is low, and the uncertainty is 1.4",
    }
    verdict = audit.verdict(kinds, reasons)
    assert verdict.table["evidence in your reason"].tolist() == ["kNN", "", "", "uncertainty"]
    assert verdict.points["reasons"] == 2 and verdict.points["yardstick"] == 0


def test_the_yardstick_needs_both_references_of_a_tool_that_is_quoted(begin):
    def score(*asked):
        audit = begin(2)
        value = audit.ask("kNN", "network A")
        for tool, reference in asked:
            audit.ask(tool, reference)
        return audit.verdict(dict(zip(NAMES, auditing.KINDS)), {"network A": f"kNN {value}"}).points["yardstick"]

    assert score(("kNN", "original")) == 0
    assert score(("own answers", "original"), ("own answers", "retrained reference")) == 0
    assert score(("kNN", "original"), ("kNN", "retrained reference")) == 2


def test_after_the_verdict_nothing_more_can_be_asked_or_said(begin):
    audit = begin()
    audit.verdict(dict(zip(NAMES, auditing.KINDS)))
    for attempt in (lambda: audit.ask("kNN", "network A"), lambda: audit.verdict(dict(zip(NAMES, auditing.KINDS)))):
        with pytest.raises(lk.LirfError, match="^you have already given a verdict on these networks; blind_audit with"):
            attempt()


def test_every_verdict_is_recorded_with_its_questions(begin, saved):
    (saved / "audits.jsonl").unlink(missing_ok=True)
    first = begin(1)
    value = first.ask("kNN", "network A")
    first.verdict(dict(zip(NAMES, auditing.KINDS)), {"network A": "a guess"})
    begin(11).verdict(dict(zip(NAMES, auditing.KINDS)))
    again = begin(1).verdict(dict(zip(NAMES, auditing.KINDS)))
    assert (again.attempts, again.attempts_with_seed) == (3, 2)
    assert again.record == saved / "audits.jsonl"
    entries = [json.loads(line) for line in again.record.read_text(encoding="utf-8").splitlines()]
    assert [entry["seed"] for entry in entries] == [1, 11, 1]
    assert entries[0]["budget"] == auditing.BUDGET
    assert entries[0]["asked"] == [["kNN", "network A", value]] and entries[0]["reasons"] == {"network A": "a guess"}


def test_a_record_that_cannot_be_written_is_named_and_the_verdict_counts(begin, monkeypatch, tmp_path):
    audit = begin()
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path / "a file"))
    with pytest.warns(UserWarning, match="^this verdict can't be recorded in .*audits.jsonl: "):
        verdict = audit.verdict(dict(zip(NAMES, auditing.KINDS)))
    assert verdict.attempts == 1


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda audit: audit.ask("a probe", "network A"), r"^tool must be own answers, .*classifier, not 'a probe'$"),
        (
            lambda audit: audit.ask("kNN", "network E"),
            r"^network must be network A, network B, network C, network D, original or retrained reference, not 'netw",
        ),
        (
            lambda audit: audit.verdict({"network A": "target", "network D": "retrained"}),
            r"^kinds must say what each network is, but lacks network B and network C$",
        ),
        (
            lambda audit: audit.verdict(dict(zip((*NAMES, "network E"), (*auditing.KINDS, "target")))),
            r"^every network in kinds must be network A, network B, network C or network D, not 'network E'$",
        ),
        (
            lambda audit: audit.verdict(dict(zip(NAMES, ("target", "retrained", "head masking", "forgotten")))),
            r"^every kind must be target, target, output alone, retrained or head masking, not 'forgotten'$",
        ),
        (
            lambda audit: audit.verdict(dict(zip(NAMES, ("target", "retrained", "head masking", "target")))),
            r"^kinds must give each kind to one network, not 'target' to 2$",
        ),
        (lambda audit: audit.verdict("network A"), r"^kinds must be a dict with a text for each network, not 'net"),
        (
            lambda audit: audit.verdict(dict(zip(NAMES, auditing.KINDS)), {"network A": 3}),
            r"^the reason for network A must be a text, not 3$",
        ),
        (
            lambda audit: audit.verdict(dict(zip(NAMES, auditing.KINDS)), {"B": "because"}),
            r"^every network in reasons must be network A, .* or network D, not 'B'$",
        ),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence_and_reveals_nothing(attempt, sentence, begin):
    audit = begin()
    with pytest.raises(lk.LirfError, match=sentence):
        attempt(audit)
    assert audit.left == audit.budget
    assert audit.verdict(dict(zip(NAMES, auditing.KINDS))).points["reasons"] == 0  # a second try is allowed


@pytest.mark.parametrize("given", [{"seed": -1}, {"seed": 1.5}, {"seed": True}, {"seed": None}, {"budget": "ten"}])
def test_a_seed_or_a_budget_that_is_no_number_is_refused_before_anything_is_computed(given, begin):
    (name, value), *_ = given.items()
    with pytest.raises(lk.LirfError, match=f"^{name} must be a whole number of at least 0, not {value!r}$"):
        begin(**given)


def test_two_networks_that_would_be_the_same_are_refused(tiny_original, tiny_data, tiny):
    with pytest.raises(lk.LirfError, match="^config must have lambda_cs or lambda_os above 0: with both at 0, two"):
        lk.blind_audit(tiny_original, tiny_data, tiny, 0)
