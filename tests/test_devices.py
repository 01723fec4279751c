import contextlib
import io
import math
import os
import re
import shutil
import sys

import pytest
import torch
from torch._inductor import exc

import lirf_kit as lk
from lirf_kit import devices

NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
NEEDS_A_COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="there is no C++ compiler"
)


@pytest.mark.parametrize(
    "precision, device, supported, expected",
    [
        ("auto", "cpu", True, False),
        ("auto", "mps", True, False),
        ("auto", "cuda", True, True),
        ("auto", "cuda", False, False),  # a GPU that only emulates it
        ("float32", "cuda", True, False),
        ("bfloat16", "cpu", False, True),
    ],
)
@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_autocast_is_for_gpus_that_have_bfloat16_or_where_it_is_asked_for(
    config, monkeypatch, precision, device, supported, expected
):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported
    )
    context = devices.autocast(config.replace(precision=precision), torch.device(device))
    assert isinstance(context, torch.autocast if expected else contextlib.nullcontext)
    assert not expected or context.fast_dtype == torch.bfloat16


def test_within_autocast_a_product_is_bfloat16_and_after_it_float32(config):
    matrix = torch.ones(2, 2)
    with devices.autocast(config.replace(precision="bfloat16"), torch.device("cpu")):
        assert (matrix @ matrix).dtype == torch.bfloat16
    assert (matrix @ matrix).dtype == torch.float32


def test_bfloat16_trains_and_deposits_with_weights_in_float32(tiny_data, tiny_parts, tiny, tiny_original):
    half = tiny.replace(precision="bfloat16")
    network = lk.train_original(tiny_data, half)
    target, module = lk.deposit(network, tiny_parts.deposit_set, half)
    for each in (network, target, module):
        assert {value.dtype for value in each.parameters()} == {torch.float32}
        assert all(value.isfinite().all() for value in each.parameters())
    loss, exact = network.history[-1]["loss"], tiny_original.history[-1]["loss"]
    assert loss != exact and loss == pytest.approx(exact, rel=0.05)


def test_without_a_compiler_training_is_not_compiled_and_says_so(
    tiny_data, tiny, tiny_original, same_weights, monkeypatch
):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch, "compile", None)
    with pytest.warns(UserWarning, match="^compile=True needs a C\\+\\+ compiler, .*not compiled"):
        network = lk.train_original(tiny_data, tiny.replace(compile=True))
    assert same_weights(network, tiny_original)


def test_with_a_compiler_full_batches_go_through_what_it_made(
    tiny_data, tiny, tiny_original, same_weights, monkeypatch, recwarn
):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    sizes = []
    monkeypatch.setattr(torch, "compile", lambda network: lambda images: sizes.append(len(images)) or network(images))
    network = lk.train_original(tiny_data, tiny.replace(compile=True))
    assert same_weights(network, tiny_original) and not recwarn.list
    assert sizes == [256] * (2 * (len(tiny_data.train) // 256))  # the last, smaller batch would be compiled anew


@NEEDS_A_COMPILER
def test_compiled_training_learns_what_eager_training_learns(tiny_data, tiny, monkeypatch, recwarn):
    compile_for_real, made = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda network: made.append(network) or compile_for_real(network))
    once = tiny.replace(epochs=1, batch_size=64)  # enough steps to tell a trained network from another
    (compiled,), (eager,) = (lk.train_original(tiny_data, once.replace(compile=each)).history for each in (True, False))
    assert len(made) == 1 and not [warning for warning in recwarn if "not compiled" in str(warning.message)]
    assert math.isfinite(compiled["loss"]) and compiled["loss"] == pytest.approx(eager["loss"], rel=1e-3)
    assert compiled["validation_accuracy"] == pytest.approx(eager["validation_accuracy"], abs=2)


NOT_COMPILED = r"^compile=True needs a working C\+\+ compiler: not compiled \(.+\)$"


@pytest.mark.skipif(os.name == "nt", reason="the compiler is a shell script")
def test_with_a_compiler_that_does_not_work_training_is_not_compiled_and_says_so(
    tiny_data, tiny, tiny_original, same_weights, tmp_path, monkeypatch
):
    import torch._inductor.config as inductor

    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(broken))
    set_up = inductor.patch({"cpp.cxx": (str(broken),), "force_disable_caches": True})
    with set_up, pytest.warns(UserWarning, match=NOT_COMPILED) as caught:
        network = lk.train_original(tiny_data, tiny.replace(compile=True))
    assert len([each for each in caught if "not compiled" in str(each.message)]) == 1
    assert same_weights(network, tiny_original)


