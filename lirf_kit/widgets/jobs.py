"""The explorer's background work: one requested run, how it is stopped, and how its results reach the widgets."""

import asyncio
import contextlib
import ctypes
import inspect
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

REST = 0.4  # seconds that a control must be left alone before its change takes effect


@dataclass
class Job:
    """One requested run, finished or not; times are in seconds."""

    stop: threading.Event = field(default_factory=threading.Event)
    asked: float = field(default_factory=time.perf_counter)  # when Run was pressed
    first_curve: float | None = None  # from then until the first curve was drawn
    finished: float | None = None  # from then until everything but t-SNE was drawn
    stop_asked: float | None = None
    stopped_after: float | None = None  # from Stop until the worker ended
    reason: str = "stopped"
    note: str = ""  # warnings, as HTML, shown with the result
    thread: threading.Thread | None = None
    training: bool = False  # the original is being trained; only KeyboardInterrupt stops that

    def ask_to_stop(self, reason):
        """Make the run end the next time it checks `stop`; interrupt its thread if it is training an original.

        The thread gets the KeyboardInterrupt that Ctrl-C gives the main thread, so the finished epochs are kept.
        """
        if self.finished is None and not self.stop.is_set():
            self.stop_asked, self.reason = time.perf_counter(), reason
            if self.training:
                interrupt = ctypes.py_object(KeyboardInterrupt)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread.ident), interrupt)
        self.stop.set()


class MainThread:
    """How other threads reach the kernel's main thread, the only one that may touch the widgets.

    Every call is guarded: if it raises, `fail` is called with the error and shows it.
    """

    def __init__(self, fail):
        self.fail, self.loop = fail, None
        with contextlib.suppress(RuntimeError):  # there is no loop outside a kernel
            self.loop = asyncio.get_running_loop()
        self._turn = threading.RLock()  # without a loop, the thread that posts a call makes it
        self._drawer, self._newest, self._resting = ThreadPoolExecutor(1), {}, {}

    def guarded(self, function, *arguments):
        """Call a function, and show its error if it raises one."""
        try:
            function(*arguments)
        except (Exception, KeyboardInterrupt) as error:
            self.fail(error)

    def safe(self, function):
        """Return a guarded callback for a widget; the function may take what the widget passes, or nothing."""
        wanted = len(inspect.signature(function).parameters)
        return lambda *told: self.guarded(function, *told[:wanted])

    def post(self, function, *arguments):
        """Have the main thread call a function, after everything posted before."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.guarded, function, *arguments)
        else:
            with self._turn:
                self.guarded(function, *arguments)

    def later(self, name, work, then):
        """Call `work` in the background and post its result to `then`, unless newer work has the same name.

        Returns a Future, which is done when the result is posted.
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
        """Call a function after `REST` seconds without another call under the same name."""
        self.cancel(name)
        self._resting[name] = timer = threading.Timer(REST, self.post, [function])
        timer.daemon = True
        timer.start()

    def cancel(self, name):
        """Cancel the function that `rested` holds under this name."""
        if name in self._resting:
            self._resting.pop(name).cancel()


@contextlib.contextmanager
def without_bars():
    """Show no progress bars; those of a worker thread would appear below the panel."""
    before = os.environ.get("TQDM_DISABLE", "")  # empty means the same as not set
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ["TQDM_DISABLE"] = before
