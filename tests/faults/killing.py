"""A process of its own that forks workers, kills them with SIGKILL at random moments, and looks at what is left.

``python killing.py WORK COUNT SEED`` prints the faults that it has injected and what they did, as JSON.
"""

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


def drawn():
    ends = {"png": b"IEND\xaeB`\x82", "svg": b"</svg>\n", "pdf": b"%%EOF\n"}
    for ending, end in ends.items():
        assert (home() / "figures" / f"history.{ending}").read_bytes().endswith(end), ending


WORKS = {
    "save": (save, saved, 0.05), "train": (train, trained, 0.5), "deposit": (deposit, deposited, 0.6),
    "grid": (grid, measured, 1.5), "draw": (draw, drawn, 0.5),
}  # fmt: skip


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
    repeated = name in ("save", "draw")
    if repeated:  # something is there before the first kill
        child = forked(work)
        while not list(own.glob("original-*")) and not list(own.glob("figures/*.pdf")):
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
            kind = "hangs" if "hangs" in left else "losses" if name in ("save", "draw") else "tracebacks"
            found.append((kind, f"kill {number}: {left}"))
        elif name == "save" and left < before:
            found.append(("losses", f"kill {number}: run {left} after {before}"))
        elif not repeated and left != whole:
            found.append(("losses", f"kill {number}: other numbers"))
        before = left if name == "save" and not isinstance(left, dict) else before
    print(json.dumps({"count": count, "found": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