def compiled_to_fail(monkeypatch, config, error, after=0):
    """Return a function that doubles, made of one whose compiled version raises an error, and that version's calls."""
    calls = []

    def fails(number):
        calls.append(number)
        if len(calls) > after:
            raise error
        return 2 * number

    def plain(number):
        return 2 * number

    def double(number):
        result, chosen[0] = devices.with_fallback(lambda function: function(number), chosen[0], plain)
        return result

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch, "compile", lambda function: fails)
    chosen = [devices.compiled(plain, config.replace(compile=True))]
    return double, calls


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("name", ["InvalidCxxCompiler", "CppCompileError", "TritonMissing"])
def test_what_a_compiler_raises_at_any_call_is_warned_of_once(config, monkeypatch, recwarn, name, after):
    kind = getattr(exc, name)
    error = kind.__new__(kind)  # their arguments differ
    double, calls = compiled_to_fail(monkeypatch, config, error, after)
    assert [double(number) for number in range(5)] == [0, 2, 4, 6, 8] and calls == list(range(after + 1))
    assert [re.match(NOT_COMPILED, str(each.message)) is not None for each in recwarn] == [True]


@pytest.mark.parametrize("error", [ValueError("of the network"), torch.OutOfMemoryError("CUDA out of memory")])
def test_what_no_compiler_raises_comes_through(config, monkeypatch, error):
    double, _ = compiled_to_fail(monkeypatch, config, error)
    with pytest.raises(type(error), match=str(error)):
        double(1)


class NotCompiled(torch.autograd.Function):
    """Does nothing, and has no backward pass, as if the compiler had failed there."""

    @staticmethod
    def forward(ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise exc.InductorError(exc.CppCompileError(["g++"], "killed"), None)


@pytest.mark.parametrize("after", [0, 3])
def test_training_goes_on_if_the_compiler_fails_later_or_in_the_backward_pass(
    tiny_data, tiny, tiny_original, monkeypatch, after
):
    calls = []

    def fails(network, images):
        calls.append(None)
        return network(images) if len(calls) <= after else NotCompiled.apply(network(images))

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch, "compile", lambda network: lambda images: fails(network, images))
    with pytest.warns(UserWarning, match=NOT_COMPILED) as caught:
        network = lk.train_original(tiny_data, tiny.replace(compile=True))
    assert len(caught) == 1 and len(calls) == after + 1
    for (name, ours), theirs in zip(network.named_parameters(), tiny_original.parameters()):
        assert torch.equal(ours, theirs), name  # that batch's statistics count twice in BatchNorm's running ones


class Pictures:
    """Stands for images: knows how many bytes they are, and says what is done with them."""

    def __init__(self, count):
        self.count = count

    def numel(self):
        return self.count

    def to(self, device):
        return f"on {device.type}"

    def pin_memory(self):
        return "pinned on the host"


@pytest.mark.parametrize(
    "images_on, share_of_free, expected",
    [
        ("auto", 0.4, "on cuda"),
        ("auto", 0.6, "pinned on the host"),
        ("device", 0.6, "on cuda"),
        ("host", 0.1, "pinned on the host"),
    ],
)
def test_images_live_on_the_device_where_they_fit(config, monkeypatch, capsys, images_on, share_of_free, expected):
    free = 2**32
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    images = Pictures(int(share_of_free * free / 3.5))  # the parts copy what they hold
    assert devices.place_images(images, config.replace(images_on=images_on), torch.device("cuda")) == expected
    said = "the images need 2.4 of the 4.0 GiB free on the device: they stay on the host and are streamed\n"
    assert capsys.readouterr().out == (said if (images_on, share_of_free) == ("auto", 0.6) else "")


@pytest.mark.parametrize("images_on", ["auto", "device", "host"])
def test_on_the_cpu_images_are_where_they_are(config, images_on):
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert devices.place_images(images, config.replace(images_on=images_on), torch.device("cpu")) is images


@NEEDS_A_GPU
def test_images_on_the_host_give_the_same_batches_and_the_same_network(tiny, same_weights):
    found = []
    for images_on in ("device", "host"):
        turned = tiny.replace(device="cuda", images_on=images_on, crop_padding=1, flip=True, precision="float32")
        data = lk.load_dataset(turned)
        assert data.images.device.type == ("cuda" if images_on == "device" else "cpu")
        drawn = list(lk.batches(data.train, 256, torch.Generator("cuda").manual_seed(0), 1, flip=True))
        assert all(images.device.type == labels.device.type == "cuda" for images, labels in drawn)
        found.append((drawn, lk.accuracy(lk.train_original(data, turned), data.validation)))
    for one, other in zip(found[0][0], found[1][0]):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert found[0][1] == pytest.approx(found[1][1], abs=2)


