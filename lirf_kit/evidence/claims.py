"""Claim cards: what the paper published, what our runs on disk say, and what follows from the two.

`PUBLISHED` holds Tables 1 and 3 of Ye et al. 2022. None of our numbers is typed in: they come from the files that
``python -m lirf_kit table`` (Table 1) and ``python -m lirf_kit distillation`` (Table 3) write, each with a .json file
beside it that says how the runs were made.
"""

import ast
import json
from pathlib import Path

import pandas

from lirf_kit.artifacts import checksum
from lirf_kit.config import LirfError, preset
from lirf_kit.evidence.distillation import PRESERVED, protocol
from lirf_kit.evidence.experiments import DEPOSIT_SHARE, METRICS, interval, summary
from lirf_kit.evidence.metrics import PROTOCOLS
from lirf_kit.evidence.readings import ALL

_METHODS = ("independent", "original", "target", "recovered")
_TABLE_1 = {
    ("CIFAR-10", "Pre Acc"): (92.92, 93.77, 93.41, 94.56),
    ("CIFAR-10", "Dep Acc"): (96.61, 94.60, 15.00, 97.92),
    ("CIFAR-10", "F"): (None, 0.0, 79.60, None),
    ("CIFAR-10", "H Mean"): (None, 0.0, 85.95, None),
    ("CIFAR-10", "Avg Acc"): (94.02, 94.06, None, 95.57),
    ("CUB-200-2011", "Pre Acc"): (48.15, 50.33, 51.64, 53.21),
    ("CUB-200-2011", "Dep Acc"): (52.73, 48.60, 1.18, 55.89),
    ("CUB-200-2011", "F"): (None, 0.0, 47.42, None),
    ("CUB-200-2011", "H Mean"): (None, 0.0, 49.44, None),
    ("CUB-200-2011", "Avg Acc"): (49.52, 49.81, None, 54.01),
}
_TEACHERS = {
    "of the original": "original",
    "of the target without L_at": "target, λ_at = 0",
    "of the target with L_at": "target",
}  # the paper's students, and the teacher's name in our tables
_LESSONS = {"logits": "logits and labels", "attention": "attention and labels"}
_SIZES = {"CNN": "half the width", "ResNet-18": "same size"}  # the paper's CNN is not published: ours is another one
_TABLE_3 = {
    ("CNN", "logits"): ((85.38, 86.15), (85.97, 84.26), (85.70, 82.75)),
    ("CNN", "attention"): ((85.27, 85.94), (86.01, 85.72), (85.54, 81.83)),
    ("ResNet-18", "logits"): ((94.26, 95.73), (94.55, 92.70), (94.64, 91.49)),
    ("ResNet-18", "attention"): ((94.09, 95.24), (94.15, 94.61), (93.85, 88.76)),
}
PUBLISHED = [
    ("1", data, network, metric, value)
    for (data, metric), values in _TABLE_1.items()
    for network, value in zip(_METHODS, values)
    if value is not None
] + [
    ("3", "CIFAR-10", f"{student} {teacher}, {how}", metric, value)
    for (student, how), pairs in _TABLE_3.items()
    for teacher, pair in zip(_TEACHERS, pairs)
    for metric, value in zip(("Pre Acc", "Dep Acc"), pair)
]  # table, data, network, metric, value in percent or points
DATA = {"CIFAR-10": ("cifar10", 10), "CUB-200-2011": ("cub200", 200)}  # the kit's preset and the number of classes
PROTOCOL = {
    "1": f"test part, {PROTOCOLS['all']}",
    "3": protocol("test").partition("; epochs")[0],  # for any number of epochs: the paper's is not published
}  # what our files' protocols must begin with
TOLERANCE = 1.0  # points: how close our mean must come, unless our interval is wider
_NOT_RUN = dict.fromkeys(("ours", "verdict", "protocol", "n", "seeds", "data of ours", "hardware"), "–")
_NOT_RUN |= {"verdict": "not run here"}
_RUN = ["seed", "deposit classes", "network"]
_STUDENT_COLUMNS = {*_RUN, "test", "task", "value"}
_ABOUT, _MACHINE = {"data", "protocol", "config", "machine"}, {"device", "cores"}


def read_results(folder):
    """Return the contents of each result file in a folder: its runs, and how they were made.

    Parameters
    ----------
    folder : path
        The folder that ``python -m lirf_kit table --seeds N --out FOLDER`` wrote to.

    Returns
    -------
    list of tuple
        A DataFrame as returned by `results_over_seeds`, and a dict with the data's name, the config, the protocol and
        the machine.

    Raises
    ------
    LirfError
        If there is no such folder, or if a result file is damaged or lacks the .json file beside it.
    """
    if not Path(folder).is_dir():
        raise LirfError(f"folder must hold result files, but there is no folder {str(folder)!r}")
    return [_read(file, {*_RUN, *METRICS}, METRICS) for file in sorted(Path(folder).glob("*results-*-seeds.csv"))]


def _read_students(folder):
    """Return the contents of each distillation file in a folder, as `read_results` does for result files.

    A student gets the name that it has in `PUBLISHED`; its accuracies become Pre Acc and Dep Acc. Others are left out.
    """
    files = sorted(Path(folder).glob("distillation-*-seeds.csv"))
    return [(_students(*pair), pair[1]) for pair in (_read(file, _STUDENT_COLUMNS, ["value"]) for file in files)]


