"""Save what was computed, and find it again: the kit's only cache of runs.

A run is a folder with three files: ``weights.safetensors`` (loading it never runs code), ``made_from.json`` with
everything that went into the run, and ``metrics.json``. The folder's name contains a hash of what went into the run, so
it is never found for a different config, different data or a different version of the package. The folder is written
under a temporary name and renamed when it is complete; an older one is put aside for that moment, so that a process
which is killed loses neither. While a run is being made, other processes that need the same run wait for it.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import filelock
import platformdirs
import safetensors.torch
import torch

from lirf_kit import __version__
from lirf_kit.config import LirfError

TRAINED_BY = ("devices", "data/images", "method/networks", "method/training")
DEPOSIT = ("depositing", "nudging", "losses", "pruning", "packing", "containers", "withdrawing")
DEPOSITED_BY = (*TRAINED_BY, *(f"method/{name}" for name in DEPOSIT))
MEASURED_BY = (
    *(*DEPOSITED_BY, "method/caching", "data/partition"),
    *(f"evidence/{name}" for name in ("experiments", "metrics", "references")),
)
EXAMINED_BY = (
    *MEASURED_BY,
    *(f"evidence/{name}" for name in ("readings", "probes", "few_shot", "membership", "streisand", "thieves")),
    *(f"evidence/{name}" for name in ("recalibration", "relearning", "distillation", "laboratory")),
)
HELD_BY = (
    *MEASURED_BY,
    *(f"evidence/{name}" for name in ("readings", "probes", "few_shot", "relearning", "thieves", "custody")),
)
BANKED_BY = (*MEASURED_BY, "method/bank", "method/bank_files", "evidence/banks")
MADE_BY = {  # the modules behind each kind of run: if one of them changes, the run is computed again
    "original": TRAINED_BY,
    "unfinished": TRAINED_BY,
    "deposit": DEPOSITED_BY,
    "result": MEASURED_BY,
    "evidence": EXAMINED_BY,
    "custody": HELD_BY,
    "bank": BANKED_BY,
    "distillation": (*MEASURED_BY, "evidence/readings", "evidence/distillation"),
    "opening": (*MEASURED_BY, "pictures/embedding", "widgets/exploring", "widgets/story", "widgets/opening"),
}
FILES = ("weights.safetensors", "metrics.json")  # what made_from.json holds checksums of
UNUSABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError)  # a damaged run's
WRITING, REPLACED = ".writing-", ".replaced-"  # how the names of unfinished and of older folders begin
ABANDONED = 3600.0  # seconds after which such a folder must be from a process that was killed


def home():
    """Return the folder that runs are saved in: ``$LIRF_KIT_HOME``, or else one in the user's cache folder."""
    return named_folder("LIRF_KIT_HOME", os.environ.get("LIRF_KIT_HOME"), "")


def named_folder(setting, named, inside):
    """Return the folder that a setting names, or if it names none, one inside the kit's folder in the user's cache."""
    try:
        return Path(named).expanduser() if named else platformdirs.user_cache_path("lirf_kit") / inside
    except RuntimeError as error:  # ~ of an unknown user
        raise LirfError(f"{setting} must be a folder that can be made, not {named!r}: {error}") from error


def run_folder(kind, made_from):
    """Return the folder of the run that is made from something, whether or not it exists."""
    return home() / f"{kind}-{checksum(_canonical(made_from, _version(kind)))[:16]}"


def save_run(kind, made_from, weights, metrics):
    """Save a run.

    If the folder can't be written, a warning says so, and you go on without the saved copy.

    Parameters
    ----------
    kind : str
        What kind of run it is, one of `MADE_BY`, such as ``"original"``. The folder's name starts with it.
    made_from : dict
        Everything that went into the run, as plain values; `load_run` finds the run by it.
    weights : dict of str to torch.Tensor
    metrics : dict
        Plain values, for example the history.

    Returns
    -------
    pathlib.Path
        The run's folder.
    """
    folder = run_folder(kind, made_from)
    try:
        with new_folder(folder) as beside:
            _write(beside, _version(kind), made_from, weights, metrics)
    except OSError as error:
        warnings.warn(
            f"this run can't be saved in {folder}: {error}; set LIRF_KIT_HOME to another folder", stacklevel=2
        )
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
        damaged, unfinished or from a different config; then a warning names the folder, and the next `save_run`
        replaces it. A run from an older version of the config, with different knobs but otherwise the same, is also
        named in a warning, and left alone.
    """
    folder = run_folder(kind, made_from)
    try:
        put_back(folder)
        if folder.exists():
            return _read(folder, _version(kind), made_from)
        _name_older(kind, made_from)
        return None
    except UNUSABLE as error:
        warnings.warn(f"{folder} can't be used and is made again: {error}", stacklevel=2)
        return None


@contextlib.contextmanager
def turn_to_make(kind, made_from):
    """Let one process at a time make a run; the others wait, and are given what it has made.

    Yields what `load_run` returns if another process has made the run in the meantime, and None if it is your turn.
    """
    folder = run_folder(kind, made_from)
    with locked(folder.with_name(f".{folder.name}.lock"), f"the same {kind}") as waited:
        yield load_run(kind, made_from) if waited else None


@contextlib.contextmanager
def locked(file, what):
    """Hold a lock, so that two processes don't make the same thing at once; a process that has to wait says so.

    The lock ends with its process, even if that is killed; its file is removed. Where there can be no locks, for
    example because the folder is read-only, the block runs without one. `what` is made under the lock, for the message.
    Yields whether another process had the lock before.
    """
    waited = False
    with contextlib.ExitStack() as held:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(filelock.FileLock(file, timeout=0))
            except filelock.Timeout:
                waited = True
                print(f"another process is making {what}: waiting for it", file=sys.stderr, flush=True)
                held.enter_context(filelock.FileLock(file))
            held.callback(_remove, file)
        except (OSError, NotImplementedError):  # the latter where the file system has no locks
            pass
        yield waited


@contextlib.contextmanager
def new_folder(folder):
    """Yield an empty folder to write files into; when the block ends, it takes the place of `folder`.

    Everything is flushed to disk first. An older folder is renamed, and removed at the very end; if something can't be
    written, an `OSError` is raised and it is back where it was. If the process is killed in between, `put_back` finds
    it; what killed processes left behind is removed here.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    older = _older(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=WRITING) as beside:
        new = Path(beside, "new")
        new.mkdir()
        yield new
        for path in new.iterdir():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        try:
            if folder.exists():
                shutil.rmtree(older, ignore_errors=True)
                folder.rename(older)
            new.rename(folder)
        finally:
            put_back(folder)
    shutil.rmtree(older, ignore_errors=True)


