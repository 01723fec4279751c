import hashlib
import http.client
import io
import os
import pickle
import shutil
import tarfile
import threading
import urllib.error
from pathlib import Path

import filelock
import numpy
import PIL.Image
import pytest
import torch
import torchvision

import lirf_kit as lk
from lirf_kit.data import sources as datasets
from lirf_kit.data.sources import SOURCES

CIFARS = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
MORE_THAN_HALF = 100  # bytes that are missing when a download stops


def md5(content):
    return hashlib.md5(content).hexdigest()


def archive_of(members):
    """A .tar.gz of files, by name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Response(io.BytesIO):
    """What a server answers: some bytes, and perhaps an error in their stead when they are at their end."""

    def __init__(self, url, content, breaks_with=None):
        super().__init__(content)
        self.url, self.length, self.breaks_with = url, len(content), breaks_with

    def read(self, *size):
        content = super().read(*size)
        if not content and self.breaks_with is not None:
            raise self.breaks_with
        return content


@pytest.fixture
def web(monkeypatch):
    """What stands under which address: `Response`'s arguments. Every other address can't be reached."""
    pages = {}

    def urlopen(request, **_):
        if request.full_url not in pages:
            raise urllib.error.URLError("no network")
        return Response(request.full_url, *pages[request.full_url])

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr("lirf_kit.data.downloading.PAUSE", 0.0)
    return pages


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


# CIFAR


@pytest.fixture(params=CIFARS)
def cifar(request, monkeypatch, web):
    """A small CIFAR in its real format, which the web has: its name, archive, pixels, labels and address."""
    dataset, ten = CIFARS[request.param], request.param == "cifar10"
    draw = numpy.random.default_rng(0)
    parts = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"] if ten else ["train", "test"]
    pixels = draw.integers(256, size=(len(parts), 10, 3072), dtype=numpy.uint8)
    labels = numpy.tile(numpy.arange(10) % 3, (len(parts), 1))
    names = [f"kind {number}" for number in range(10 if ten else 100)]
    files = {
        part: {b"data": pixels[place], b"labels" if ten else b"fine_labels": labels[place].tolist()}
        for place, part in enumerate(parts)
    }
    files[dataset.meta["filename"]] = {dataset.meta["key"].encode(): names}
    packed = {
        name: pickle.dumps({key.decode(): value for key, value in content.items()}, 2)
        for name, content in files.items()
    }
    archive = archive_of({f"{dataset.base_folder}/{name}": content for name, content in packed.items()})
    monkeypatch.setattr(dataset, "tgz_md5", md5(archive))
    monkeypatch.setattr(dataset, "train_list", [[part, md5(packed[part])] for part in parts[:-1]])
    monkeypatch.setattr(dataset, "test_list", [[parts[-1], md5(packed[parts[-1]])]])
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": md5(packed[dataset.meta["filename"]])})
    web[dataset.url] = (archive,)
    config = lk.preset(request.param).replace(device="cpu", validation_fraction=0.3)
    return config, dataset, archive, pixels.reshape(-1, 3072), labels.flatten()


def test_cifar_comes_with_its_pixels_labels_names_and_official_test_part(cifar, web):
    config, _, _, pixels, labels = cifar
    data = lk.load_dataset(config)
    assert data.images.dtype == torch.uint8 and data.images.shape == (len(labels), 3, 32, 32)
    # in a row of the file come 1,024 reds, then the greens, then the blues, each picture row by row
    assert data.images[4, 1, 2, 5] == pixels[4, 1024 + 2 * 32 + 5]
    assert numpy.array_equal(data.images.numpy().reshape(-1, 3072), pixels)
    assert data.labels.tolist() == labels.tolist()
    assert data.test_indices.tolist() == list(range(len(labels) - 10, len(labels)))
    assert data.class_names[2] == "kind 2" and len(data.class_names) == (10 if config.dataset == "cifar10" else 100)
    web.clear()  # the second time nothing is downloaded
    assert torch.equal(lk.load_dataset(config).images, data.images)


@pytest.mark.parametrize("cifar", ["cifar10"], indirect=True)
def test_the_class_preset_goes_the_whole_path_on_cifar_10_s_own_archive(cifar):
    config = lk.preset("cifar10-class").replace(
        device="cpu", widths=(4, 8, 8), epochs=1, deposit_epochs=1, batch_size=8, validation_fraction=0.3, threads=1
    )
    data = lk.load_dataset(config)
    parts = lk.split_by_class(data, (0,))
    original = lk.load_or_train(data, config)
    target, module = lk.load_or_deposit(original, parts.deposit_set, config)
    recovered = lk.withdraw(target, module)
    assert isinstance(module, lk.DifferenceModule) and len(parts.test) == 10
    assert all(0 <= lk.accuracy(network, parts.test) <= 100 for network in (original, target, recovered))


def refused_then_had(config, web, address, archive):
    """A call must end in a sentence; the next, with the right archive, must work; return its data."""
    with pytest.raises(
        lk.LirfError, match="can't be downloaded or unpacked: .*; call it again to go on. Without a network, put "
    ):
        SOURCES[config.dataset](config)
    web[address] = (archive,)
    return SOURCES[config.dataset](config)


BAD_ARCHIVES = {
    "truncated": lambda archive: archive[:-MORE_THAN_HALF],
    "other bytes": lambda archive: archive + b"!",
    "no archive": lambda archive: b"<html>not found</html>",
    "nothing": lambda archive: b"",
}


@pytest.mark.parametrize("checksum", ["checksum of the good one", "checksum of its own"])
@pytest.mark.parametrize("spoil", BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_is_refused_in_a_sentence_and_never_used(cifar, web, monkeypatch, spoil, checksum):
    config, dataset, archive, pixels, _ = cifar
    bad = spoil(archive)
    web[dataset.url] = (bad,)
    with monkeypatch.context() as spoilt:
        if checksum == "checksum of its own" and spoil is not BAD_ARCHIVES["other bytes"]:
            spoilt.setattr(dataset, "tgz_md5", md5(bad))
        with pytest.raises(lk.LirfError, match="can't be downloaded or unpacked"):
            SOURCES[config.dataset](config)
    web[dataset.url] = (archive,)
    assert numpy.array_equal(SOURCES[config.dataset](config).images.reshape(-1, 3072), pixels)


BREAKS = [
    ConnectionResetError("reset"), TimeoutError("timed out"), http.client.IncompleteRead(b""), None, OSError(28, "full")
]  # fmt: skip


@pytest.mark.parametrize("error", BREAKS, ids=repr)
def test_a_download_that_stops_half_way_is_begun_again(cifar, web, error):
    config, dataset, archive, pixels, _ = cifar
    web[dataset.url] = (archive[: len(archive) // 2], error)
    assert numpy.array_equal(refused_then_had(config, web, dataset.url, archive).images.reshape(-1, 3072), pixels)


def test_without_a_network_the_sentence_says_which_file_to_put_where(cifar, web, root):
    config, dataset, archive, _, labels = cifar
    web.clear()
    with pytest.raises(lk.LirfError, match=f"no network.* put {dataset.filename} from {dataset.url} into {root}"):
        SOURCES[config.dataset](config)
    (root / dataset.filename).write_bytes(archive)
    assert len(SOURCES[config.dataset](config).labels) == len(labels)


def test_a_second_process_waits_until_the_first_has_the_data(cifar, root):
    config, dataset, *_ = cifar
    root.mkdir()
    found = []
    second = threading.Thread(target=lambda: found.append(SOURCES[config.dataset](config)), daemon=True)
    with filelock.FileLock(root / f".{dataset.__name__}.lock"):
        second.start()
        second.join(0.3)
        assert second.is_alive() and not found
        assert not (root / dataset.filename).exists()  # nor has it begun a download
    second.join(30)
    assert found


def test_the_data_s_folder_is_the_knob_s_then_the_environment_s_then_the_cache_s(tmp_path, monkeypatch, config):
    named = config.replace(data_root=str(tmp_path / "mine"))
    assert datasets.data_root(named) == tmp_path / "mine"
    assert datasets.data_root(config) == tmp_path / "data"  # LIRF_KIT_DATA
    monkeypatch.delenv("LIRF_KIT_DATA")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("/cache", name))
    assert datasets.data_root(config) == Path("/cache/lirf_kit/data")


def test_downloads_go_where_data_root_says(cifar, tmp_path):
    config, dataset, *_ = cifar
    SOURCES[config.dataset](config.replace(data_root=str(tmp_path / "mine")))
    assert (tmp_path / "mine" / dataset.filename).exists() and not (tmp_path / "data").exists()


def test_a_data_root_that_cannot_be_made_is_named(cifar, tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(lk.LirfError, match="^data_root must be a folder that can be made, not '.*taken"):
        SOURCES[cifar[0].dataset](cifar[0].replace(data_root=str(tmp_path / "taken")))


# CUB-200-2011, in small: 3 classes of 4 pictures, every third picture of the official test part

BIRDS = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
IMAGES = [f"{bird}/{bird[4:]}_{number:04}.jpg" for bird in BIRDS for number in range(4)]
TEST = [number % 3 == 0 for number in range(12)]
LEFTS = [16 * (number % 2) for number in range(12)]


def cub_index():
    """The index's files in their format. Numbers need not be in order: those of the labels and the split aren't."""
    numbers = range(1, 13)
    lines = {
        "images.txt": [f"{number} {IMAGES[number - 1]}" for number in numbers],
        "image_class_labels.txt": [f"{number} {(number - 1) // 4 + 1}" for number in reversed(numbers)],
        "train_test_split.txt": [f"{number} {int(not TEST[number - 1])}" for number in reversed(numbers)],
        "classes.txt": [f"{number} {bird}" for number, bird in enumerate(BIRDS, 1)],
        "bounding_boxes.txt": [f"{number} {LEFTS[number - 1]}.0 16.0 16.0 16.0" for number in numbers],
    }
    return {name: "".join(f"{line}\n" for line in content).encode() for name, content in lines.items()}


def cub_picture(number):
    """A JPEG of 32×48: a box of 16×16 that says which picture it is, by its grey, on black."""
    pixels = numpy.zeros((32, 48, 3), numpy.uint8)
    pixels[16:, LEFTS[number] : LEFTS[number] + 16] = grey_of(number)
    packed = io.BytesIO()
    PIL.Image.fromarray(pixels).save(packed, "JPEG", quality=95)
    return packed.getvalue()


def grey_of(number):
    return 100 + 12 * number


def cub_members(changes):
    files = cub_index() | {f"images/{name}": cub_picture(number) for number, name in enumerate(IMAGES)}
    members = {f"CUB_200_2011/{name}": content for name, content in (files | changes).items()}
    return {"attributes.txt": b"1 has_bill_shape::curved_(up_or_down)\n"} | members  # beside the folder, officially


@pytest.fixture
def cub(web, monkeypatch):
    """Put an archive with some files changed under the official address; returns its config."""

    def put(changes=None):
        archive = archive_of(cub_members(changes or {}))
        web[datasets.CUB_URL] = (archive,)
        monkeypatch.setattr(datasets, "CUB_MD5", md5(archive))
        return lk.preset("cub200").replace(device="cpu", image_size=16, validation_fraction=0.4)

    return put


def test_cub_comes_with_its_official_split_and_its_birds_cropped_out(cub, web):
    config = cub()
    data = lk.load_dataset(config)
    assert data.images.shape == (12, 3, 16, 16) and data.images.dtype == torch.uint8
    expected = torch.tensor([grey_of(number) for number in range(12)]).view(12, 1, 1, 1)
    assert (data.images.long() - expected).abs().max() <= 4  # every pixel of the box, none of the black; it is a JPEG
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.test_indices.tolist() == [0, 3, 6, 9]
    assert data.class_names == ("Black footed Albatross", "Laysan Albatross", "Sooty Albatross")
    web.clear()
    with pytest.MonkeyPatch.context() as second:  # starts without downloading, extracting or decoding anything
        second.setattr("lirf_kit.data.decoding._decode_all", None)
        second.setattr("tarfile.open", None)
        assert torch.equal(lk.load_dataset(config).images, data.images)


def test_without_the_box_the_middle_of_the_whole_picture_is_kept(cub):
    images = SOURCES["cub200"](cub().replace(crop_to_box=False)).images
    # of 32×48 columns 8 to 39 are kept, and halved: the box of columns 0 to 15 fills 0 to 3, that of 16 to 31 4 to 11
    assert images[0, :, 9:, :3].min() > grey_of(0) - 8 and images[0, :, :, 5:].max() < 10
    assert images[1, :, 9:, 5:11].min() > grey_of(1) - 8 and images[1, :, :, :3].max() < 10
    assert images[:, :, :7].max() < 10


def edited(name, old, new):
    assert old in cub_index()[name]
    return {name: cub_index()[name].replace(old, new)}


SPOILT = {
    "label of another class": (
        edited("image_class_labels.txt", b"\n4 1\n", b"\n4 2\n"),
        "image 4 of CUB-200-2011 must have the class of its folder, not class 2",
    ),
    "label of no class": (edited("image_class_labels.txt", b"\n4 1\n", b"\n4 9\n"), "image 4 .* not class 9"),
    "line missing": (
        edited("train_test_split.txt", b"12 1\n", b""),
        "train_test_split.txt must have one line for each",
    ),
    "line too many": (edited("bounding_boxes.txt", b"\n12 ", b"\n13 1 1 1 1\n12 "), "bounding_boxes.txt must have one"),
    "no line": ({"image_class_labels.txt": b""}, "image_class_labels.txt must have one line for each"),
    "not a list": ({"images.txt": b"birds\n"}, "the index of CUB-200-2011 in .* can't be read"),
    "no text": ({"images.txt": b"\xff\xfe\n"}, "the index of CUB-200-2011 in .* can't be read"),
    "box without numbers": (edited("bounding_boxes.txt", b"\n2 16.0", b"\n2 left"), "the index of .* can't be read"),
    "box of three numbers": (edited("bounding_boxes.txt", b"\n2 16.0", b"\n2"), "the index of .* can't be read"),
    "infinite box": (
        edited("bounding_boxes.txt", b"\n2 16.0", b"\n2 inf"),
        "a box must have finite numbers, not .*inf",
    ),
    "box without end": (edited("bounding_boxes.txt", b" 16.0\n3 ", b" 1e999\n3 "), "a box must have finite numbers"),
    "box that is no number": (edited("bounding_boxes.txt", b"\n2 16.0", b"\n2 NaN"), "a box must have finite numbers"),
    "neither train nor test": (edited("train_test_split.txt", b"12 1\n", b"12 2\n"), "the index of .* can't be read"),
}


@pytest.mark.parametrize("changes, sentence", SPOILT.values(), ids=SPOILT)
def test_an_index_that_does_not_fit_is_refused(cub, changes, sentence):
    with pytest.raises(lk.LirfError, match=sentence):
        SOURCES["cub200"](cub(changes))


@pytest.mark.parametrize("name", [f"images/{IMAGES[5]}", "classes.txt"])
def test_a_file_that_is_missing_is_named(cub, root, name):
    config = cub()
    SOURCES["cub200"](config)
    (root / "CUB_200_2011" / name).unlink()
    with pytest.raises(lk.LirfError, match=name.replace(".", r"\.")):
        SOURCES["cub200"](config)


def old_python(monkeypatch):
    """Python 3.11.0 to 3.11.3 knew no filters of archives, and wrote whatever it was told to."""
    trusting = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
    extractall = tarfile.TarFile.extractall

    def extractall_without_filters(self, path=".", members=None, *, numeric_owner=False):
        extractall(self, path, members, numeric_owner=numeric_owner, **trusting)

    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    monkeypatch.setattr(tarfile.TarFile, "extractall", extractall_without_filters)


def test_an_old_python_extracts_the_same(cub, root, monkeypatch):
    old_python(monkeypatch)
    config = cub()
    assert len(SOURCES["cub200"](config).labels) == 12
    members = cub_members({})
    del members["attributes.txt"]
    assert all((root / name).read_bytes() == content for name, content in members.items())
    assert not (root / "attributes.txt").exists()


LINKS_AND_DEVICES = {
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "pipe": tarfile.FIFOTYPE,
}


@pytest.mark.parametrize("kind", LINKS_AND_DEVICES.values(), ids=LINKS_AND_DEVICES)
def test_an_old_python_refuses_links_and_devices(tmp_path, monkeypatch, kind):
    old_python(monkeypatch)
    info = tarfile.TarInfo("CUB_200_2011/images")
    info.type, info.linkname = kind, "../.."
    with tarfile.open(tmp_path / "archive.tar", "w") as tar:
        tar.addfile(info)
    (tmp_path / "here").mkdir()
    with (
        tarfile.open(tmp_path / "archive.tar") as tar,
        pytest.raises(tarfile.TarError, match="CUB_200_2011/images' is not a plain file"),
    ):
        datasets._extract(tar, tmp_path / "here")
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("member", ["/evil", "C:/evil", "C:evil", "..\\evil", "\\evil", "images/.."])
def test_an_old_python_refuses_paths_that_lead_away_on_any_system(tmp_path, monkeypatch, member):
    old_python(monkeypatch)
    (tmp_path / "here").mkdir()
    with (
        tarfile.open(fileobj=io.BytesIO(archive_of({member: b"evil"}))) as tar,
        pytest.raises(tarfile.TarError, match="outside"),
    ):
        datasets._extract(tar, tmp_path / "here")
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("python", [lambda _: None, old_python], ids=["this Python", "old Python"])
@pytest.mark.parametrize("member", ["../evil", "CUB_200_2011/../../evil"])
def test_an_archive_that_would_write_elsewhere_is_refused_and_leaves_nothing(
    web, monkeypatch, cub, root, member, python
):
    python(monkeypatch)
    config = cub()
    archive = archive_of(cub_members({}) | {member: b"evil"})
    with monkeypatch.context() as evil:
        evil.setitem(web, datasets.CUB_URL, (archive,))
        evil.setattr(datasets, "CUB_MD5", md5(archive))
        with pytest.raises(lk.LirfError, match="CUB-200-2011 can't be downloaded or unpacked: .*outside"):
            SOURCES["cub200"](config)
    assert sorted(path.name for path in root.iterdir() if path.suffix != ".lock") == ["CUB_200_2011.tgz"]
    assert not list(root.parent.rglob("evil"))
    assert len(SOURCES["cub200"](config).labels) == 12


@pytest.mark.parametrize("spoil", BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_of_cub_is_refused_in_a_sentence_and_never_used(cub, web, root, spoil):
    config = cub()
    (archive,) = web[datasets.CUB_URL]
    web[datasets.CUB_URL] = (spoil(archive),)
    assert len(refused_then_had(config, web, datasets.CUB_URL, archive).labels) == 12


@pytest.mark.parametrize("error", BREAKS, ids=repr)
def test_a_download_of_cub_that_stops_half_way_is_begun_again(cub, web, error):
    config = cub()
    (archive,) = web[datasets.CUB_URL]
    web[datasets.CUB_URL] = (archive[: len(archive) // 2], error)
    assert len(refused_then_had(config, web, datasets.CUB_URL, archive).labels) == 12


def test_an_extraction_that_breaks_off_leaves_nothing_that_is_used(cub, web, root, monkeypatch):
    config = cub()
    for error, raised in (
        (OSError(28, "No space left on device"), lk.LirfError),
        (KeyboardInterrupt, KeyboardInterrupt),
    ):

        def full(*_, error=error):
            raise error

        with monkeypatch.context() as broken, pytest.raises(raised):
            broken.setattr(tarfile.TarFile, "makefile", full)
            SOURCES["cub200"](config)
        assert not (root / "CUB_200_2011").exists() and not list(root.glob(".extracting*"))
    assert len(SOURCES["cub200"](config).labels) == 12


CUB_INDEX = os.environ.get("LIRF_KIT_CUB_INDEX")  # a folder CUB_200_2011 with the official index, images or not


@pytest.mark.skipif(not CUB_INDEX, reason="LIRF_KIT_CUB_INDEX names no folder with the official index")
def test_the_official_index_is_of_11788_images_of_200_birds(root):
    folder = root / "CUB_200_2011"
    folder.mkdir(parents=True)
    for name in datasets.CUB_FILES:
        shutil.copy(Path(CUB_INDEX, name), folder)
    picture = cub_picture(0)
    for line in (folder / "images.txt").read_text().splitlines():
        file = folder / "images" / line.split(" ")[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
    data = lk.load_dataset(lk.preset("cub200").replace(device="cpu", image_size=4, validation_fraction=0.1))
    assert data.images.shape == (11_788, 3, 4, 4)
    assert len(data.test_indices) == 5_794 and len(data.train.labels) + len(data.validation.labels) == 5_994
    assert len(data.class_names) == 200 and data.labels.unique().tolist() == list(range(200))
    assert data.class_names[0] == "Black footed Albatross" and data.class_names[199] == "Common Yellowthroat"
