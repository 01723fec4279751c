"""Downloads that end: a server that stalls is given up, and what was received is kept and continued."""

import hashlib
import http.client
import os
import time
import urllib.request

from lirf_kit.devices import progress_bar

STALLED = 30.0  # seconds without a byte
TRIES = 3
PAUSE = 1.0  # seconds before the second try, and twice as many before the third
BLOCK = 2**18  # bytes read at a time
UNREACHED = (OSError, http.client.HTTPException)  # what a connection raises that breaks, or was never made


def download(url, file, md5):
    """Download a file, unless it is there and its MD5 checksum is right.

    The file appears when it is complete. What was received is kept beside it, as ``<file>.part``, and the next try or
    call continues there if the server can.

    Raises
    ------
    OSError, http.client.HTTPException
        If the server can't be reached, stalls or breaks off, each time, or if the disk is full.
    ValueError
        If the server sends something else.
    """
    if _has(file, md5):
        return
    part = file.with_name(f"{file.name}.part")
    for attempt in range(1, TRIES + 1):
        try:
            if not _has(part, md5):
                _receive(url, part)
            break
        except UNREACHED as error:
            if getattr(error, "code", None) == 416:  # HTTP: nothing is left to send, so ours isn't a part of it
                part.unlink(missing_ok=True)
            if attempt == TRIES:
                raise
        time.sleep(PAUSE * attempt)
    if not _has(part, md5):
        part.unlink()
        raise ValueError(f"the server sent something else than {file.name}")
    os.replace(part, file)


def _receive(url, part):
    """Append to a part what is missing; raise an error if the server breaks off before the end."""
    start = part.stat().st_size if part.exists() else 0
    asked = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(asked, timeout=STALLED) as response:
        if getattr(response, "status", 200) != 206:  # the server sends all of it once more
            start = 0
        length = response.length  # what is still to come, in bytes, or None
        total = length and start + length
        with (
            open(part, "ab" if start else "wb") as file,
            progress_bar(total=total, initial=start, desc=f"download {part.stem}", unit="B", unit_scale=True) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    received = part.stat().st_size - start
    if length is not None and received < length:
        raise http.client.IncompleteRead(b"", length - received)


def _has(file, md5):
    """Return whether a file is there and has a checksum."""
    if not file.is_file():
        return False
    with open(file, "rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
