"""Your own images, and how image files are decoded and kept."""

import importlib.util
import io
import json
import os
import re
import shutil
import threading
from pathlib import Path

import numpy
import PIL.Image
import pytest
import torch

import lirf_kit as lk
from lirf_kit.data import decoding, sources as datasets
from lirf_kit.data.decoding import decode

SIZE = 8


def colour(number):
    """Each picture has a colour of its own, which tells it apart."""
    return (number * 5, 255 - number * 5, 7)


def plain(number, mode="RGB", size=(12, 12)):
    return PIL.Image.new("RGB", size, colour(number)).convert(mode)


@pytest.fixture
def own(tmp_path):
    """A folder of 2 classes: 7 pictures each to train on, 2 each to test on, all PNG."""
    names = [f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(7)]
    names += [f"test/{name}/{number}.png" for name in ("cat", "dog") for number in range(2)]
    for number, name in enumerate(names):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plain(number).save(path)
    return tmp_path / "own"


@pytest.fixture
def config(config, own):
    return config.replace(dataset="folder", folder=str(own), image_size=SIZE)


@pytest.fixture
def source(config):
    return lambda **knobs: datasets.folder(config.replace(**knobs))


@pytest.fixture
def no_decoding(monkeypatch):
    """A switch: from then on nothing may be decoded."""

    def refuse(*_):
        raise AssertionError("decoded")

    return lambda: monkeypatch.setattr(decoding, "_decode_all", refuse)


def kept_in(root):
    """What lies in a folder of data, but for locks."""
    return [path for path in root.iterdir() if path.suffix != ".lock"]


def assert_are(images, numbers):
    assert images.shape == (len(numbers), 3, SIZE, SIZE) and images.dtype == numpy.uint8
    for image, number in zip(images, numbers):
        assert (image == numpy.array(colour(number))[:, None, None]).all()


def test_every_picture_comes_with_its_label_its_part_and_its_class_s_name(source, config):
    found = source()
    assert_are(found.images, range(18))
    assert found.labels.tolist() == [0] * 7 + [1] * 7 + [0] * 2 + [1] * 2
    assert found.is_test.tolist() == [False] * 14 + [True] * 4
    data = lk.load_dataset(config)
    assert data.class_names == ("cat", "dog") and data.test_indices.tolist() == [14, 15, 16, 17]
    assert data.images.dtype == torch.uint8 and data.images.device.type == "cpu"


def test_without_a_test_part_a_stratified_one_is_held_out(config, own):
    (own / "test").rename(own.parent / "away")
    data = lk.load_dataset(config.replace(test_fraction=0.3))
    assert len(data.images) == 14
    assert sorted(data.test.labels.tolist()) in ([0, 0, 1, 1, 1], [0, 0, 0, 1, 1])  # 0.3 · 14 = 4.2, rounded up
    assert set(data.train.labels.tolist()) == set(data.validation.labels.tolist()) == {0, 1}


def test_kinds_and_sizes_may_be_mixed(own, source):
    cat = own / "train" / "cat"
    plain(0, size=(31, 9)).save(cat / "0.png")
    plain(1, "L", (3, 5)).save(cat / "1.png")
    plain(2, "RGBA", (50, 200)).save(cat / "2.png")
    plain(3, "P").save(cat / "3.png")
    (cat / "4.png").unlink()
    plain(4).save(cat / "4.JPEG", quality=95)
    images = source().images
    assert_are(images[[0, 2, 5, 17]], [0, 2, 5, 17])
    assert len(set(images[1].flatten())) == 1  # grey: the same level in all three channels
    assert abs(images[4].astype(int) - numpy.array(colour(4))[:, None, None]).max() <= 4


def test_grey_pictures_keep_one_channel(own, source, config):
    for number, path in enumerate(sorted(own.rglob("*.png"))):
        PIL.Image.new("L", (12, 12), number).save(path)
    images = source().images
    assert images.shape == (18, 1, SIZE, SIZE)
    assert images[:, 0, 0, 0].tolist() == [*range(4, 18), *range(4)]  # test/ is sorted before train/
    assert lk.load_dataset(config).images.shape == (18, 1, SIZE, SIZE)


def test_16_bits_of_grey_are_scaled_to_8(tmp_path):
    levels = numpy.array([[0, 257, 32896, 65535]] * 4, dtype=numpy.uint16)  # 65535 = 255 · 257, 32896 = 128 · 257
    PIL.Image.fromarray(levels).save(tmp_path / "deep.png")
    images, _ = decode([tmp_path / "deep.png"], 4, tmp_path / "cache")
    assert images.shape == (1, 1, 4, 4) and images[0, 0, 0].tolist() == [0, 1, 128, 255]


