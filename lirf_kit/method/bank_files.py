"""A knowledge bank's folder: an index in JSON, and a safetensors file for the target and for each module.

Each file is written beside and renamed, and named after its content's checksum; the index comes last. So whenever the
writing stops, the folder holds the old bank or the new one.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from lirf_kit import __version__
from lirf_kit.config import LirfError

INDEX = "bank.json"
FORMAT = 1


def checksum(content):
    """Return the SHA-256 of some bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write_bank(folder, index, contents):
    """Write a bank's folder.

    Parameters
    ----------
    folder : pathlib.Path
    index : dict
        Plain values; `"identity"` is what two banks of one folder must share, and ``"modules"`` the checksum of each
        module, handed out or not, by name.
    contents : dict of str to bytes
        ``"target"``, and the name of each module after ``"module-"``.

    Raises
    ------
    LirfError
        If the folder can't be written, or holds a different bank.
    """
    files = {name: f"{name}-{checksum(content)[:8]}.safetensors" for name, content in contents.items()}
    index = {"format": FORMAT, "lirf_kit": __version__, "files": files} | index
    index["sha256"] = {files[name]: checksum(content) for name, content in contents.items()}
    index["checksum"] = checksum(_canonical(index))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = _read_index(folder) if (folder / INDEX).exists() else None
        if old is not None and _differs(old, index):
            raise LirfError(f"folder {str(folder)!r} holds a different bank: choose another folder")
        for name, file in files.items():
            _write(folder / file, contents[name])
        _write(folder / INDEX, json.dumps(index, indent=1).encode())
        for file in set(old["files"].values()) - set(files.values()) if old else ():
            (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise LirfError(f"folder {str(folder)!r} can't be written: {error}") from None


def read_bank(folder):
    """Read a bank's folder.

    Returns
    -------
    index : dict
        As `write_bank` was given it.
    contents : dict of str to bytes
        Of the files that are as they were written.
    faults : dict of str to str
        For the other files' names in `contents`, what is wrong.

    Raises
    ------
    LirfError
        If the index is missing, damaged or of another version, or if the target's file isn't as it was written.
    """
    index, contents, faults = _read_index(folder), {}, {}
    for name, file in index["files"].items():
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            faults[name] = f"its file {file} is missing" if isinstance(error, FileNotFoundError) else str(error)
            continue
        if checksum(content) == index["sha256"][file]:
            contents[name] = content
        else:
            faults[name] = f"its file {file} is damaged, or of a different bank"
    if "target" in faults:
        raise LirfError(f"folder {str(folder)!r} holds no usable bank: the target can't be used, {faults['target']}")
    return index, contents, faults


def _read_index(folder):
    """Return the index, or raise a `LirfError` that says what is wrong with it."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        if index["format"] != FORMAT:
            raise LirfError(
                f"{INDEX} in folder {str(folder)!r} must be of format {FORMAT}, which this version of lirf_kit reads, "
                f"not {index['format']!r}"
            )
        if index.pop("checksum") != checksum(_canonical(index)):
            raise ValueError("it was changed since it was written")
        return index
    except FileNotFoundError:
        raise LirfError(f"folder {str(folder)!r} holds no bank: there is no {INDEX} in it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LirfError(f"{INDEX} in folder {str(folder)!r} can't be used: {error}") from None


def _differs(old, new):
    """Return whether two indexes are of different banks: other upper blocks, or another module of the same name."""
    both = old["modules"].keys() & new["modules"].keys()
    return old["identity"] != new["identity"] or any(old["modules"][name] != new["modules"][name] for name in both)


def _write(file, content):
    """Write a file beside and rename it; nothing is left of a failed attempt."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".writing-", delete=False) as beside:
        try:
            beside.write(content)
            beside.flush()
            os.fsync(beside.fileno())
            os.replace(beside.name, file)
        except BaseException:
            Path(beside.name).unlink(missing_ok=True)
            raise


def _canonical(index):
    """Write the index so that equal ones are equal bytes."""
    return json.dumps(index, sort_keys=True).encode()
