"""The data sets by name: each returns its images, labels and class names, and its official test part if it has one."""

import contextlib
import hashlib
import http.client
import math
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy
import torchvision
from sklearn.datasets import load_digits
from torchvision.datasets.utils import check_integrity

from lirf_kit.artifacts import locked, named_folder
from lirf_kit.config import LirfError
from lirf_kit.data.decoding import decode, printable
from lirf_kit.data.downloading import download

CUB_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CUB_MD5 = "97eceeb196236b17998738112f37df78"
CUB_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "bounding_boxes.txt")
# what downloads and archives raise
BROKEN = (OSError, RuntimeError, EOFError, ValueError, tarfile.TarError, zlib.error, http.client.HTTPException)


@dataclass(frozen=True)
class Source:
    """A whole data set, as it comes.

    Attributes
    ----------
    images : numpy.ndarray
        uint8, (N, C, H, W), possibly memory-mapped.
    labels : numpy.ndarray
        int64, (N,).
    class_names : tuple of str
    is_test : numpy.ndarray, optional
        bool, (N,), the official test part; None if there is none and a part has to be held out.
    """

    images: numpy.ndarray
    labels: numpy.ndarray
    class_names: tuple[str, ...]
    is_test: numpy.ndarray | None = None


def data_root(config):
    """Return the folder for downloads and decoded images: `data_root`, ``$LIRF_KIT_DATA``, or one in the cache."""
    return named_folder("data_root", config.data_root or os.environ.get("LIRF_KIT_DATA"), "data")


def digits(config):
    """Return scikit-learn's handwritten digits: 1,797 grey images of 8×8, their levels 0 to 16 scaled to 0 to 255."""
    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype(numpy.uint8)[:, None]  # (N, 1, 8, 8)
    return Source(images, digits.target.astype(numpy.int64), tuple(str(name) for name in digits.target_names))


def cifar10(config):
    """Return CIFAR-10: 60,000 RGB images of 32×32 in 10 classes, 10,000 of them the official test part."""
    return _cifar(torchvision.datasets.CIFAR10, config)


def cifar100(config):
    """Return CIFAR-100: like CIFAR-10, but in 100 classes."""
    return _cifar(torchvision.datasets.CIFAR100, config)


def _cifar(dataset, config):
    """Return a CIFAR, downloaded on first use and read by torchvision; every file's checksum is verified."""
    root = data_root(config)
    files = [*dataset.train_list, *dataset.test_list, [dataset.meta["filename"], dataset.meta["md5"]]]
    with _locked(root, dataset.__name__), _advice(dataset.__name__, dataset.filename, dataset.url, root):
        if not all(check_integrity(root / dataset.base_folder / name, md5) for name, md5 in files):
            download(dataset.url, root / dataset.filename, dataset.tgz_md5)
            with tarfile.open(root / dataset.filename) as tar:
                _extract(tar, root)
        # torchvision would check every file twice more, which takes longer than reading them
        checked = type(dataset.__name__, (dataset,), {"_check_integrity": lambda self: True})
        parts = [checked(root, train=train) for train in (True, False)]
    images = numpy.concatenate([part.data for part in parts]).transpose(0, 3, 1, 2)
    labels = numpy.concatenate([part.targets for part in parts]).astype(numpy.int64)
    is_test = numpy.arange(len(labels)) >= len(parts[0])
    return Source(numpy.ascontiguousarray(images), labels, tuple(parts[0].classes), is_test)


def cub200(config):
    """Return CUB-200-2011: 11,788 photographs of 200 bird species, with their official split (Wah et al. 2011)."""
    root = data_root(config)
    with _locked(root, "CUB_200_2011"):
        folder = _cub_folder(root)
        names, labels, is_test, boxes, class_names = _cub_index(folder)
        files = [folder / "images" / name for name in names]
        missing = next((file for file in files if not file.exists()), None)
        if missing is not None:
            raise LirfError(f"CUB-200-2011 must have every image listed in its index, but {missing} is missing")
        images, kept = decode(
            files, config.image_size, root, boxes if config.crop_to_box else None, config.skip_unreadable
        )
    return Source(images, labels[kept], class_names, is_test[kept])


def _cub_folder(root):
    """Return the folder of the extracted archive; download and extract it first if necessary."""
    folder = root / "CUB_200_2011"
    if folder.exists():
        return folder
    archive = root / "CUB_200_2011.tgz"
    with _advice("CUB-200-2011", archive.name, CUB_URL, root):
        download(CUB_URL, archive, CUB_MD5)
        with tempfile.TemporaryDirectory(dir=root, prefix=".extracting-") as beside:
            with tarfile.open(archive) as tar:
                _extract(tar, beside)
            os.rename(Path(beside, "CUB_200_2011"), folder)
    return folder


@contextlib.contextmanager
def _advice(name, file, url, root):
    """Turn what a broken download or archive raises into a `LirfError` that says how to get the data set."""
    try:
        yield
    except BROKEN as error:
        raise LirfError(
            f"{name} can't be downloaded or unpacked: {error}; call it again to go on. Without a network, put "
            f"{file} from {url} into {root}"
        ) from error