def test_the_crop_to_a_box_keeps_exactly_its_pixels(tmp_path):
    pixels = numpy.random.default_rng(0).integers(256, size=(9, 11, 3), dtype=numpy.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "picture.png")
    images, _ = decode([tmp_path / "picture.png"] * 2, 4, tmp_path, [(3.0, 2.0, 4.0, 4.0), (5.0, 1.0, 4.0, 6.0)])
    assert numpy.array_equal(images[0], pixels[2:6, 3:7].transpose(2, 0, 1))
    assert numpy.array_equal(images[1], pixels[2:6, 5:9].transpose(2, 0, 1))  # of 6 rows the middle 4


def test_the_middle_of_a_long_picture_is_kept(tmp_path):
    pixels = numpy.zeros((8, 24), numpy.uint8)
    pixels[:, 8:16] = 255
    PIL.Image.fromarray(pixels).save(tmp_path / "wide.png")
    PIL.Image.fromarray(pixels.T.copy()).save(tmp_path / "high.png")
    images, _ = decode([tmp_path / "wide.png", tmp_path / "high.png"], 8, tmp_path)
    assert (images == 255).all()


def jpeg(path, size, exif):
    """A picture whose left half is red and whose right half is blue, as it is stored."""
    image = PIL.Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    image.save(path, "JPEG", quality=95, subsampling=0, exif=exif)
    return path


