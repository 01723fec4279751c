"""Decodes image files once, into one uint8 array that is kept on disk and memory-mapped from then on.

Decoding uses all cores and shows its progress. The array is written under a temporary name and renamed when it is
complete, so that a later run finds either all of it or nothing. A checksum tells whether it is still what was written.
"""

import contextlib
import hashlib
import json
import os
import warnings
from pathlib import Path

import joblib
import numpy
import PIL.Image
import PIL.ImageOps

from lirf_kit.artifacts import new_folder, put_back
from lirf_kit.config import LirfError
from lirf_kit.devices import progress_bar

CHUNK = 256  # how many files a worker decodes at a time
CODE = Path(__file__).read_bytes()  # arrays made by a different version of this file are not reused
UNUSABLE = (OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, RecursionError)  # of a damaged array
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")  # others have had faulty decoders, or start programs
DEEP = ("I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names for 16 bits of grey


def decode(files, image_size, cache, boxes=None, skip_unreadable=False):
    """Decode image files into one array, or load the array that an earlier call made from the same files.

    Each image is cropped to its box (left, top, width and height, in pixels of the image as stored), turned upright if
    its EXIF data says how, cropped to a centred square, and scaled to `image_size`. The array is kept in the folder
    `cache`; if that can't be written, a warning says so, and the array is returned anyway. If a file can't be read as
    an image, a `LirfError` names it, or with `skip_unreadable` a warning, and it is left out.

    Returns
    -------
    images : numpy.ndarray
        uint8, (N, C, H, W): grey (C = 1) if every image is grey, else RGB.
    kept : numpy.ndarray
        int64, (N,), for each image the index of its file.
    """
    key = _key(files, image_size, boxes, skip_unreadable)
    folder = cache / f"decoded-{key[:16]}"
    found = _load(folder, key)
    if found is None:
        found = _decode_all(files, image_size, boxes, skip_unreadable)
        _save(folder, key, *found)
    left_out = [printable(files[place]) for place in numpy.setdiff1d(numpy.arange(len(files)), found[1])]
    if left_out:
        names = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        warnings.warn(f"{len(left_out)} of {len(files)} files can't be read and are left out: {names}", stacklevel=2)
    return found


def _key(files, image_size, boxes, skip_unreadable):
    """Return a hash of everything the array depends on; of each file that is its path, size and modification time."""
    digest = hashlib.sha256(CODE)
    digest.update(json.dumps([PIL.__version__, image_size, boxes, skip_unreadable]).encode())
    for file in files:
        try:
            status = file.stat()
        except OSError:  # a link that leads nowhere
            status = file.lstat()
        digest.update(os.fsencode(file.absolute()) + f" {status.st_size} {status.st_mtime_ns}\n".encode())
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
            pixels[place] = _square(image.convert("RGB"), image_size)
            grey = grey and image.mode in ("1", "L", "LA")
            sentences.append(None)
        except Exception as error:  # damaged files make Pillow's decoders raise almost anything
            reason = " ".join(str(error).split()) or type(error).__name__
            sentences.append(f"{printable(file)} can't be read as an image ({reason})")
    return pixels, sentences, grey


def _open(file, box):
    """Read an image file, crop it to its box and turn it upright.

    A file with so many pixels that Pillow suspects an attack counts as unreadable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        try:
            image = PIL.Image.open(file, formats=FORMATS)
            image.load()
            stored = image.format
            if box is not None:
                left, top, width, height = box
                image = image.crop((left, top, left + width, top + height))
            with contextlib.suppress(Exception):  # damaged EXIF data can raise anything; the pixels are fine
                PIL.ImageOps.exif_transpose(image, in_place=True)
            image = _in_8_bits(image, stored)
        except PIL.Image.DecompressionBombWarning as warning:
            raise ValueError(warning) from None
    return image


def _in_8_bits(image, stored):
    """Scale 16 bits of grey to 8, which Pillow would clip at 255; refuse numbers whose white isn't known."""
    if image.mode in DEEP or (image.mode == "I" and stored in ("PNG", "PPM")):  # older Pillows call those "I"
        levels = numpy.asarray(image).astype(numpy.float64)  # in the machine's own byte order
        return PIL.Image.fromarray((levels / 257 + 0.5).astype(numpy.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit whole numbers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(f"its pixels are {kind}, of which it isn't known what is white: save it with 8 or 16 bits")
    return image


def printable(file):
    """Return a file's name as a text that can be printed anywhere, even if it isn't UTF-8."""
    return str(file).encode(errors="backslashreplace").decode()


def _square(image, image_size):
    """Crop the largest centred square and scale it: uint8, (3, H, W)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    image = image.resize((image_size, image_size), PIL.Image.Resampling.BICUBIC, square)
    return numpy.asarray(image).transpose(2, 0, 1)


def _load(folder, key):
    """Return a folder's images, memory-mapped, and indices; None if they are missing, damaged or of other files."""
    try:
        put_back(folder)
        return _read(folder, key) if folder.exists() else None
    except UNUSABLE as error:
        warnings.warn(f"{folder} can't be used and is made again: {error}", stacklevel=3)
        return None


def _read(folder, key):
    """Return a folder's images and indices, or raise one of `UNUSABLE`."""
    note = json.loads((folder / "note.json").read_bytes())
    if note["key"] != key:
        raise ValueError("it was made from other files")
    for name in ("images.npy", "kept.npy"):
        if _checksum(folder / name) != note["sha256"][name]:
            raise ValueError(f"{name} is damaged")
    return numpy.load(folder / "images.npy", mmap_mode="c"), numpy.load(folder / "kept.npy")


def _checksum(file):
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _save(folder, key, images, kept):
    """Write an array to its folder, or warn that this isn't possible."""
    try:
        with new_folder(folder) as beside:
            numpy.save(beside / "images.npy", images)
            numpy.save(beside / "kept.npy", kept)
            checksums = {name: _checksum(beside / name) for name in ("images.npy", "kept.npy")}
            (beside / "note.json").write_text(json.dumps({"key": key, "sha256": checksums}))
    except OSError as error:
        with contextlib.suppress(*UNUSABLE):
            _read(folder, key)
            return  # another process has written the same array
        warnings.warn(
            f"the decoded images can't be kept in {folder} and will be decoded again: {error}; choose another folder "
            "with data_root or LIRF_KIT_DATA",
            stacklevel=3,
        )
