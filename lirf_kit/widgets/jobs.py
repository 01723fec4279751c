"""The explorer's background work: one requested run, how it is stopped, and how its results reach the widgets."""

import contextlib
import ctypes
import inspect
import os
import threading
import time
from dataclasses import dataclass, field

REST = 0.4  # seconds that a control must be left alone before its change takes effect
TURN = threading.RLock()  # of all panels: the thread that holds it may touch the widgets


@dataclass
class Job:
    """One requested run, finished or not; times are in seconds."""

    stop: threading.Event = field(default_factory=threading.Event)
    asked: float = field(default_factory=time.perf_counter)  # when Run was pressed
    first_move: float | None = None  # from then until the first frame of the story was sent
    finished: float | None = None  # from then until everything but t-SNE was there
    stop_asked: float | None = None
    stopped_after: float | None = None  # from Stop until the worker ended
    reason: str = "stopped"
    note: str = ""  # warnings, as HTML, shown with the result
    thread: threading.Thread | None = None
    opening: bool = False  # the panel opened with it, and it will be saved
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


class Calls:
    """How a panel's functions are called: one at a time, in whichever thread.

    A kernel with subshells delivers what the user does in two threads, and runs and timers have threads of their
    own. All of them take `TURN` first, so a panel goes on working while the main thread executes a long cell.
    If a function raises, `fail` is called with the error and shows it.
    """

    def __init__(self, fail):
        self.fail = fail
        self._resting = {}

    def post(self, function, *arguments):
        """Call a function when it is its turn, and show its error if it raises one."""
        with TURN:
            try:
                return function(*arguments)
            except (Exception, KeyboardInterrupt) as error:
                self.fail(error)

    def safe(self, function):
        """Return a callback for a widget that posts a function; it may take what the widget passes, or nothing."""
        wanted = len(inspect.signature(function).parameters)
        return lambda *told: self.post(function, *told[:wanted])

    def rested(self, name, function):
        """Call a function after `REST` seconds without another call under the same name."""

        def call():
            if self._resting.get(name) is timer:  # neither cancelled nor replaced while it waited for its turn
                del self._resting[name]
                function()

        timer = self._resting[name] = threading.Timer(REST, self.post, [call])
        timer.daemon = True
        timer.start()

    def cancel(self, name):
        """Forget the function that `rested` holds under this name."""
        self._resting.pop(name, None)


@contextlib.contextmanager
def without_bars():
    """Show no progress bars; those of a worker thread would appear below the panel."""
    before = os.environ.get("TQDM_DISABLE", "")  # empty means the same as not set
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ["TQDM_DISABLE"] = before
