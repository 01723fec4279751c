"""The blind audit: four networks without names, a budget of queries, and a verdict.

One network was trained without the deposit classes, one has forgotten inside, one at its output alone, and one has
forgotten nothing and only keeps silent. All four answer no deposit image right. You find out which is which by asking
some of the laboratory's tests, each of which costs queries.
"""

import json
import operator
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import pandas

from lirf_kit.artifacts import home
from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.partition import split_by_class
from lirf_kit.evidence.few_shot import few_shot_table
from lirf_kit.evidence.laboratory import DIGITS
from lirf_kit.evidence.membership import membership_table
from lirf_kit.evidence.probes import probe_table
from lirf_kit.evidence.readings import ALL, read_features
from lirf_kit.evidence.recalibration import recalibration_table
from lirf_kit.evidence.references import ANSWERS_ONLY, OUTPUT_ALONE, another_seed, mask_head, retrain
from lirf_kit.evidence.relearning import relearn
from lirf_kit.evidence.streisand import ANSWERS, AUDITOR, streisand_table
from lirf_kit.method.caching import load_or_deposit
from lirf_kit.method.networks import accuracy

BUDGET = 30  # queries
KINDS = ("target", ANSWERS_ONLY, "retrained", "head masking")
NAMELESS = ("network A", "network B", "network C", "network D")
REFERENCES = ("original", "retrained reference")  # you know what these are; their answers cost queries, too
CLOSE = {"%": 0.51, "nats": 0.051}  # how far a number in a reason may be from the value that it quotes
OVER = "you have already given a verdict on these networks; blind_audit with a different seed begins a new audit"
RECORD = "audits.jsonl"  # in the kit's folder, a line for each verdict


def _probe(kind):
    """Return the tool that asks one kind of probe."""

    def ask(network, parts, config):
        readings = read_features({"it": network}, parts, config)
        return probe_table(readings, config, probes=(kind,), tasks=(ALL,), stages="last")["value"].item()

    return ask


def _five_images(network, parts, config):
    readings = read_features({"it": network}, parts, config)
    return few_shot_table(readings, config, shots=(5,), tasks=(ALL,))["value"].iloc[0]


def _streisand(test, task):
    """Return the tool that reads one row of the Streisand table."""

    def ask(network, parts, config):
        table = streisand_table({"it": network}, parts, config)
        return table[(table["test"] == test) & (table["task"] == task)]["value"].item()

    return ask


def _relearning(network, parts, config):
    curve = relearn({"it": network}, parts, config, scenarios=("labelled",), steps=(0, 16))
    return curve["Dep Acc"].iloc[-1]


TOOLS = {  # name: (queries, unit, what it asks, function of a network, the parts and a config)
    "own answers": (1, "%", "deposit images answered right", lambda it, p, _: accuracy(it, p.deposit_validation)),
    "deposit classes only": (
        3, "%", "the same, if only the deposit classes may be the answer",
        lambda it, parts, _: accuracy(it, parts.deposit_validation, "part"),
    ),
    "linear probe": (2, "%", "deposit images that a linear probe reads off the features", _probe("linear")),
    "kNN": (2, "%", "deposit images whose nearest training images are of their class", _probe("kNN")),
    "five images": (2, "%", "deposit images nearest to their class's mean of five labelled images", _five_images),
    "new statistics": (
        4, "%", "deposit images answered right after new BatchNorm statistics",
        lambda it, parts, config: recalibration_table({"it": it}, parts, config)["value"].item(),
    ),
    "relearning": (5, "%", "deposit images answered right after 16 steps with five labelled images", _relearning),
    "membership": (
        3, "%", "how well the loss tells deposited training images from unseen ones; 50 is a guess",
        lambda it, parts, config: membership_table({"it": it}, parts, config)["value"].iloc[0],
    ),
    "uncertainty": (2, "nats", "mean entropy of the answers on deposit images", _streisand(ANSWERS, "entropy")),
    "classifier": (
        3, "%", "length of the silent classes' weights, compared with the others'",
        _streisand(AUDITOR, "weight of silent classes"),
    ),
}  # fmt: skip


