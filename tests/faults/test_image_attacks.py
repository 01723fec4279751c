"""Image files that are damaged, foreign, ambiguous or not there; and what was decoded, when it is damaged."""

import io
import os
import warnings

import numpy
import PIL.Image
import PIL.TiffImagePlugin
import pytest

import lirf_kit as lk
from lirf_kit.data.decoding import FORMATS, decode

SIZE = 8
PIXELS = numpy.random.default_rng(0).integers(256, size=(24, 24, 3), dtype=numpy.uint8)


def packed(kind, image=None):
    """An image file's bytes."""
    file = io.BytesIO()
    (image or PIL.Image.fromarray(PIXELS)).save(file, kind)
    return file.getvalue()


def damaged(content, draw):
    """The content with some bytes changed, cut out or doubled, or with its end cut off."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8])):
        content[draw.randrange(len(content))] = draw.randrange(256)
    place, length = draw.randrange(len(content)), draw.randrange(1, 20)
    if draw.random() < 0.3:
        content[place : place + length] = content[place : place + length] * draw.randrange(3)
    return bytes(content[: draw.randrange(1, len(content))] if draw.random() < 0.2 else content)


def is_image(array):
    return array.dtype == numpy.uint8 and array.shape in [(1, 1, SIZE, SIZE), (1, 3, SIZE, SIZE)]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_image_is_an_image_or_a_sentence(faults, tmp_path, kind):
    content, file = packed(kind), tmp_path / "picture.jpg"
    for number in range(faults.many(30, 90)):
        file.write_bytes(damaged(content, faults.draw))
        with faults.fault(f"{kind} {number}"):
            found, kept = decode([file], SIZE, tmp_path / f"cache {number}")
            if not is_image(found) or kept.tolist() != [0]:
                faults.lost(f"{kind} {number}: {found.shape}")


@pytest.mark.parametrize("kind", ["AVIF", "BLP", "DDS", "EPS", "ICNS", "ICO", "IM", "PCX", "SGI", "SPIDER", "TGA"])
def test_a_format_that_nobody_promised_is_refused_whatever_its_name(faults, tmp_path, kind):
    file, image = tmp_path / "holiday.jpg", PIL.Image.fromarray(PIXELS)
    grey = image.convert("L").convert("F") if kind == "SPIDER" else image
    try:
        file.write_bytes(packed(kind, grey.convert("P") if kind == "BLP" else grey))
    except (OSError, KeyError, ValueError):
        pytest.skip(f"this Pillow writes no {kind}")
    with faults.fault(kind):
        with pytest.raises(lk.LirfError, match="holiday.jpg can't be read as an image .*cannot identify"):
            decode([file], SIZE, tmp_path / "cache")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images, kept = decode([file], SIZE, tmp_path / "cache", skip_unreadable=True)
        assert not len(images) and not len(kept)


LEVELS = numpy.array([[0, 257, 32896, 65535]] * 4, dtype=numpy.uint16)  # 65535 = 255 · 257, 32896 = 128 · 257


def big_endian(path):
    image = PIL.Image.frombytes("I;16B", (4, 4), LEVELS.astype(">u2").tobytes())
    image.save(path, "TIFF")
    assert PIL.Image.open(path).mode == "I;16B"


DEEP = {
    "PNG": lambda path: PIL.Image.fromarray(LEVELS).save(path, "PNG"),
    "TIFF": lambda path: PIL.Image.fromarray(LEVELS).save(path, "TIFF"),
    "big-endian TIFF": big_endian,
}


@pytest.mark.parametrize("write", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("box", [None, [(0.0, 0.0, 4.0, 4.0)]], ids=["whole", "box"])
def test_16_bits_are_scaled_in_any_byte_order(faults, tmp_path, write, box):
    write(tmp_path / "deep")
    with faults.fault("16 bits"):
        images, _ = decode([tmp_path / "deep"], 4, tmp_path / "cache", box)
    assert images.shape == (1, 1, 4, 4) and images[0, 0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind, said", [(numpy.float32, "floating-point"), (numpy.int32, "32-bit whole")])
def test_numbers_whose_white_nobody_knows_are_refused(faults, tmp_path, kind, said):
    PIL.Image.fromarray(numpy.ones((4, 4), kind)).save(tmp_path / "map.tif")
    with faults.fault(said), pytest.raises(lk.LirfError, match=f"map.tif can't be read .*{said} numbers.*8 or 16 bits"):
        decode([tmp_path / "map.tif"], 4, tmp_path / "cache")


@pytest.fixture
def own(tmp_path, config):
    """A config of a folder with two classes of four pictures."""
    for name in ("cat", "dog"):
        (tmp_path / "own" / "train" / name).mkdir(parents=True)
        for number in range(4):
            PIL.Image.fromarray(PIXELS + number).save(tmp_path / "own" / "train" / name / f"{number}.png")
    return config.replace(
        dataset="folder", folder=str(tmp_path / "own"), image_size=SIZE, test_fraction=0.5, validation_fraction=0.5
    )


@pytest.mark.parametrize("target", ["nowhere", "4.png"])
def test_a_link_that_leads_nowhere_is_named(faults, own, tmp_path, target):
    os.symlink(target, tmp_path / "own" / "train" / "cat" / "4.png")  # to itself, in the second case
    with faults.fault(target):
        with pytest.raises(lk.LirfError, match="cat/4.png can't be read as an image"):
            lk.load_dataset(own)
        with pytest.warns(UserWarning, match="1 of 9 files can't be read and are left out: .*cat/4.png"):
            assert len(lk.load_dataset(own.replace(skip_unreadable=True)).images) == 8


def test_a_link_to_a_changed_picture_is_decoded_again(faults, own, tmp_path):
    picture, link = tmp_path / "picture.png", tmp_path / "own" / "train" / "cat" / "4.png"
    PIL.Image.fromarray(PIXELS).save(picture)
    os.symlink(picture, link)
    before = lk.load_dataset(own).images[4]
    with faults.fault("changed"):
        PIL.Image.new("RGB", (24, 24)).save(picture)
        assert not lk.load_dataset(own).images[4].any() and before.any()


def test_names_that_are_not_utf_8_are_read_and_can_be_printed(faults, own, tmp_path):
    folder = os.fsencode(tmp_path / "own" / "train")
    try:
        os.rename(os.path.join(folder, b"dog"), os.path.join(folder, b"caf\xe9"))
        os.rename(os.path.join(folder, b"cat", b"1.png"), os.path.join(folder, b"cat", b"\xff.png"))
    except OSError:
        pytest.skip("this file system has no such names")
    with faults.fault("names"):
        data = lk.load_dataset(own)
        assert data.class_names[0].encode() == b"caf\\udce9" and len(data.images) == 8
        with open(os.path.join(folder, b"cat", b"\xff.png"), "wb") as file:
            file.write(b"no image")
        with pytest.raises(lk.LirfError, match="udcff.png can't be read") as refused:
            lk.load_dataset(own)
        str(refused.value).encode()


def fails_with(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_that_cannot_be_listed_is_named(faults, own, monkeypatch, error):
    monkeypatch.setattr("pathlib.Path.iterdir", fails_with(error))
    with faults.fault("folder"), pytest.raises(lk.LirfError, match="^folder must be a folder that can be read, not "):
        lk.load_dataset(own)


@pytest.mark.parametrize("name", ["x" * 300, "y/" * 3000, "~nobody-of-this-name/pictures", "nul\0l"])
@pytest.mark.parametrize("knob", ["folder", "data_root"])
def test_a_path_that_cannot_be_is_named(faults, own, knob, name):
    with faults.fault(f"{knob} {name[:9]}"), pytest.raises(lk.LirfError, match=f"^{knob} must "):
        lk.load_dataset(own.replace(**{knob: name}, **({"dataset": "cifar10"} if knob == "data_root" else {})))


def test_decoded_images_are_what_was_decoded_or_are_decoded_again(faults, own, tmp_path):
    good = lk.load_dataset(own).images
    (folder,) = (tmp_path / "data").glob("decoded-*")
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    for number in range(faults.many(40, 500)):
        path, content = faults.draw.choice(sorted(kept.items()))
        content = bytearray(content)
        manner = faults.draw.choice(["flip", "zeros", "end"])
        if manner == "flip":
            content[faults.draw.randrange(len(content))] ^= 1 << faults.draw.randrange(8)
        elif manner == "zeros":
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        else:
            content = content[: faults.draw.randrange(len(content))]
        path.write_bytes(content)
        with faults.fault(f"{manner} in {path.name}"):
            if not (lk.load_dataset(own).images == good).all():
                faults.lost(f"{manner} in {path.name} {number}: other pixels")
        for name, whole in kept.items():
            name.write_bytes(whole)
