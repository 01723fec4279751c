"""The machine: which device the tensors live on, in what precision, and how much memory there is."""

import contextlib
import math
import os
import platform
import shutil
import sys
import warnings
from pathlib import Path

import joblib
import torch
import torchvision
from tqdm.auto import tqdm
from tqdm.std import tqdm as text_bar

from lirf_kit.config import LirfError, check_choice

SHARE_FOR_IMAGES = 0.5  # of the device's free memory; the rest is for the network
COPIES_OF_IMAGES = 3.5  # at most: the images, the data set's parts, and the parts that `split_by_class` makes
COMPILER_MODULES = ("torch._dynamo", "torch._inductor", "triton", "subprocess")  # their errors are the compiler's
CPU_MEMORY_ERRORS = ("DefaultCPUAllocator: can't allocate memory", "not enough memory")  # raised as plain RuntimeErrors


def resolve_device(name):
    """Return the torch device that a config's `device` stands for.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "mps"}
        ``"auto"`` picks CUDA if there is a GPU, else the CPU.

    Raises
    ------
    LirfError
        If this machine doesn't have the device.
    """
    check_choice("device", name, ("auto", "cpu", "cuda", "mps"))
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[name]:
        raise LirfError(f"device must be one that this machine has, not {name!r}: choose 'auto' or 'cpu'")
    return torch.device(name)


def machine(device):
    """Return the hardware and the versions that something was measured with, as plain values."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": joblib.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _processor():
    """Return the CPU's model name if the system reveals it, otherwise its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def seeded_generator(seed, device):
    """Return a random number generator on a device; batches, crops and labels never draw from torch's global one."""
    return torch.Generator(device).manual_seed(seed)


def autocast(config, device):
    """Return the context for a forward pass: bfloat16 if the config's `precision` says so, with weights in float32.

    ``"auto"`` means bfloat16 on a GPU that supports it natively; on one that only emulates it, it would be slower.
    """
    bfloat16 = config.precision == "bfloat16"
    if config.precision == "auto" and device.type == "cuda":
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


def compiled(function, config):
    """Return a function compiled, if the config asks for it and there is a compiler; otherwise the function itself.

    Call it through `with_fallback`: a compiler that doesn't work only shows when it has to compile.
    """
    if not config.compile:
        return function
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        warnings.warn(
            "compile=True needs a C++ compiler, but finds neither g++ nor clang++: not compiled", stacklevel=3
        )
        return function
    return torch.compile(function)


def with_fallback(call, function, plain):
    """Call something with a compiled function, or with the plain one if compiling fails.

    It is compiled when it is first called, for the first backward pass, and again for inputs of another kind. If that
    fails, there is a warning, and `call` is called a second time, with `plain`. Returns what the call returns, and the
    function to use from now on.
    """
    try:
        return call(function), function
    except Exception as error:
        if function is plain or not type(error).__module__.startswith(COMPILER_MODULES):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    warnings.warn(f"compile=True needs a working C++ compiler: not compiled ({reason})", stacklevel=3)
    return call(plain), plain


def place_images(images, config, device):
    """Return uint8 images on the device, or pinned on the host if they would take up too much of the device's memory.

    The parts of a data set copy their images, and these copies count too. The config's `images_on` may decide instead;
    where ``"auto"`` decides on the host, a line says so.
    """
    if device.type != "cuda":
        return images.to(device)
    needed, free = COPIES_OF_IMAGES * images.numel(), torch.cuda.mem_get_info(device)[0]
    if config.images_on == "auto" and needed > SHARE_FOR_IMAGES * free:
        print(
            f"the images need {needed / 2**30:.1f} of the {free / 2**30:.1f} GiB free on the device: they stay on the "
            "host and are streamed"
        )
    elif config.images_on != "host":
        return images.to(device)
    return images.pin_memory()


@contextlib.contextmanager
def memory_advice(config):
    """Turn an "out of memory" error, of the GPU or the CPU, into a `LirfError` that names the knobs to turn."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(text in str(error) for text in CPU_MEMORY_ERRORS):
            raise
        raise LirfError(
            f"the device's memory is too small: lower batch_size, now {config.batch_size}, or "
            f"deposit_batch_size, now {config.deposit_batch_size}, or set images_on='host'"
        ) from error


def synchronise(device):
    """Wait until the device has finished its work; a time taken before that is too short."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device):
    """Reset the peak that `peak_memory` reports on CUDA; the peak of a process can't be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device):
    """Return the peak memory in MiB.

    On CUDA, that of the tensors since `reset_peak_memory`; otherwise that of the whole process since it started.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@contextlib.contextmanager
def cpu_threads(config):
    """Use as many CPU threads as the config's `threads` says; 0 changes nothing.

    For networks as small as the digits' a second thread gains little, and on a busy machine waiting for it is costly.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def all_finite(network):
    """Return whether every weight and statistic of a network is finite."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


class _Bar(tqdm):
    """A bar that leaves nothing behind in a notebook: a page that is opened again could not draw its closed widget."""

    _draws_a_widget = tqdm.status_printer is not text_bar.status_printer

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords, **({"display": False} if self._draws_a_widget else {}))
        if self._draws_a_widget and not self.disable:
            from IPython.display import display

            self._shown = display(self.container, display_id=True)

    def close(self):
        super().close()
        if hasattr(self, "_shown"):
            self._shown.update({}, raw=True)


def progress_bar(*arguments, **keywords):
    """Return a tqdm bar that disappears when it is done.

    It shows on a terminal and in a notebook. Where the output goes to a file or a pipe, or with ``TQDM_DISABLE`` set in
    the environment, it is silent.
    """
    disable = True if os.environ.get("TQDM_DISABLE") else None  # None: tqdm's text bar shows on a terminal only
    return _Bar(*arguments, leave=False, disable=disable, **keywords)