def blind_audit(original, data, config, seed, budget=BUDGET):
    """Hide four networks behind letters: target, target at the output alone, retrained, and head masking.

    Networks that are not on disk are made first.

    Parameters
    ----------
    original : SplitNetwork
    data : Dataset
    config : Config
        As for `deposit` and `train_original`; reads `deposit_classes` as well.
    seed : int
        Draws which network gets which letter. The same seed gives the same draw.
    budget : int
        How many queries you have.

    Returns
    -------
    Audit

    Raises
    ------
    LirfError
        If the seed or the budget is not a whole number of at least 0, or if the config's target forgets at the output
        alone, so that two of the four networks would be the same.
    """
    seed, budget = _whole("seed", seed), _whole("budget", budget)
    outside = config.replace(**OUTPUT_ALONE)
    if outside == config:
        raise LirfError("config must have lambda_cs or lambda_os above 0: with both at 0, two networks are the same")
    parts = split_by_class(data, config.deposit_classes)
    networks = (
        load_or_deposit(original, parts.deposit_set, config)[0],
        load_or_deposit(original, parts.deposit_set, outside)[0],
        retrain(data, parts, config),
        mask_head(original, parts.deposit_set.deposit_classes),
    )
    drawn = numpy.random.default_rng((seed, len(KINDS))).permutation(len(KINDS))
    key = {name: KINDS[place] for name, place in zip(NAMELESS, drawn)}
    hidden = {name: networks[place] for name, place in zip(NAMELESS, drawn)}
    hidden |= dict(zip(REFERENCES, (original, retrain(data, parts, another_seed(config)))))
    # closures, because whatever is an attribute would be printed by vars(audit)
    return Audit(seed, budget, lambda tool, network: TOOLS[tool][-1](hidden[network], parts, config), lambda: dict(key))


class Audit:
    """An audit under way; `blind_audit` begins one.

    Attributes
    ----------
    seed, budget : int
    networks : tuple of str
        The four that you judge.
    references : tuple of str
        Two that you know: the original, and a network retrained with a different seed.
    """

    def __init__(self, seed, budget, measure, reveal):
        self.seed, self.budget = seed, budget
        self.networks, self.references = NAMELESS, REFERENCES
        self._measure, self._reveal = measure, reveal
        self._asked, self._closed = {}, False

    def __repr__(self):
        state = "the verdict is given" if self._closed else f"{self.left} of {self.budget} queries left"
        return f"<Audit with seed {self.seed}: {state}, {len(self._asked)} questions asked>"

    @property
    def tools(self):
        """What you can ask, and how many queries each question costs."""
        rows = {name: (cost, unit, asks) for name, (cost, unit, asks, _) in TOOLS.items()}
        return pandas.DataFrame.from_dict(rows, orient="index", columns=["queries", "unit", "what it tells"])

    @property
    def left(self):
        """How many queries are left."""
        return self.budget - sum(TOOLS[tool][0] for tool, _ in self._asked)

    @property
    def log(self):
        """What you have asked so far, and the answers: one row per tool, one column per network."""
        answers = pandas.Series(self._asked, dtype=float)
        if answers.empty:
            return pandas.DataFrame(columns=NAMELESS + REFERENCES)
        table = answers.unstack()
        order = [name for name in TOOLS if name in table.index]
        return table.reindex(index=order, columns=NAMELESS + REFERENCES)

    def ask(self, tool, network):
        """Put one question to one network, and pay for it; a question that you asked before is free.

        Parameters
        ----------
        tool : str
            A row of `tools`.
        network : str
            One of `networks` or `references`.

        Returns
        -------
        float
            In the tool's unit.

        Raises
        ------
        LirfError
            If there is no such tool or network, if the question costs more than what is left of the budget, or if the
            verdict is given.
        """
        check_choice("tool", tool, tuple(TOOLS))
        check_choice("network", network, NAMELESS + REFERENCES)
        if self._closed:
            raise LirfError(OVER)
        if (tool, network) not in self._asked:
            cost, unit = TOOLS[tool][:2]
            if cost > self.left:
                raise LirfError(f"{tool!r} costs {cost} queries, but only {self.left} of your {self.budget} are left")
            self._asked[tool, network] = round(float(self._measure(tool, network)), DIGITS[unit])
        return self._asked[tool, network]

    def verdict(self, kinds, reasons=None):
        """Say which network is which, and why; you can do this once.

        Parameters
        ----------
        kinds : dict of str to str
            For each of the four networks, one of "target", "target, output alone", "retrained" and "head masking".
        reasons : dict of str to str
            For each network, a sentence. It scores if it names a tool that you asked about this network, together with
            the value that you got.

        Returns
        -------
        Verdict

        Raises
        ------
        LirfError
            If a network is missing or doesn't exist, if a kind doesn't exist or is given twice, if a reason is not a
            text, or if the verdict is given already. Then nothing is revealed, and you can try again.
        """
        if self._closed:
            raise LirfError(OVER)
        _check_verdict(kinds, reasons or {})
        self._closed, truth, reasons = True, self._reveal(), reasons or {}
        quoted = {name: _quoted(reasons.get(name, ""), name, self._asked) for name in NAMELESS}
        rows = [
            (name, kinds[name], truth[name], kinds[name] == truth[name], ", ".join(quoted[name])) for name in NAMELESS
        ]
        table = pandas.DataFrame(rows, columns=["network", "you said", "it is", "right", "evidence in your reason"])
        compared = any(
            all((tool, reference) in self._asked for reference in REFERENCES) for tool in set().union(*quoted.values())
        )
        points = {"networks": int(table["right"].sum()), "reasons": sum(map(bool, quoted.values()))}
        points["yardstick"] = 2 * compared
        asked = [[tool, network, value] for (tool, network), value in self._asked.items()]
        entry = {"seed": self.seed, "budget": self.budget, "kinds": kinds, "reasons": reasons}
        entry |= {"points": points, "asked": asked}
        spent = self.budget - self.left
        return Verdict(table.set_index("network"), points, spent, self.budget, self.seed, *_record(entry))


