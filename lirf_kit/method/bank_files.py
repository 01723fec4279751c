"""A knowledge bank's folder: an index in JSON, and a safetensors file for the target and for each module.

Each file is written beside and renamed, and named after its content's checksum; the index comes last. So whenever the
writing stops, the folder holds the old bank or the new one. One process at a time reads or writes it.
"""

import json
import re

from lirf_kit import __version__
from lirf_kit.artifacts import checksum, locked, sweep, write_file
from lirf_kit.config import LirfError

INDEX = "bank.json"
FORMAT = 1
OWN = re.compile(r"(target|module-.+)-[0-9a-f]{8}\.safetensors")  # the names of the files that `write_bank` makes


def write_bank(folder, index, contents, missing):
    """Write a bank's folder; raise a `LirfError` if it can't be written, or holds a different bank.

    In the index, plain values, ``"identity"`` is what two banks of one folder must share, and ``"modules"`` holds the
    checksum of each module, handed out or not, by name. The contents are ``"target"`` and, by their names after
    ``"module-"``, the modules. `missing` has the checksums that the files of modules that couldn't be read should have.
    If such a file is in the folder, it stays, and so does what the index says about it.
    """
    digests = {name: checksum(content) for name, content in contents.items()} | missing
    files = {name: f"{name}-{digest[:8]}.safetensors" for name, digest in digests.items()}
    index = {"format": FORMAT, "lirf_kit": __version__, "files": files} | index
    index["sha256"] = {files[name]: digest for name, digest in digests.items()}
    index["checksum"] = checksum(_canonical(index))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if (folder / INDEX).exists() and _differs(_read_index(folder), index):
                raise LirfError(f"folder {str(folder)!r} holds a different bank: choose another folder")
            for name, content in contents.items():
                write_file(folder / files[name], content)
            write_file(folder / INDEX, json.dumps(index, indent=1).encode())
            for file in folder.glob("*.safetensors"):  # of an older state, or of one that was never finished
                if OWN.fullmatch(file.name) and file.name not in files.values():
                    file.unlink(missing_ok=True)
            sweep(folder)
    except OSError as error:
        raise LirfError(f"folder {str(folder)!r} can't be written: {error}") from None


def read_bank(folder):
    """Return a bank's index and its files' contents, as `write_bank` was given them, and the faults of the other files.

    `faults` says, by the same names, what is wrong with those. A `LirfError` is raised if the index is missing, damaged
    or of another version, or if the target's file isn't as it was written.
    """
    _read_index(folder)  # before a lock is made in a folder that holds no bank
    with _locked(folder):
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


def _locked(folder):
    """Return a context in which no other process reads or writes the bank."""
    return locked(folder / ".bank.lock", "the same bank")


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


def _canonical(index):
    """Write the index so that equal ones are equal bytes."""
    return json.dumps(index, sort_keys=True).encode()
