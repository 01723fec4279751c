"""Saving what was computed, and finding it again: the kit's only cache.

A run is one folder with three files: ``weights.safetensors`` (loading one never runs code), ``made_from.json`` with
everything that made the run, and ``metrics.json``. The folder's name carries a hash of what made the run, so another
config, other data or another version of the package never finds it. It is written under another name and renamed when
it is whole.
"""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import platformdirs
import safetensors.torch
import torch

from lirf_kit import __version__

TRAINED_BY = ("devices", "data/images", "method/networks", "method/training")
DEPOSITED_BY = (*TRAINED_BY, "method/depositing", "method/losses", "method/pruning", "method/withdrawing")
MEASURED_BY = (*DEPOSITED_BY, "data/partition", "evidence/metrics", "evidence/references")
MADE_BY = {  # changed code, other runs
    "original": TRAINED_BY,
    "unfinished": TRAINED_BY,
    "deposit": DEPOSITED_BY,
    "result": MEASURED_BY,
}
FILES = ("weights.safetensors", "metrics.json")  # what made_from.json holds checksums of


def home():
    """Return the folder that runs are kept in: ``$LIRF_KIT_HOME``, else one in the user's cache folder."""
    return Path(os.environ.get("LIRF_KIT_HOME") or platformdirs.user_cache_path("lirf_kit"))


def run_folder(kind, made_from):
    """Return the folder of the run that was made from something, whether or not it is there."""
    return home() / f"{kind}-{_digest(_canonical(made_from, _version(kind)))[:16]}"


def save_run(kind, made_from, weights, metrics):
    """Keep a run.

    A folder that can't be written costs the cache, not the run: a warning says so.

    Parameters
    ----------
    kind : str
        What it is, the first part of the folder's name: ``"original"`` or ``"deposit"``.
    made_from : dict
        Everything that made the run, as plain values; what `load_run` finds it by.
    weights : dict of str to torch.Tensor
    metrics : dict
        Plain values, such as the history.

    Returns
    -------
    pathlib.Path
        The run's folder.
    """
    folder = run_folder(kind, made_from)
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home(), prefix=".writing-") as beside:
            _write(Path(beside, "run"), _version(kind), made_from, weights, metrics)
            shutil.rmtree(folder, ignore_errors=True)
            Path(beside, "run").rename(folder)
    except OSError as error:
        warnings.warn(f"this run was not kept in {folder}: {error}; LIRF_KIT_HOME names another folder", stacklevel=2)
    return folder


def load_run(kind, made_from):
    """Find a run again.

    Parameters
    ----------
    kind, made_from
        As for `save_run`.

    Returns
    -------
    tuple of dict, or None
        `weights` (on the CPU) and `metrics` as they were saved. None if there is no such run, or if its folder is
        damaged, unfinished or of another config; then a warning names it, and the next `save_run` replaces it. A run
        of an older version of the config, which has other knobs and is otherwise the same, is named too and left alone.
    """
    folder = run_folder(kind, made_from)
    try:
        if folder.exists():
            return _read(folder, _version(kind), made_from)
        _name_older(kind, made_from)
        return None
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        warnings.warn(f"{folder} can't be used and is made again: {error}", stacklevel=2)
        return None


def fingerprint(*tensors):
    """Return a hash of some tensors' types, shapes and values, the same on every device."""
    digest = hashlib.sha256()
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{array.dtype} {tuple(array.shape)} ".encode())
        digest.update(array.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(folder, version, made_from, weights, metrics):
    """Write a run's three files, and flush them to the disk."""
    folder.mkdir()
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    contents = {
        "weights.safetensors": safetensors.torch.save(plain),
        "metrics.json": json.dumps(metrics, indent=1).encode(),
    }
    checksums = {name: _digest(content) for name, content in contents.items()}
    note = {"version": version, "made_from": made_from, "sha256": checksums}
    contents["made_from.json"] = json.dumps(note, indent=1).encode()
    for name, content in contents.items():
        with open(folder / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _read(folder, version, made_from):
    """Read a run's files; raise a `ValueError` if one isn't what `made_from.json` promises."""
    note = json.loads((folder / "made_from.json").read_bytes())
    if _canonical(note["made_from"], note["version"]) != _canonical(made_from, version):
        raise ValueError("it was made from something else")
    contents = {name: (folder / name).read_bytes() for name in FILES}
    for name, content in contents.items():
        if _digest(content) != note["sha256"][name]:
            raise ValueError(f"{name} is damaged")
    return safetensors.torch.load(contents["weights.safetensors"]), json.loads(contents["metrics.json"])


def _name_older(kind, made_from):
    """Warn of a run that would be the one looked for if its config had the same knobs."""
    now = made_from.get("config", {})
    for note in home().glob(f"{kind}-*/made_from.json"):
        try:
            older = json.loads(note.read_bytes())["made_from"]
            was = dict(older["config"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another run's damage is no concern of this one
        shared = was.keys() & now.keys()
        alike = shared and all(was[name] == now[name] for name in shared)
        if was.keys() != now.keys() and alike and older | {"config": now} == made_from:
            knobs = ", ".join(sorted(was.keys() ^ now.keys()))
            warnings.warn(
                f"{note.parent} is of an older version of the config, with other knobs ({knobs}): it is left alone "
                "and made again",
                stacklevel=3,
            )
            return


def _version(kind):
    """Return the package's version with a hash of the code that makes such runs: who edits a loss deposits anew."""
    sources = b"".join(Path(__file__).parent.joinpath(f"{name}.py").read_bytes() for name in MADE_BY[kind])
    return f"{__version__} {_digest(sources)[:16]}"


def _canonical(made_from, version):
    """Write what made a run, and the package's version, in one way only."""
    return json.dumps([version, made_from], sort_keys=True).encode()


def _digest(content):
    return hashlib.sha256(content).hexdigest()