def turned(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


RED_LEFT, RED_ABOVE, RED_RIGHT, RED_BELOW = "left", "above", "right", "below"


def red_side(image):
    """On which side a picture, (3, H, W), is red and not blue."""
    middle = image.shape[1] // 2
    halves = {
        RED_LEFT: image[:, :, :middle],
        RED_ABOVE: image[:, :middle],
        RED_RIGHT: image[:, :, middle:],
        RED_BELOW: image[:, middle:],
    }
    (side,) = [name for name, half in halves.items() if half[0].min() > 200 and half[2].max() < 60]
    return side


@pytest.mark.parametrize("orientation, side", [(1, RED_LEFT), (3, RED_RIGHT), (6, RED_ABOVE), (8, RED_BELOW)])
def test_a_photograph_is_turned_as_its_camera_noted(tmp_path, orientation, side):
    file = jpeg(tmp_path / "photograph.jpg", (16, 16), turned(orientation))
    images, _ = decode([file], 16, tmp_path / "cache")
    assert red_side(images[0]) == side


def test_a_box_is_of_the_picture_as_it_is_stored_and_its_cutting_is_turned(tmp_path):
    file = jpeg(tmp_path / "photograph.jpg", (64, 16), turned(6))
    images, _ = decode([file] * 2, 16, tmp_path / "cache", [(24.0, 0.0, 16.0, 16.0), (48.0, 0.0, 16.0, 16.0)])
    assert red_side(images[0]) == RED_ABOVE
    assert images[1][2].min() > 200  # the right end is blue all over


DAMAGED_NOTES = {
    "no TIFF": b"Exif\0\0" + b"nonsense" * 4,
    "cut off": turned(6)[:-8],
    "header only": turned(6)[:10],
    "offset beyond the end": turned(6)[:10] + b"\xff" * 4 + turned(6)[14:],
    "no such orientation": turned(77),
    "orientation that is text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x03\0\0\0up\0\0\0\0\0\0",
    "empty": b"Exif\0\0",
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", DAMAGED_NOTES.values(), ids=DAMAGED_NOTES)
def test_damaged_notes_of_a_camera_cost_nothing_but_the_turning(tmp_path, exif):
    images, kept = decode([jpeg(tmp_path / "photograph.jpg", (16, 16), exif)], 16, tmp_path / "cache")
    assert kept.tolist() == [0] and red_side(images[0]) in (RED_LEFT, RED_ABOVE)


def test_whatever_damaged_notes_raise_the_picture_is_kept(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    images, _ = decode([jpeg(tmp_path / "photograph.jpg", (16, 16), turned(6))], 16, tmp_path / "cache")
    assert red_side(images[0]) == RED_LEFT


def test_a_picture_as_thin_as_a_line_costs_no_more_than_another(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 60_000)  # scaled as a whole it would be of 64 · 64 · 50,000
    PIL.Image.new("RGB", (50_000, 1), colour(3)).save(tmp_path / "line.png")
    sizes, resize = [], PIL.Image.Image.resize

    def watched(self, size, *arguments):
        sizes.append(size)
        return resize(self, size, *arguments)

    monkeypatch.setattr(PIL.Image.Image, "resize", watched)
    images, _ = decode([tmp_path / "line.png"], 64, tmp_path)
    assert (images[0, :, 0, 0] == colour(3)).all() and sizes == [(64, 64)]


def test_a_folder_that_is_not_set_is_said_to_be_so(source):
    with pytest.raises(lk.LirfError, match="^folder must be set for dataset='folder': "):
        source(folder="")


WRONG_FOLDERS = {
    "no such folder": (lambda own: own.rename(own.parent / "gone"), "at least two classes, as .*train/<class>.*not 0"),
    "no image": (
        lambda own: [path.unlink() for path in own.rglob("*.png")],
        "images of each class, but .*cat has none",
    ),
    "one class": (lambda own: (own / "train" / "dog").rename(own / "dog"), "at least two classes, .*, not 1"),
    "a class missing in test": (lambda own: (own / "test" / "dog").rename(own / "dog"), "'dog' is in only one of them"),
    "a class only in test": (lambda own: (own / "test" / "eel").mkdir(), "'eel' is in only one of them"),
    "an empty class": (lambda own: [path.unlink() for path in (own / "test" / "dog").iterdir()], "test/dog has none"),
}


@pytest.mark.parametrize("spoil, sentence", WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_a_folder_of_another_shape_is_refused(own, source, spoil, sentence):
    spoil(own)
    with pytest.raises(lk.LirfError, match=f"^folder must have {sentence}|^folder must have .*{sentence}"):
        source()


def test_hidden_files_and_files_beside_the_classes_are_nobody_s_image(own, source):
    (own / "train" / "cat" / ".DS_Store").write_text("hidden")
    (own / "train" / ".ipynb_checkpoints").mkdir()
    (own / "train" / "notes.txt").write_text("hidden")
    (own / "train" / "cat" / "more").mkdir()
    found = source()
    assert_are(found.images, range(18))
    assert found.class_names == ("cat", "dog")


def half(path):
    path.write_bytes(path.read_bytes()[:-30])


def half_a_jpeg(path):
    noise = numpy.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=numpy.uint8)
    PIL.Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


UNREADABLE = {
    "text": lambda path: path.write_text("no image"),
    "empty": lambda path: path.write_bytes(b""),
    "half a PNG": half,
    "half a JPEG": half_a_jpeg,
    "large": lambda path: plain(0, size=(15, 15)).save(path),  # 225 pixels: more than the limit below
    "huge": lambda path: plain(0, size=(30, 30)).save(path),  # and more than twice the limit
}


@pytest.mark.parametrize("spoil", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_named_or_left_out_if_asked_for(own, source, monkeypatch, spoil):
    if spoil in (UNREADABLE["large"], UNREADABLE["huge"]):
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 200)
    file = own / "train" / "cat" / "5.png"
    spoil(file)
    with pytest.raises(lk.LirfError, match=rf"^{file} can't be read as an image \(.*skip_unreadable=True"):
        source()
    with pytest.warns(UserWarning, match=f"^1 of 18 files can't be read and are left out: {file}$"):
        found = source(skip_unreadable=True)
    left = [*range(5), *range(6, 18)]
    assert_are(found.images, left)
    assert found.labels.tolist() == [0] * 6 + [1] * 7 + [0] * 2 + [1] * 2
    assert found.is_test.tolist() == [False] * 13 + [True] * 4


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_a_class_of_which_nothing_can_be_read_is_named_also_when_such_files_are_left_out(own, source):
    for file in (own / "test" / "dog").iterdir():
        file.write_text("no image")
    with pytest.raises(
        lk.LirfError, match="^folder must have images of each class, but none in .*test/dog can be read"
    ):
        source(skip_unreadable=True)


# what is kept


def test_the_second_time_nothing_is_decoded(source, no_decoding, recwarn):
    first = source()
    no_decoding()
    again = source()
    assert numpy.array_equal(again.images, first.images) and numpy.array_equal(again.labels, first.labels)
    assert isinstance(again.images, numpy.memmap) and not recwarn.list


def test_what_is_done_to_loaded_images_stays_in_memory(source):
    source()
    source().images[:] = 0
    assert_are(source().images, range(18))


def test_a_left_out_file_stays_left_out_the_second_time(own, source, no_decoding):
    (own / "train" / "cat" / "5.png").write_text("no image")
    with pytest.warns(UserWarning, match="left out: .*cat/5.png$"):
        first = source(skip_unreadable=True)
    no_decoding()
    with pytest.warns(UserWarning, match="^1 of 18 files .* left out: .*cat/5.png$"):  # and is named again
        again = source(skip_unreadable=True)
    assert numpy.array_equal(again.images, first.images) and numpy.array_equal(again.labels, first.labels)
    with pytest.raises(AssertionError, match="decoded"):  # but only for who asked for it
        source()


def test_of_many_left_out_files_three_are_named(own, source):
    files = [own / "train" / "cat" / f"{number}.png" for number in (1, 2, 4, 5)]
    for file in files:
        file.write_text("no image")
    names = ", ".join(str(file) for file in files[:3])
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"^4 of 18 files can't be read and are left out: {names}, …$"):
            source(skip_unreadable=True)


def other_decoder(path, edit):
    """The decoder from a copy of its file, with something added."""
    path.write_bytes(Path(decoding.__file__).read_bytes() + edit)
    spec = importlib.util.spec_from_file_location("other_decoding", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("edit, finds", [(b"", True), (b"\n# edited\n", False)], ids=["the same", "edited"])
def test_an_edited_decoder_finds_nothing_of_what_another_made(source, monkeypatch, tmp_path, edit, finds):
    source()
    other, decoded = other_decoder(tmp_path / "other.py", edit), []

    def watched(*arguments):
        decoded.append(arguments)
        return decode_all(*arguments)

    decode_all = decoding._decode_all
    monkeypatch.setattr(other, "_decode_all", watched)
    monkeypatch.setattr("lirf_kit.data.sources.decode", other.decode)
    assert_are(source().images, range(18))
    assert len(decoded) == (0 if finds else 1)


def test_another_pillow_finds_nothing_of_what_this_one_made(source, monkeypatch, no_decoding):
    source()
    no_decoding()
    source()
    monkeypatch.setattr("PIL.__version__", "99.0")
    with pytest.raises(AssertionError, match="decoded"):
        source()


def test_a_second_process_waits_for_the_first_and_decodes_nothing(source, tmp_path, monkeypatch, recwarn):
    begun, go_on, decoded, found = threading.Event(), threading.Event(), [], []
    decode_all = decoding._decode_all

    def slowly(*arguments):
        decoded.append(arguments)
        begun.set()
        go_on.wait(30)
        return decode_all(*arguments)

    monkeypatch.setattr(decoding, "_decode_all", slowly)
    first, second = (threading.Thread(target=lambda: found.append(source()), daemon=True) for _ in range(2))
    first.start()
    assert begun.wait(30)
    second.start()
    second.join(0.3)
    assert second.is_alive() and len(decoded) == 1
    go_on.set()
    first.join(30)
    second.join(30)
    assert len(found) == 2 and len(decoded) == 1 and len(kept_in(tmp_path / "data")) == 1
    assert_are(found[0].images, range(18))
    assert_are(found[1].images, range(18))
    assert not recwarn.list


def test_other_folders_need_not_wait(own, source, tmp_path):
    shutil.copytree(own, tmp_path / "other own")
    with datasets._locked(tmp_path / "data", "folder-of another"):
        assert_are(source(folder=str(tmp_path / "other own")).images, range(18))


def test_who_comes_second_where_there_are_no_locks_does_not_warn(source, monkeypatch, recwarn):
    def rename(made, folder):
        shutil.copytree(made, folder)  # as the first one does at the same moment
        raise OSError(39, "Directory not empty")

    def no_locks(_):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    monkeypatch.setattr("os.rename", rename)
    assert_are(source().images, range(18))
    assert not recwarn.list


CHANGES = {
    "another picture": lambda own: plain(40).save(own / "train" / "cat" / "0.png"),
    "a picture more": lambda own: plain(40).save(own / "train" / "cat" / "1a.png"),
    "a picture less": lambda own: (own / "train" / "cat" / "0.png").unlink(),
    "another class": lambda own: (own / "test" / "cat" / "0.png").rename(own / "test" / "dog" / "2.png"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_files_are_decoded_anew(own, source, monkeypatch, change):
    source()
    change(own)
    found = source()
    fresh = source(data_root=str(own.parent / "another root"))
    assert numpy.array_equal(found.images, fresh.images) and numpy.array_equal(found.labels, fresh.labels)


def test_another_size_is_decoded_anew(source):
    assert source().images.shape[2:] == (SIZE, SIZE)
    assert source(image_size=5).images.shape[2:] == (5, 5)


def half_of(name):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])

    return damage


DAMAGES = {
    "images cut off": half_of("images.npy"),
    "images empty": lambda folder: (folder / "images.npy").write_bytes(b""),
    "images missing": lambda folder: (folder / "images.npy").unlink(),
    "no array": lambda folder: (folder / "images.npy").write_text("no array"),
    "an array less": lambda folder: numpy.save(folder / "kept.npy", numpy.arange(17)),
    "kept empty": lambda folder: (folder / "kept.npy").write_bytes(b""),
    "note edited": lambda folder: (folder / "note.json").write_text(json.dumps({"key": "0"})),
    "note of another kind": lambda folder: (folder / "note.json").write_text("[]"),
    "note cut off": half_of("note.json"),
    "note not text": lambda folder: (folder / "note.json").write_bytes(b"\xff\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_named_and_made_again(source, tmp_path, no_decoding, damage):
    source()
    (folder,) = kept_in(tmp_path / "data")
    damage(folder)
    with pytest.warns(UserWarning, match=f"^{re.escape(str(folder))} can't be used and is made again"):
        assert_are(source().images, range(18))
    no_decoding()
    assert_are(source().images, range(18))


def breaks(number, sentence):
    def broken(file=None, *_, **__):
        if file is not None and not os.path.isdir(file):  # a file was begun
            with open(file, "wb") as half_made:
                half_made.write(b"half")
        raise OSError(number, sentence)

    return broken


@pytest.mark.parametrize("moment", ["numpy.save", "os.rename", "pathlib.Path.write_text", "tempfile.mkdtemp"])
@pytest.mark.parametrize("number, sentence", [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_disk_that_is_full_or_read_only_costs_the_cache_and_not_the_images(
    source, tmp_path, monkeypatch, recwarn, no_decoding, moment, number, sentence
):
    with monkeypatch.context() as full:
        full.setattr(moment, breaks(number, sentence))
        with pytest.warns(
            UserWarning, match=f"can't be kept in .*{sentence}; choose another folder with data_root or LIRF_KIT_DATA"
        ):
            assert_are(source().images, range(18))
    assert not kept_in(tmp_path / "data")
    recwarn.clear()
    assert_are(source().images, range(18))
    no_decoding()
    assert_are(source().images, range(18))
    assert not recwarn.list


def test_a_cache_that_is_no_folder_costs_the_cache_and_not_the_images(source, tmp_path):
    (tmp_path / "taken").write_text("keep me")
    with pytest.warns(UserWarning, match="can't be kept in"):
        assert_are(source(data_root=str(tmp_path / "taken")).images, range(18))
    assert (tmp_path / "taken").read_text() == "keep me"


@pytest.mark.parametrize("moment", ["numpy.save", "os.rename"])
def test_a_crash_while_keeping_leaves_nothing_that_is_found(source, tmp_path, monkeypatch, recwarn, moment):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(moment, die)
        source()
    assert not kept_in(tmp_path / "data")
    assert_are(source().images, range(18))
    assert not recwarn.list


def test_many_files_are_decoded_in_order_by_several_processes(tmp_path):
    count = 2 * decoding.CHUNK + 44  # three chunks
    levels = numpy.arange(count) * 7919 % 65536
    files = [tmp_path / f"{number}.png" for number in range(count)]
    for file, level in zip(files, levels):
        packed = io.BytesIO()
        PIL.Image.new("RGB", (4, 4), (int(level) // 256, int(level) % 256, 5)).save(packed, "PNG", compress_level=0)
        file.write_bytes(packed.getvalue())
    images, kept = decode(files, 4, tmp_path / "cache")
    assert numpy.array_equal(images[:, 0, 3, 3].astype(int) * 256 + images[:, 1, 3, 3], levels)
    assert kept.tolist() == list(range(count))
    for number in (300, 400):
        files[number].write_text("no image")
    with pytest.raises(lk.LirfError, match="300.png can't be read as an image"):
        decode(files, 4, tmp_path / "cache")
    with pytest.warns(UserWarning, match=f"^2 of {count} files"):
        images, kept = decode(files, 4, tmp_path / "cache", skip_unreadable=True)
    assert numpy.array_equal(images[:, 0, 3, 3].astype(int) * 256 + images[:, 1, 3, 3], levels[kept])
    assert sorted(set(range(count)) - set(kept.tolist())) == [300, 400]


def test_a_tilde_is_the_home_folder(source, own, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(source(folder="~/own", data_root="~/kept").labels) == 18
    assert (tmp_path / "kept").is_dir()
