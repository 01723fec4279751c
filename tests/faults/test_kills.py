"""Processes that are killed with SIGKILL at random moments: nothing half-made is found, and nothing kept is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
KILLS = {  # in `make test`, and in `make test-faults`
    "save": (15, 100), "keep": (10, 100), "train": (0, 40), "deposit": (0, 30), "grid": (0, 15), "draw": (0, 30),
}  # fmt: skip


@pytest.mark.parametrize("work", KILLS)
def test_after_a_kill_everything_is_found_whole_or_made_again(faults, work):
    count = faults.many(*KILLS[work])
    if not count:
        pytest.skip("make test-faults kills these")
    script = Path(__file__).with_name("killing.py")
    ran = subprocess.run([sys.executable, script, work, str(count), "0"], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    faults.add(**json.loads(ran.stdout))