def _students(results, about):
    """Turn the rows of one distillation file into rows of results."""
    names = {
        (f"student by {_LESSONS[how]}, {_SIZES[student]}", of): f"{student} {teacher}, {how}"
        for student, how in _TABLE_3
        for teacher, of in _TEACHERS.items()
        if of != "target" or about["config"].get("lambda_at")  # without L_at, it is no target with L_at
    }
    metrics = results["task"].map({PRESERVED: "Pre Acc", ALL: "Dep Acc"})
    named = [names.get(pair) for pair in zip(results["test"], results["network"])]
    chosen = results.assign(network=named, metric=metrics).dropna(subset=["network", "metric"])
    table = chosen.pivot_table("value", _RUN, "metric").reset_index()
    return table.reindex(columns=[*_RUN, *METRICS])


def _read(file, columns, numbers):
    """Read a file of runs and the .json file beside it."""
    beside = file.with_suffix(".json")
    if not beside.exists():
        raise LirfError(f"{file} must have {beside.name} beside it, which says how it was made: make both again")
    try:
        results = pandas.read_csv(file, converters={"deposit classes": ast.literal_eval})
        about = json.loads(beside.read_text("utf-8"))
        if "checksum" in about and about != with_checksums(about, file.read_bytes()):
            raise ValueError("it was changed since it was written")
        missing = columns - set(results) | _ABOUT - set(about) | _MACHINE - set(about.get("machine", ()))
        if missing or not len(results):
            raise ValueError(f"{', '.join(sorted(missing)) or 'runs'} missing")
        return results.astype(dict.fromkeys(numbers, float)), about
    except (ValueError, SyntaxError, TypeError, AttributeError, OSError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise LirfError(f"{file} or {beside.name} is damaged, make both again: {reason}") from error


def with_checksums(about, runs):
    """Add checksums to what is said about some runs: of the runs, as bytes, and of itself."""
    said = {name: value for name, value in about.items() if name != "checksum"} | {"sha256": checksum(runs)}
    return said | {"checksum": checksum(json.dumps(said, sort_keys=True).encode())}


def claim_cards(folder):
    """Return one row per published value: the paper's value, ours, and whether ours reproduces it.

    - *reproduced*: our runs use the paper's data, network and share of deposited classes, and our mean is at least as
      good, or the published value is in our 95 % interval or within one point of our mean.
    - *not reproduced*: our runs use the same, but neither holds.
    - *different protocol*: our runs use different data, a different network or a different share of classes, or were
      not measured on the test part over all classes, or their students did not see all training images.
    - *not run here*: there are no such runs on disk.

    "At least as good" means lower for the Dep Acc of a target and of its students, and higher for everything else. A
    weak student has a low Dep Acc too, so read it together with the same student's Pre Acc. Table 3 doesn't say whether
    its students see the labels; the cards have our students that do. The architecture of its CNN is not published
    either: beside it stands our smaller student, and the verdict is always "different protocol".

    If several files match a row, those with the paper's protocol come first, then those with the most seeds,
    then those with the most rows.

    Parameters
    ----------
    folder : path
        Has the result files, as for `read_results`, and what ``python -m lirf_kit distillation --seeds N --out FOLDER``
        wrote.

    Returns
    -------
    pandas.DataFrame
        With a dash in every empty cell.
    """
    found, rows = {"1": read_results(folder), "3": _read_students(folder)}, []
    for table, data, network, metric, value in PUBLISHED:
        card = {"table": table, "data": data, "network": network, "metric": metric, "published": value} | _NOT_RUN
        rows.append(card)
        candidates = [pair for pair in found[table] if _stands_for(pair, data, network)]
        if not candidates:
            continue
        results, about = max(
            candidates, key=lambda pair: (_same_protocol(*pair, table, data), pair[0]["seed"].nunique(), len(pair[0]))
        )
        runs = results[results["network"] == network]
        same = _same_protocol(results, about, table, data) and not network.startswith("CNN")
        card |= {
            "ours": summary(results).loc[network, metric],
            "verdict": _verdict(runs, network, metric, value) if same else "different protocol",
            "protocol": PROTOCOLS["part"] if network == "independent" else about["protocol"],
            "n": len(runs),
            "seeds": runs["seed"].nunique(),
            "data of ours": about["data"],
            "hardware": f"{about['machine']['device']}, {about['machine']['cores']} cores",
        }
    return pandas.DataFrame(rows)


def _stands_for(pair, data, network):
    """Return whether a result file has runs of a network on the paper's data set, or on a copy named after it."""
    results, about = pair
    return f"{about['data']} ".startswith(f"{data} ") and network in set(results["network"])


def _same_protocol(results, about, table, data):
    """Return whether a file has the paper's data, network and classes (its training recipe isn't published)."""
    name, num_classes = DATA[data]
    paper = preset(name).stages("network")
    return (
        about["data"] == data
        and about["protocol"].startswith(PROTOCOL[table])
        and {knob: about["config"].get(knob) for knob in paper} == paper
        and {len(classes) for classes in results["deposit classes"]} == {round(DEPOSIT_SHARE * num_classes)}
    )


def _verdict(runs, network, metric, value):
    """Return whether runs reproduce a published value, in words."""
    mean, reach = interval(runs, metric)
    forgetful = metric == "Dep Acc" and "target" in network  # lower is better: the target's own, and its students'
    better = mean <= value if forgetful else mean >= value
    near = abs(mean - value) <= max(TOLERANCE, reach)  # for a single seed reach is NaN, and max gives the tolerance
    return "reproduced" if better or near else "not reproduced"