@NEEDS_A_GPU
def test_a_deposit_of_images_on_the_host_keeps_the_original_s_features_there(tiny):
    config = tiny.replace(device="cuda", images_on="host", mixtures=True)
    data = lk.load_dataset(config)
    original, deposit_set = lk.train_original(data, config), lk.split_by_class(data, (0, 1, 2)).deposit_set
    logits, features = lk.original_reference(original, deposit_set.images, config)
    assert features.device.type == "cpu" and logits.device.type == "cuda"
    target, module = lk.deposit(original, deposit_set, config)
    assert target.history[-1]["loss"] < target.history[0]["loss"] and lk.withdraw(target, module) is not None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000000 bytes."),
    ],
    ids=["CUDA", "CPU", "Windows"],
)
@pytest.mark.parametrize("step", ["method.training.train_step", "method.depositing.deposit_terms"])
def test_too_little_memory_is_answered_by_the_knobs_to_turn(
    tiny_data, tiny_parts, tiny, tiny_original, monkeypatch, step, error
):
    def too_much(*_):
        raise error

    monkeypatch.setattr(f"lirf_kit.{step}", too_much)
    sentence = "the device's memory is too small: lower batch_size, now 256, or deposit_batch_size, now 64, or set"
    with pytest.raises(lk.LirfError, match=f"^{re.escape(sentence)} images_on='host'$"):
        if "train" in step:
            lk.train_original(tiny_data, tiny)
        else:
            lk.deposit(tiny_original, tiny_parts.deposit_set, tiny)


def test_more_memory_than_the_cpu_has_is_answered_by_the_knobs_too(tiny):
    sentence = "^the device's memory is too small: lower batch_size"
    with pytest.raises(lk.LirfError, match=sentence), devices.memory_advice(tiny):
        torch.empty(2**60, dtype=torch.uint8)


def test_another_error_is_no_question_of_memory(tiny):
    with pytest.raises(RuntimeError, match="^mat1 and mat2$"), devices.memory_advice(tiny):
        raise RuntimeError("mat1 and mat2")


@pytest.mark.parametrize("device, expected", [("cuda", [torch.device("cuda")]), ("cpu", []), ("mps", [])])
def test_the_peak_of_memory_is_forgotten_on_cuda_alone(monkeypatch, device, expected):
    reset = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    devices.reset_peak_memory(torch.device(device))
    assert reset == expected


def test_peak_memory_is_that_of_this_process_in_mib():
    peak = devices.peak_memory(torch.device("cpu"))
    assert 100 < peak < 100_000  # torch alone takes more than 100
    assert devices.peak_memory(torch.device("cpu")) >= peak


def test_a_device_too_small_for_the_images_names_the_knob_too(tiny, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("lirf_kit.data.images.place_images", full)
    with pytest.raises(lk.LirfError, match="the device's memory is too small: .*images_on='host'"):
        lk.load_dataset(tiny)


class Output(io.StringIO):
    """Stands for standard error: a terminal, or a file or pipe, and remembers what was written."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("terminal, variable, shown", [(True, "", True), (False, "", False), (True, "1", False)])
def test_progress_bars_show_on_a_terminal_and_write_nothing_to_a_file(monkeypatch, terminal, variable, shown):
    output = Output(terminal)
    monkeypatch.setenv("TQDM_DISABLE", variable)
    monkeypatch.setattr(sys, "stderr", output)
    assert list(devices.progress_bar(range(3), desc="train")) == [0, 1, 2]
    assert "train: " in output.getvalue() if shown else output.getvalue() == ""


@pytest.mark.parametrize("variable, shown", [("", True), ("1", False)])
def test_progress_bars_show_in_a_notebook_though_its_output_is_no_terminal(monkeypatch, variable, shown):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("TQDM_DISABLE", variable)
    cell = nbformat.v4.new_code_cell(
        "import sys\n"
        "from lirf_kit.devices import progress_bar\n"
        "assert not sys.stderr.isatty()\n"
        "assert list(progress_bar(range(3), desc='train')) == [0, 1, 2]"
    )
    nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), kernel_name="python3").execute()
    drawn = [output["data"] for output in cell.outputs if output.output_type == "display_data"]
    assert drawn == [{}] * shown  # it was there, and leaves no widget that a saved notebook could not draw
    assert not [output for output in cell.outputs if output.output_type == "stream"]
