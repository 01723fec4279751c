"""The machine: the device that the tensors live on, seeded generators, progress bars."""

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
        raise LirfError(f"device must be one that this machine has, not {name!r}: choose device='auto' or 'cpu'")
    return torch.device(name)


def seeded_generator(seed, device):
    """Return a random number generator of its own on a device; nothing in the kit draws from torch's global one."""
    return torch.Generator(device).manual_seed(seed)


def progress_bar(*arguments, **keywords):
    """Return a tqdm bar that goes when it is done; none at all where the environment has ``TQDM_DISABLE``."""
    return tqdm(*arguments, leave=False, disable=bool(os.environ.get("TQDM_DISABLE")), **keywords)
