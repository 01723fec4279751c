"""The machine: the device that the tensors live on, seeded generators, progress bars."""

import contextlib
import os

import torch
from tqdm.auto import tqdm

from lirf_kit.config import LirfError, check_choice


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