def write_file(file, content):
    """Write bytes beside a file, flush them to disk and rename them, so that the file is never found half written.

    If that is not possible, an `OSError` is raised, an older file is as it was, and nothing else is left.
    """
    beside = file.with_name(f"{WRITING}{secrets.token_hex(8)}")
    try:
        with open(beside, "xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(beside, file)
    except BaseException:
        _remove(beside)
        raise


def put_back(folder):
    """Put the older folder back in its place if a process was killed while it replaced it."""
    older = _older(folder)
    if older.exists() and not folder.exists():
        older.rename(folder)


def _older(folder):
    return folder.with_name(REPLACED + folder.name)


def sweep(folder):
    """Remove what killed processes have left behind in a folder."""
    for path in [*folder.glob(f"{WRITING}*"), *folder.glob(f"{REPLACED}*")]:
        with contextlib.suppress(OSError):
            kept = path.name.startswith(REPLACED) and not path.with_name(path.name.removeprefix(REPLACED)).exists()
            if not kept and time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _remove(file):
    with contextlib.suppress(OSError):  # Windows removes no file that another process has open
        file.unlink()


def serialised(weights):
    """Return named tensors as what a safetensors file contains; the same weights give the same bytes."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})


def fingerprint(*tensors):
    """Return a hash of the types, shapes and values of some tensors; it is the same on every device."""
    digest = hashlib.sha256()
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{array.dtype} {tuple(array.shape)} ".encode())
        digest.update(array.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(folder, version, made_from, weights, metrics):
    """Write a run's three files."""
    contents = {"weights.safetensors": serialised(weights), "metrics.json": json.dumps(metrics, indent=1).encode()}
    checksums = {name: checksum(content) for name, content in contents.items()}
    note = {"version": version, "made_from": made_from, "sha256": checksums}
    contents["made_from.json"] = json.dumps(note, indent=1).encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _read(folder, version, made_from):
    """Read a run's files; raise a `ValueError` if one of them doesn't match `made_from.json`."""
    note = json.loads((folder / "made_from.json").read_bytes())
    if _canonical(note["made_from"], note["version"]) != _canonical(made_from, version):
        raise ValueError("it was made from something else")
    contents = {name: (folder / name).read_bytes() for name in FILES}
    for name, content in contents.items():
        if checksum(content) != note["sha256"][name]:
            raise ValueError(f"{name} is damaged")
    return safetensors.torch.load(contents["weights.safetensors"]), json.loads(contents["metrics.json"])


def _name_older(kind, made_from):
    """Warn about a run that would be the right one if its config had the same knobs."""
    now = made_from.get("config", {})
    for note in home().glob(f"{kind}-*/made_from.json"):
        try:
            older = json.loads(note.read_bytes())["made_from"]
            was = dict(older["config"])
        except UNUSABLE:
            continue  # a damaged folder of a different run doesn't matter here
        shared = was.keys() & now.keys()
        alike = shared and all(was[name] == now[name] for name in shared)
        if was.keys() != now.keys() and alike and older | {"config": now} == made_from:
            knobs = ", ".join(sorted(was.keys() ^ now.keys()))
            warnings.warn(
                f"{note.parent} is from an older version of the config, with different knobs ({knobs}): it is left "
                "alone, and the run is made again",
                stacklevel=3,
            )
            return


def _version(kind):
    """Return the package's version and a hash of the code behind a kind of run: an edited loss makes new deposits."""
    sources = b"".join(Path(__file__).parent.joinpath(f"{name}.py").read_bytes() for name in MADE_BY[kind])
    return f"{__version__} {checksum(sources)[:16]}"


def _canonical(made_from, version):
    """Write what went into a run, and the package's version; the order of the keys doesn't matter."""
    return json.dumps([version, made_from], sort_keys=True).encode()


def checksum(content):
    """Return the SHA-256 of some bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