def _extract(tar, folder):
    """Extract an archive, refusing members that would be written outside the folder."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
    else:  # Python 3.11.0 to 3.11.3
        tar.extractall(folder, _checked(tar))


def _checked(tar):
    """Yield an archive's members; raise at the first that isn't a file or folder, or whose path leads outside."""
    for member in tar:
        path = PureWindowsPath(member.name)  # splits at both kinds of slash and recognises drives
        if path.anchor or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(
                f"{member.name!r} is not a plain file or folder, or lies outside the archive's folder"
            )
        yield member


def _cub_index(folder):
    """Read the official index: image names, labels from 0, test part, boxes (all in one order) and class names."""
    try:
        lines = {name: (folder / name).read_text().split("\n") for name in CUB_FILES}
        rows = {name: dict(line.split(" ", 1) for line in lines[name] if line) for name in CUB_FILES}
        names, labels, splits, classes, boxes = (rows[name] for name in CUB_FILES)
        is_test = {number: {"0": True, "1": False}[split] for number, split in splits.items()}
        boxes = {number: _box(*box.split()) for number, box in boxes.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LirfError(f"the index of CUB-200-2011 in {folder} can't be read: {error}") from error
    for name in ("image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"):
        if rows[name].keys() != names.keys():
            raise LirfError(f"{folder / name} must have one line for each image in images.txt, and no others")
    for number, name in names.items():
        if classes.get(labels[number]) != name.split("/")[0]:
            raise LirfError(
                f"image {number} of CUB-200-2011 must have the class of its folder, not class {labels[number]}"
            )
    place = {number: place for place, number in enumerate(classes)}
    return (
        list(names.values()),
        numpy.array([place[labels[number]] for number in names], dtype=numpy.int64),
        numpy.array([is_test[number] for number in names]),
        [boxes[number] for number in names],
        tuple(name.split(".", 1)[-1].replace("_", " ") for name in classes.values()),
    )


def _box(left, top, width, height):
    box = float(left), float(top), float(width), float(height)
    if not all(map(math.isfinite, box)):
        raise ValueError(f"a box must have finite numbers, not {box}")
    return box


def folder(config):
    """Return your own images: ``train/<class>/*`` and optionally ``test/<class>/*`` in the config's `folder`."""
    if not config.folder:
        raise LirfError("folder must be set for dataset='folder': it is the folder that holds train/<class>/<image>")
    try:
        root = Path(config.folder).expanduser()
        train, test = _classes(root / "train"), _classes(root / "test")
    except (OSError, RuntimeError, ValueError) as error:  # not allowed, too long, or ~ of an unknown user
        raise LirfError(f"folder must be a folder that can be read, not {config.folder!r}: {error}") from error
    if len(train) < 2:
        raise LirfError(f"folder must have at least two classes, as {root / 'train'}/<class>/<image>, not {len(train)}")
    if test and test.keys() != train.keys():
        name = sorted(test.keys() ^ train.keys())[0]
        raise LirfError(f"folder must have the same classes in train and test, but {name!r} is in only one of them")
    for part, classes in {"train": train, "test": test}.items():
        for name, files in classes.items():
            if not files:
                raise LirfError(f"folder must have images of each class, but {root / part / name} has none")
    listed = [
        (file, label, part is test)
        for part in (train, test)
        for label, name in enumerate(train)
        for file in part.get(name, [])
    ]
    files, labels, is_test = zip(*listed)
    cache, name = data_root(config), hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    with _locked(cache, f"folder-{name}", needed=False):
        images, kept = decode(list(files), config.image_size, cache, None, config.skip_unreadable)
    labels, is_test = numpy.array(labels, dtype=numpy.int64)[kept], numpy.array(is_test)[kept]
    for part, there in {"train": ~is_test, "test": is_test if test else ~is_test}.items():
        for label, name in enumerate(train):
            if label not in labels[there]:
                raise LirfError(f"folder must have images of each class, but none in {root / part / name} can be read")
    return Source(images, labels, tuple(map(printable, train)), is_test if test else None)


def _classes(part):
    """Return the files of each class folder by its name, all sorted; hidden files and folders are ignored."""
    folders = sorted(entry for entry in part.iterdir() if entry.is_dir()) if part.is_dir() else []
    return {
        entry.name: sorted(file for file in entry.iterdir() if _is_image(file))
        for entry in folders
        if not entry.name.startswith(".")
    }


def _is_image(path):
    """Return whether a path counts as an image: a file, or a link to nowhere, which must be noticed."""
    return not path.name.startswith(".") and (path.is_file() or (path.is_symlink() and not path.exists()))


@contextlib.contextmanager
def _locked(root, name, needed=True):
    """Create the folder `root` and hold a lock in it, so that a second process waits until the first has the data set.

    Without a lock it goes on where a folder is read-only or the file system has no locks. Where `root` can't be
    created it raises a `LirfError`, unless the folder isn't needed.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if needed and not os.path.isdir(root):
            raise LirfError(f"data_root must be a folder that can be made, not {str(root)!r}: {error}") from error
    with locked(root / f".{name}.lock", "the same data set ready"):
        yield


SOURCES = {"digits": digits, "cifar10": cifar10, "cifar100": cifar100, "cub200": cub200, "folder": folder}