@dataclass(frozen=True)
class Verdict:
    """What a verdict was worth.

    Attributes
    ----------
    table : pandas.DataFrame
        For each network what you said, what it is, and which tools your reason quotes.
    points : dict of str to int
        "networks": one for each that is named right; "reasons": one for each that quotes a value; "yardstick": two if
        a quoted tool was also asked about both references.
    spent, budget, seed : int
    attempts, attempts_with_seed : int
        How many verdicts have been given on this machine, and how many of them with this seed; this one counts.
    record : pathlib.Path
        The file with all of these verdicts, a line of JSON for each: its seed, what was asked, said and scored.
    """

    table: pandas.DataFrame = field(repr=False)
    points: dict
    spent: int
    budget: int
    seed: int
    attempts: int
    attempts_with_seed: int
    record: Path

    @property
    def total(self):
        """Points, from 0 to 10."""
        return sum(self.points.values())

    def __str__(self):
        points = self.points
        return (
            f"{self.total} of 10 points: {points['networks']} of 4 networks named right, {points['reasons']} of 4 "
            f"reasons that quote what you measured, {points['yardstick']} of 2 points for comparing with the original "
            f"and the retrained reference. You spent {self.spent} of {self.budget} queries. Verdicts on "
            f"this machine: {self.attempts}, with seed {self.seed}: {self.attempts_with_seed}."
        )


def _whole(name, number):
    """Return a whole number of at least 0, or raise a `LirfError`."""
    try:
        if isinstance(number, bool) or operator.index(number) < 0:
            raise TypeError
    except TypeError:
        raise LirfError(f"{name} must be a whole number of at least 0, not {number!r}") from None
    return operator.index(number)


def _check_verdict(kinds, reasons):
    """Raise a `LirfError` unless there is a kind for each network and every reason is a text."""
    for what, given in {"kinds": kinds, "reasons": reasons}.items():
        if not isinstance(given, dict):
            raise LirfError(f"{what} must be a dict with a text for each network, not {given!r}")
        for name in given:
            check_choice(f"every network in {what}", name, NAMELESS)
    missing = [name for name in NAMELESS if name not in kinds]
    if missing:
        raise LirfError(f"kinds must say what each network is, but lacks {' and '.join(missing)}")
    said = list(kinds.values())
    for kind in said:
        check_choice("every kind", kind, KINDS)
        if said.count(kind) > 1:
            raise LirfError(f"kinds must give each kind to one network, not {kind!r} to {said.count(kind)}")
    for name, reason in reasons.items():
        if not isinstance(reason, str):
            raise LirfError(f"the reason for {name} must be a text, not {reason!r}")


def _quoted(reason, network, asked):
    """Return the tools that a reason names together with the value that they gave for this network."""
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", reason)]
    return [
        tool
        for (tool, about), value in asked.items()
        if about == network
        and tool.lower() in reason.lower()
        and any(abs(number - value) < CLOSE[TOOLS[tool][1]] for number in numbers)
    ]


def _record(entry):
    """Add a verdict to the record; return how many it holds, how many of them with this seed, and the file."""
    file = home() / RECORD
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as record:
            record.write(json.dumps(entry, ensure_ascii=False) + "\n")
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        warnings.warn(f"this verdict can't be recorded in {file}: {error}", stacklevel=3)
        return 1, 1, file
    same_seed = [line for line in lines if line.startswith(f'{{"seed": {entry["seed"]}, ')]
    return len(lines), len(same_seed), file
