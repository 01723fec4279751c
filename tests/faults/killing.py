"""A process of its own that forks workers, kills them with SIGKILL at random moments, and looks at what is left.

``python killing.py WORK COUNT SEED`` prints the faults that it has injected and what they did, as JSON.
"""

import functools
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch

import lirf_kit as lk
from lirf_kit.artifacts import home
from lirf_kit.method import training

MADE_FROM = {"config": {"epochs": 2}}
torch.set_num_threads(1)  # a thread doesn't survive a fork
training.KEEP_EVERY = 0.0  # every epoch is kept
TINY = lk.preset("digits").replace(
    widths=(4, 8), split_after=2, epochs=6, deposit_epochs=4, batch_size=256, test_fraction=0.1, device="cpu",
    lambda_cs=0.0, lambda_os=0.0,
)  # fmt: skip


def save():
    """Save the same run again and again, each time with a higher number."""
    found = lk.load_run("original", MADE_FROM)
    number = found[1]["number"] if found else 0
    while True:
        number += 1
        lk.save_run("original", MADE_FROM, {"number": torch.full((4096,), number)}, {"number": number})


def saved():
    weights, metrics = lk.load_run("original", MADE_FROM)
    assert (weights["number"] == metrics["number"]).all()
    return metrics["number"]


def train():
    lk.load_or_train(lk.load_dataset(TINY), TINY)


def trained():
    network = lk.load_or_train(lk.load_dataset(TINY), TINY)
    return [entry["loss"] for entry in network.history], float(sum(weight.sum() for weight in network.parameters()))


def deposit():
    data = lk.load_dataset(TINY)
    return lk.load_or_deposit(lk.load_or_train(data, TINY), lk.split_by_class(data, (0, 1, 2)).deposit_set, TINY)


def deposited():
    target, module = deposit()
    return [entry["loss"] for entry in target.history], float(sum(weight.sum() for weight in module.parameters()))


def grid():
    return lk.results_over_seeds(TINY, 2, [(0, 1, 2)], references=("retrained",), jobs=1)


def measured():
    return grid().to_csv()


def draw():
    """Write a figure again and again, with another title each time."""
    number = 0
    while True:
        number += 1
        figure = lk.plot_history([{"epoch": 1, "loss": 0.5}], str(number))
        lk.save_figure(figure, home() / "figures", "history")


@functools.cache
def banks():
    """A bank in three states, and the logits of all that it can withdraw: one module, two, and one handed out."""
    data, found = lk.load_dataset(TINY), []
    for names in (("first",), ("first", "second"), ("first", "second")):
        bank = lk.KnowledgeBank(lk.load_or_train(data, TINY), TINY, teacher="target")
        for name in names:
            bank.deposit(name, lk.split_by_class(data, {"first": (0, 1), "second": (5,)}[name]).deposit_set)
        found.append(bank)
    found[2].hand_out("first", home() / "first.safetensors")
    return [(bank, bank.withdraw_all()(data.test.images)) for bank in found]


def keep():
    """Save a bank in the same folder again and again, each time in another state."""
    while True:
        for bank, _ in banks():
            bank.save(home() / "bank")


def kept():
    """One of the three states is there, without a warning; after it was saved once more, no other file is."""
    warnings.simplefilter("error")
    folder = home() / "bank"
    bank = lk.KnowledgeBank.load(folder)
    logits = bank.withdraw_all()(lk.load_dataset(TINY).test.images)
    assert any(other.names == bank.names and logits.equal(expected) for other, expected in banks())
    bank.save(folder)
    modules = [name.rpartition("-")[0] for name in os.listdir(folder) if name.startswith("module-")]
    assert sorted(modules) == [f"module-{name}" for name in bank], os.listdir(folder)
    assert len(list(folder.glob("target-*"))) == 1


def drawn():
    ends = {"png": b"IEND\xaeB`\x82", "svg": b"</svg>\n", "pdf": b"%%EOF\n"}
    for ending, end in ends.items():
        assert (home() / "figures" / f"history.{ending}").read_bytes().endswith(end), ending


WORKS = {
    "save": (save, saved, 0.05), "train": (train, trained, 0.5), "deposit": (deposit, deposited, 0.6),
    "grid": (grid, measured, 1.5), "draw": (draw, drawn, 0.5), "keep": (keep, kept, 0.1),
}  # fmt: skip
THERE = {"save": "original-*", "draw": "figures/*.pdf", "keep": "bank/bank.json"}  # before the first kill


def forked(work, pipe=None):
    """Start a function in a forked process; what it returns goes through the pipe."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        found = work()
        if pipe is not None:
            os.write(pipe, json.dumps(found).encode())
        status = 0
    except BaseException:
        if pipe is not None:
            os.write(pipe, json.dumps({"error": traceback.format_exc()}).encode())
    finally:
        os._exit(status)


def asked(check, patience=120):
    """Return what a check says in a process of its own."""
    reading, writing = os.pipe()
    child = forked(check, writing)
    os.close(writing)
    end = time.monotonic() + patience
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"hangs": True}
        time.sleep(0.005)
    with os.fdopen(reading, "rb") as pipe:
        return json.loads(pipe.read())


def main(name, count, seed):
    warnings.simplefilter("ignore")
    work, check, longest = WORKS[name]
    random.seed(seed)
    found, before, own = [], 0, Path(os.environ["LIRF_KIT_HOME"])
    repeated = name in THERE
    if name == "keep":
        banks()  # made once, and inherited by all forks
    if repeated:
        child = forked(work)
        while not list(own.glob(THERE[name])):
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        whole = None
    else:
        os.environ["LIRF_KIT_HOME"] = f"{own}-whole"
        whole = asked(check)
    for number in range(count):
        if not repeated and number % 5 == 0:  # five kills, and then it is finished
            os.environ["LIRF_KIT_HOME"] = f"{own}-{number // 5}"
        child = forked(work)
        time.sleep(random.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not repeated and number % 5 < 4 and number < count - 1:
            continue
        left = asked(check)
        if isinstance(left, dict):
            kind = "hangs" if "hangs" in left else "losses" if repeated else "tracebacks"
            found.append((kind, f"kill {number}: {left}"))
        elif name == "save" and left < before:
            found.append(("losses", f"kill {number}: run {left} after {before}"))
        elif not repeated and left != whole:
            found.append(("losses", f"kill {number}: other numbers"))
        before = left if name == "save" and not isinstance(left, dict) else before
    print(json.dumps({"count": count, "found": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
