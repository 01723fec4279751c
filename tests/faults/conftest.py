"""Faults are injected and counted: `make test-faults` injects all, `make test` a few of each kind.

A fault may cost a sentence, and time. It may not cost a traceback, something that was kept, or a hang.
"""

import contextlib
import os
import random
import signal
import warnings

import pytest

import lirf_kit as lk

ALL = bool(os.environ.get("LIRF_KIT_FAULTS"))
PATIENCE = 120  # seconds after which something hangs; this machine may be busy
KINDS = ("tracebacks", "losses", "hangs")
TOTAL = dict.fromkeys(("faults", *KINDS), 0)


class Hangs(BaseException):
    """Raised by the alarm clock; nothing of the kit catches it."""


class Faults:
    """The faults of one test, and what they did."""

    def __init__(self, seed):
        self.draw, self.count, self.found = random.Random(seed), 0, []

    def many(self, some, every):
        """Return how many faults to inject: some in `make test`, and all in `make test-faults`."""
        return every if ALL else some

    def add(self, count, found):
        """Count faults that another process has injected; `found` has pairs of a kind and a sentence."""
        self.count += count
        self.found += found

    def lost(self, what):
        self.found.append(("losses", what))

    @contextlib.contextmanager
    def fault(self, what, allowed=(lk.LirfError,)):
        """Inject one fault in the block: it may raise what is allowed, and warn."""
        self.count += 1
        with _alarm(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except allowed as error:
                if not str(error) or "\n" in str(error):
                    self.found.append(("tracebacks", f"{what}: no sentence, {error!r}"))
            except Hangs:
                self.found.append(("hangs", what))
            except Exception as error:
                self.found.append(("tracebacks", f"{what}: {error!r}"))


@contextlib.contextmanager
def _alarm():
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_):
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def faults(request):
    tally = Faults(request.node.nodeid)
    yield tally
    TOTAL["faults"] += tally.count
    for kind, _ in tally.found:
        TOTAL[kind] += 1
    assert not tally.found, "\n".join(f"{kind}: {what}" for kind, what in tally.found)


def pytest_terminal_summary(terminalreporter):
    if TOTAL["faults"]:
        told = ", ".join(f"{TOTAL[kind]} {kind}" for kind in KINDS)
        terminalreporter.write_line(f"{TOTAL['faults']:,} faults injected: {told}")
