"""The explorer's work in the background: one run that was asked for, how it is stopped, and how results come back."""

import asyncio
import contextlib
import ctypes
import inspect
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

REST = 0.4  # seconds that a control must rest before what it asks for is begun


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
    note: str = ""  # what was warned of, as HTML; it is shown beside the result
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


class MainThread:
    """The kernel's main thread, the only one that touches the widgets, as the others see it.

    Parameters
    ----------
    fail : callable
        Shows an error.
    """

    def __init__(self, fail):
        self.loop, self.fail = running_loop(), fail
        self._turn = threading.RLock()  # where there is no loop, whoever posts calls
        self._drawer, self._newest, self._resting = ThreadPoolExecutor(1), {}, {}

    def guarded(self, function, *arguments):
        """Call a function, and show its error."""
        try:
            function(*arguments)
        except (Exception, KeyboardInterrupt) as error:
            self.fail(error)

    def safe(self, function):
        """Return a callback that takes what a widget tells or not, and shows the function's error."""
        wanted = len(inspect.signature(function).parameters)
        return lambda *told: self.guarded(function, *told[:wanted])

    def post(self, function, *arguments):
        """Let the main thread call a function, after all that was posted before."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.guarded, function, *arguments)
        else:
            with self._turn:
                self.guarded(function, *arguments)

    def later(self, name, work, then):
        """Do some work in the background and hand the result on, unless other work of this name was asked for since.

        Returns
        -------
        concurrent.futures.Future
            Done when the result was handed on.
        """
        mine = self._newest[name] = object()

        def task():
            try:
                if self._newest[name] is mine:
                    result = work()
                    self.post(lambda: then(result) if self._newest[name] is mine else None)
            except Exception as error:
                self.post(self.fail, error)

        return self._drawer.submit(task)

    def rested(self, name, function):
        """Call a function as soon as nothing of this name was asked for during `REST` seconds."""
        self.cancel(name)
        self._resting[name] = timer = threading.Timer(REST, self.post, [function])
        timer.daemon = True
        timer.start()

    def cancel(self, name):
        """Forget what waits for rest by this name."""
        if name in self._resting:
            self._resting.pop(name).cancel()


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
