"""The machine: which device the tensors live on, how precise, how much memory."""

import contextlib
import math
import os
import shutil
import sys
import warnings

import torch
from tqdm.auto import tqdm

from lirf_kit.config import LirfError, check_choice

SHARE_FOR_IMAGES = 0.5  # of the device's free memory; the rest is for the network
COPIES_OF_IMAGES = 3.5  # at most: all of them, the parts of the data set, and the parts that `split_by_class` makes
COMPILER_MODULES = ("torch._dynamo", "torch._inductor", "triton", "subprocess")  # whose errors are a compiler's
CPU_MEMORY_ERRORS = ("DefaultCPUAllocator: can't allocate memory", "not enough memory")  # plain RuntimeErrors


def resolve_device(name):
    """Return the torch device that a config's `device` means.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "mps"}
        ``"auto"`` is CUDA where there is a GPU, else the CPU.

    Raises
    ------
    LirfError
        If the device is not there.
    """
    check_choice("device", name, ("auto", "cpu", "cuda", "mps"))
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[name]:
        raise LirfError(f"device must be one that this machine has, not {name!r}: choose 'auto' or 'cpu'")
    return torch.device(name)


def seeded_generator(seed, device):
    """Return a generator of random numbers on a device; no batch, crop or label is drawn from torch's global one."""
    return torch.Generator(device).manual_seed(seed)


def autocast(config, device):
    """Return the context of a forward pass: bfloat16 where the config's `precision` says so, weights in float32.

    ``"auto"`` is bfloat16 on a GPU that computes with it itself; one that only emulates it would be slower for it.
    """
    if config.precision == "float32" or (config.precision == "auto" and not _has_bfloat16(device)):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _has_bfloat16(device):
    """Whether a device is a GPU that computes with bfloat16 itself."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def prepare(network):
    """Lay a network's weights out as convolutions like them best, and let CUDA use TF32 for what stays float32."""
    if network.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    network.to(memory_format=torch.channels_last)


def compiled(function, config):
    """Return a function compiled if the config says so and a compiler is there; else the function itself.

    Whether the compiler works shows at the first call; if it doesn't, a warning says so and the function itself is
    used from then on.
    """
    if not config.compile:
        return function
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        warnings.warn(
            "compile=True needs a C++ compiler, g++ or clang++, and there is none: not compiled", stacklevel=3
        )
        return function
    return _Compiled(function)


class _Compiled:
    """A function that is compiled when it is first called, or stays as it was if that fails."""

    def __init__(self, function):
        self.plain, self.chosen, self.called = function, torch.compile(function), False

    def __call__(self, *arguments):
        if self.called:
            return self.chosen(*arguments)
        self.called = True
        try:
            return self.chosen(*arguments)
        except Exception as error:
            if not type(error).__module__.startswith(COMPILER_MODULES):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"compile=True needs a C++ compiler that works: not compiled ({reason})", stacklevel=2)
        self.chosen = self.plain
        return self.plain(*arguments)


def place_images(images, config, device):
    """Return images on the device, or pinned on the host where they would take too much of its memory.

    What counts is the images and the copies that the parts of the data set make of them.

    Parameters
    ----------
    images : torch.Tensor
        uint8, on the CPU.
    config : Config
        Reads `images_on`; ``"auto"`` says what it decided if that is the host.
    device : torch.device
    """
    if device.type != "cuda":
        return images.to(device)
    needed, free = COPIES_OF_IMAGES * images.numel(), torch.cuda.mem_get_info(device)[0]
    if config.images_on == "auto" and needed > SHARE_FOR_IMAGES * free:
        print(f"the images need {needed / 2**30:.1f} GiB of {free / 2**30:.1f} free: they stay on the host, streamed")
    elif config.images_on != "host":
        return images.to(device)
    return images.pin_memory()


@contextlib.contextmanager
def memory_advice(config):
    """Turn "out of memory", of the GPU or of the CPU, into a `LirfError` that names the knobs to turn."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not any(said in str(error) for said in CPU_MEMORY_ERRORS):
            raise
        raise LirfError(
            f"the device's memory is too small: lower batch_size, now {config.batch_size}, or "
            f"deposit_batch_size, now {config.deposit_batch_size}, or set images_on='host'"
        ) from error


def synchronise(device):
    """Wait until the device has done what it was asked to; a clock that is read before lies."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device):
    """Forget the peak that `peak_memory` tells, on CUDA; that of a process can't be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device):
    """Return the most memory in MiB: on CUDA of the tensors since `reset_peak_memory`, else of the process so far.

    On the CPU it is the peak of the whole process since it began, whatever it did before.
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
    """Compute with so many CPU threads as the config's `threads` says; 0 changes nothing.

    On networks as small as the digits' a second thread gains little, and on a busy machine waiting for it costs much.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def all_finite(network):
    """Whether no weight or statistic of a network is infinite or not a number."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def progress_bar(*arguments, **keywords):
    """Return a tqdm bar that goes when it is done; none at all where the environment has ``TQDM_DISABLE``."""
    return tqdm(*arguments, leave=False, disable=bool(os.environ.get("TQDM_DISABLE")), **keywords)
