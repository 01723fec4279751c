"""Decodes image files once, into one uint8 array that is kept on disk and memory-mapped from then on.

Decoding uses all cores and shows its progress. The array is written under a temporary name and renamed when it is
complete, so that a later run finds either all of it or nothing.
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

CHUNK = 256  # how many files a worker decodes at a time
CODE = Path(__file__).read_bytes()  # arrays made by a different version of this file are not reused
UNUSABLE = (OSError, EOFError, ValueError, KeyError, TypeError)  # what reading a damaged array raises


def decode(files, image_size, cache, boxes=None, skip_unreadable=False):
    """Decode image files into one array, or load the array that an earlier call made from the same files.

    Each image is cropped to its box, turned upright if its EXIF data says how, cropped to a centred square, and scaled.

    Parameters
    ----------
    files : list of pathlib.Path
    image_size : int
        Height and width of every image.
    cache : pathlib.Path
        The folder to keep the array in. If it can't be written, a warning says so, and the array is returned anyway.
    boxes : list of tuple of float, optional
        Left, top, width and height of the region to keep of each image, in pixels of the image as stored.
    skip_unreadable : bool
        Leave out files that can't be read, with a warning, instead of raising.

    Returns
    -------
    images : numpy.ndarray
        uint8, (N, C, H, W): grey (C = 1) if every image is grey, else RGB.
    kept : numpy.ndarray
        int64, (N,), for each image the index of its file.

    Raises
    ------
    LirfError
        If a file can't be read as an image; the message names it.
    """
    key = _key(files, image_size, boxes, skip_unreadable)
    folder = cache / f"decoded-{key[:16]}"
    found = _load(folder, key)
    if found is None:
        found = _decode_all(files, image_size, boxes, skip_unreadable)
        _save(folder, key, *found)
    left_out = [str(files[place]) for place in numpy.setdiff1d(numpy.arange(len(files)), found[1])]
    if left_out:
        names = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        warnings.warn(f"{len(left_out)} of {len(files)} files can't be read and are left out: {names}", stacklevel=2)
    return found


def _key(files, image_size, boxes, skip_unreadable):
    """Return a hash of everything the array depends on; of each file that is its path, size and modification time."""
    digest = hashlib.sha256(CODE)
    digest.update(json.dumps([PIL.__version__, image_size, boxes, skip_unreadable]).encode())
    for file in files:
        status = file.stat()
        digest.update(f"{file.absolute()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _decode_all(files, image_size, boxes, skip_unreadable):
    """Decode all files in parallel, in chunks."""
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


def _decode_chunk(files, boxes, image_size):
    """Decode some files; return their pixels, an error message or None for each, and whether all images are grey."""
    pixels = numpy.zeros((len(files), 3, image_size, image_size), numpy.uint8)
    sentences, grey = [], True
    for place, (file, box) in enumerate(zip(files, boxes)):
        try:
            image = _open(file, box)
            grey = grey and image.mode in ("1", "L", "LA", "I", "I;16")
            pixels[place] = _square(image.convert("RGB"), image_size)
            sentences.append(None)
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
            sentences.append(f"{file} can't be read as an image ({error})")
    return pixels, sentences, grey


def _open(file, box):
    """Read an image file, crop it to its box and turn it upright.

    A file with so many pixels that Pillow suspects an attack counts as unreadable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        try:
            image = PIL.Image.open(file)
            image.load()
            if box is not None:
                left, top, width, height = box
                image = image.crop((left, top, left + width, top + height))
            with contextlib.suppress(Exception):  # damaged EXIF data can raise anything; the pixels are fine
                PIL.ImageOps.exif_transpose(image, in_place=True)
            if image.mode in ("I", "I;16"):  # 16-bit grey, which Pillow would clip at 255 instead of scaling it
                image = image.point(lambda level: level * (1 / 257) + 0.5)
        except PIL.Image.DecompressionBombWarning as warning:
            raise ValueError(warning) from None
    return image


def _square(image, image_size):
    """Crop the largest centred square and scale it: uint8, (3, H, W)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    image = image.resize((image_size, image_size), PIL.Image.Resampling.BICUBIC, square)
    return numpy.asarray(image).transpose(2, 0, 1)


def _load(folder, key):
    """Return a folder's images, memory-mapped, and indices; None if they are missing, damaged or of other files."""
    if not folder.exists():
        return None
    try:
        return _read(folder, key)
    except UNUSABLE as error:
        warnings.warn(f"{folder} can't be used and is made again: {error}", stacklevel=3)
        return None


def _read(folder, key):
    """Return a folder's images and indices, or raise one of `UNUSABLE`."""
    note = json.loads((folder / "note.json").read_bytes())
    images = numpy.load(folder / "images.npy", mmap_mode="c")
    kept = numpy.load(folder / "kept.npy")
    if note["key"] != key or len(images) != len(kept):
        raise ValueError("it was made from other files")
    return images, kept


def _save(folder, key, images, kept):
    """Write an array to its folder, or warn that this isn't possible."""
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
            return  # another process has written the same array
        warnings.warn(
            f"the decoded images can't be kept in {folder} and will be decoded again: {error}; choose another folder "
            "with data_root or LIRF_KIT_DATA",
            stacklevel=3,
        )
