"""Image files, decoded once: one uint8 array, kept on disk and memory-mapped the next time.

Decoding uses all cores and shows its progress. What it made is written under another name and renamed when it is
whole, so that a later start finds all of it or nothing.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy
import PIL.Image
import PIL.ImageOps

from lirf_kit.config import LirfError
from lirf_kit.devices import progress_bar

CHUNK = 256  # files that a worker decodes at a time
CODE = Path(__file__).read_bytes()  # what another version of this file made is not used
UNUSABLE = (OSError, EOFError, ValueError, KeyError, TypeError)  # what a damaged array raises


def decode(files, image_size, cache, boxes=None, skip_unreadable=False):
    """Decode image files into one array, or load what an earlier call made of the same files.

    Each image is cropped to its box, turned upright if its camera noted how, cropped to a square around its centre,
    and scaled.

    Parameters
    ----------
    files : list of pathlib.Path
    image_size : int
        Height and width of every image.
    cache : pathlib.Path
        The folder to keep the array in. If it can't be written, a warning says so and the array is used all the same.
    boxes : list of tuple of float, optional
        Left, top, width and height of what to keep of each image, in pixels as they are stored.
    skip_unreadable : bool
        Leave out the files that can't be read, with a warning, instead of raising.

    Returns
    -------
    images : numpy.ndarray
        uint8, (N, C, H, W): grey (C = 1) if every image is grey, else RGB.
    kept : numpy.ndarray
        int64, (N,), which of the files the images are of.

    Raises
    ------
    LirfError
        If a file is no image that can be read; the sentence names it.
    """
    key = _key(files, image_size, boxes, skip_unreadable)
    folder = cache / f"decoded-{key[:16]}"
    found = _load(folder, key)
    if found is None:
        found = _decode_all(files, image_size, boxes, skip_unreadable)
        _save(folder, key, *found)
    _warn_of_left_out(files, found[1])
    return found


def _key(files, image_size, boxes, skip_unreadable):
    """Return a hash of everything that the array depends on; a file stands for its name, size and time of change."""
    digest = hashlib.sha256(CODE)
    digest.update(json.dumps([PIL.__version__, image_size, boxes, skip_unreadable]).encode())
    for file in files:
        status = file.stat()
        digest.update(f"{file.absolute()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _decode_all(files, image_size, boxes, skip_unreadable):
    """Decode all files, many at a time on every core."""
    starts = range(0, len(files), CHUNK)
    boxes = boxes or [None] * len(files)
    chunks = (
        joblib.delayed(_decode_chunk)(files[start : start + CHUNK], boxes[start : start + CHUNK], image_size)
        for start in starts
    )
    workers = min(len(starts), joblib.cpu_count())
    images, readable, grey = numpy.empty((len(files), 3, image_size, image_size), numpy.uint8), [], True
    with progress_bar(total=len(files), desc="decode", unit="file") as progress:
        for decoded, sentences, all_grey in joblib.Parallel(workers, return_as="generator")(chunks):
            if any(sentences) and not skip_unreadable:
                sentence = next(filter(None, sentences))
                raise LirfError(f"{sentence}; remove it, or set skip_unreadable=True to leave such files out")
            images[len(readable) : len(readable) + len(decoded)] = decoded
            readable += [sentence is None for sentence in sentences]
            grey = grey and all_grey
            progress.update(len(decoded))
    kept = numpy.flatnonzero(readable)
    if len(kept) < len(files):
        images = images[kept]
    return (images[:, :1].copy() if grey else images), kept


def _warn_of_left_out(files, kept):
    """Warn of the files that aren't kept, naming the first three."""
    left_out = [str(files[place]) for place in numpy.setdiff1d(numpy.arange(len(files)), kept)]
    if left_out:
        names = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        warnings.warn(
            f"{len(left_out)} of {len(files)} files can't be read and are left out: {names}",
            stacklevel=3,
        )


def _decode_chunk(files, boxes, image_size):
    """Decode some files; return their pixels, for each a sentence if it can't be read, and whether all are grey."""
    pixels = numpy.zeros((len(files), 3, image_size, image_size), numpy.uint8)
    sentences, grey = [], True
    for place, (file, box) in enumerate(zip(files, boxes)):
        try:
            image = _open(file, box)
            grey = grey and image.mode in ("1", "L", "LA", "I", "I;16")
            pixels[place] = _square(image.convert("RGB"), image_size)
            sentences.append(None)
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
            sentences.append(f"{file} is no image that can be read ({error})")
    return pixels, sentences, grey


def _open(file, box):
    """Read an image file, crop it to its box and turn it upright.

    One with so many pixels that it may be an attack counts as unreadable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        try:
            image = PIL.Image.open(file)
            image.load()
            if box is not None:
                left, top, width, height = box
                image = image.crop((left, top, left + width, top + height))
            with contextlib.suppress(Exception):  # damaged notes of a camera raise all sorts; the pixels are whole
                PIL.ImageOps.exif_transpose(image, in_place=True)
            if image.mode in ("I", "I;16"):  # 16 bits of grey, of which Pillow would keep the lowest 255 levels
                image = image.point(lambda level: level * (1 / 257) + 0.5)
        except PIL.Image.DecompressionBombWarning as warning:
            raise ValueError(warning) from None
    return image


def _square(image, image_size):
    """Crop the largest square around the centre and scale it: uint8, (3, H, W)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    image = image.resize((image_size, image_size), PIL.Image.Resampling.BICUBIC, square)
    return numpy.asarray(image).transpose(2, 0, 1)


def _load(folder, key):
    """Return what is kept in a folder, the images memory-mapped; None if it isn't there or not what it should be."""
    if not folder.exists():
        return None
    try:
        return _read(folder, key)
    except UNUSABLE as error:
        warnings.warn(f"{folder} can't be used and is made again: {error}", stacklevel=3)
        return None


def _read(folder, key):
    """Return what is kept in a folder, or raise one of `UNUSABLE`."""
    note = json.loads((folder / "note.json").read_bytes())
    images = numpy.load(folder / "images.npy", mmap_mode="c")
    kept = numpy.load(folder / "kept.npy")
    if note["key"] != key or len(images) != len(kept):
        raise ValueError("it is of other files")
    return images, kept


def _save(folder, key, images, kept):
    """Keep an array, or warn that it can't be kept."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as beside:
            run = Path(beside, "decoded")
            run.mkdir()
            numpy.save(run / "images.npy", images)
            numpy.save(run / "kept.npy", kept)
            (run / "note.json").write_text(json.dumps({"key": key}))
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(run, folder)
    except OSError as error:
        with contextlib.suppress(*UNUSABLE):
            _read(folder, key)
            return  # another process has kept the same
        warnings.warn(
            f"the decoded images are not kept in {folder} and will be decoded again: {error}; data_root or "
            "LIRF_KIT_DATA names another folder",
            stacklevel=3,
        )
