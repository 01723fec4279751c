"""The explorer's work in the background: one run that was asked for, and how it is stopped."""

import asyncio
import contextlib
import ctypes
import os
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Job:
    """One run that was asked for, finished or not; times are in seconds."""

    stop: threading.Event = field(default_factory=threading.Event)
    asked: float = field(default_factory=time.perf_counter)  # when Run was pressed
    first_curve: float | None = None  # from there until the first curve was drawn
    finished: float | None = None  # and until all was drawn but t-SNE
    stop_asked: float | None = None
    stopped_after: float | None = None  # from Stop until the worker had ended
    reason: str = "stopped"
    thread: threading.Thread | None = None
    training: bool = False  # the original; it only listens to KeyboardInterrupt

    def ask_to_stop(self, reason):
        """Let the run end as soon as it looks at its flag; while an original is trained, interrupt the thread.

        The interrupt is what Ctrl-C gives the main thread: the epochs that are done are kept.
        """
        if self.finished is None and not self.stop.is_set():
            self.stop_asked, self.reason = time.perf_counter(), reason
            if self.training:
                interrupt = ctypes.py_object(KeyboardInterrupt)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread.ident), interrupt)
        self.stop.set()


def running_loop():
    """Return the kernel's event loop, or None where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@contextlib.contextmanager
def without_bars():
    """Show no progress bars: a worker's would appear below the panel."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
