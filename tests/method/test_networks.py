import copy
import types
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch

import lirf_kit as lk
from lirf_kit.method import networks
from lirf_kit.method.training import start_training


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def resnet18(config):
    four_stages = config.replace(widths=(64, 128, 256, 512), blocks_per_stage=2, split_after=2)
    return lk.build_network(four_stages, channels=3, num_classes=10)


def test_the_digits_preset_has_77754_parameters(config):
    # a convolution a→b of 3×3 has 9ab weights, BatchNorm 2b:  stem 1→16: 144 + 32                              =    176
    # stage 1: 2 convolutions 16→16                              2 · (2304 + 32)                               =  4,672
    # stage 2: 16→32, 32→32, shortcut 1×1 16→32                  4608 + 64 + 9216 + 64 + 512 + 64              = 14,528
    # stage 3: 32→64, 64→64, shortcut 1×1 32→64                  18432 + 128 + 36864 + 128 + 2048 + 128        = 57,728
    # classifier 64→10                                           640 + 10                                      =    650
    assert parameters(lk.build_network(config, channels=1, num_classes=10)) == 77_754 < 100_000


def test_the_same_builder_makes_the_paper_s_resnet18(resnet18):
    assert parameters(resnet18) == 11_173_962
    assert parameters(resnet18.lower) == 675_392


def test_a_resnet18_halves_the_image_after_each_stage_but_the_first(resnet18):
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with torch.no_grad():
        resnet18.eval()
        shapes = [lk.split(resnet18, after).lower(image).shape[1:] for after in (1, 2, 3, 4)]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_pixels_are_normalised_by_the_statistics_of_the_training_part(original, data):
    pixels = data.train.images.numpy() / 255
    first = original.lower[0]
    assert first.mean.item() == pytest.approx(pixels.mean(), abs=1e-6)
    assert first.std.item() == pytest.approx(pixels.std(), abs=1e-6)
    normalised = first(data.train.images).numpy()
    assert normalised.mean() == pytest.approx(0, abs=1e-4) and normalised.std() == pytest.approx(1, abs=1e-4)


def test_normalisation_works_out_by_hand_per_channel(tiny):
    first = lk.build_network(tiny, channels=2, num_classes=3).lower[0]
    # channel 0: half black, half white: mean ½, standard deviation ½; channel 1: 51 = 0.2 and 153 = 0.6: 0.4 and 0.2
    images = torch.tensor([[[[0, 255]], [[51, 153]]]], dtype=torch.uint8)
    first.fit(images)
    numpy.testing.assert_allclose(first(images).numpy(), [[[[-1, 1]], [[-1, 1]]]], atol=1e-5)


def test_the_normalisation_is_saved_with_network_and_deposit_module(original, deposited):
    target, module = deposited
    for statistics in ("mean", "std"):
        expected = original.state_dict()[f"lower.0.{statistics}"]
        assert expected.item() not in (0.0, 1.0)
        assert torch.equal(target.state_dict()[f"lower.0.{statistics}"], expected)
        assert torch.equal(module.state_dict()[f"lower.0.{statistics}"], expected)
    assert not [name for name, _ in original.named_parameters() if "mean" in name or "std" in name]


def test_images_that_are_not_uint8_are_refused(original, deposited, recovered):
    images = torch.zeros(2, 1, 8, 8)
    for network in (original, deposited[1], recovered):
        with pytest.raises(lk.LirfError, match=r"images must be uint8 of shape \(N, 1, H, W\), not torch.float32"):
            network(images)


def test_images_with_other_channels_are_refused(original):
    with pytest.raises(lk.LirfError, match=r"uint8 of shape \(N, 1, H, W\), not torch.uint8 of shape \(2, 3, 8, 8\)"):
        original(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_logits_are_the_same_wherever_the_network_is_cut(original, data):
    images = data.test.images[:50]
    with torch.no_grad():
        expected = original(images)
        for after in (1, 2, 3):
            cut = lk.split(original, after)
            assert torch.equal(cut.upper(cut.lower(images)), expected)
            assert torch.equal(cut.upper[-1](cut.features(images)), expected)
            assert cut.lower(images).shape[1] == (16, 32, 64)[after - 1]


def test_weights_and_their_names_do_not_depend_on_the_cut(config, same_weights):
    first, other = (lk.build_network(config.replace(split_after=after), 1, 10) for after in (1, 3))
    assert same_weights(first.layers, other.layers)


@pytest.mark.parametrize("after", [0, 4, 5])
def test_a_split_point_that_the_network_lacks_is_refused(original, after):
    with pytest.raises(lk.LirfError, match=f"^split_after must be 1, 2 or 3, not {after}"):
        lk.split(original, after)


def test_a_single_image_gives_the_same_logits_as_in_a_batch(networks, data):
    for network in networks.values():
        with torch.no_grad():
            together = network(data.test.images[:20])
            alone = torch.cat([network(image[None]) for image in data.test.images[:20]])
        torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def test_predict_gives_every_image_its_own_result_however_many_there_are():
    images = torch.arange(2345).view(-1, 1, 1, 1)
    assert torch.equal(lk.predict(lambda part: part.flatten() * 2, images), torch.arange(2345) * 2)


def test_weights_follow_the_seed_and_nothing_else(tiny, same_weights):
    torch.manual_seed(1)
    first = lk.build_network(tiny, 1, 10)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = lk.build_network(tiny, 1, 10), lk.build_network(tiny.replace(seed=1), 1, 10)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(first, again) and not same_weights(first, other)


def test_threads_that_build_networks_at_once_draw_the_same_weights_as_one_after_the_other(config, same_weights):
    turned = [config.replace(seed=seed, widths=(32, 64, 128), blocks_per_stage=2) for seed in range(40)]
    alone = [lk.build_network(each, 1, 10) for each in turned]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as threads:
        at_once = list(threads.map(lambda each: lk.build_network(each, 1, 10), turned))
    assert all(map(same_weights, alone, at_once))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_those_that_pytorch_draws(config):
    turned = config.replace(widths=(4, 8), split_after=1, blocks_per_stage=2, seed=3)
    drawn = lk.build_network(turned, 1, 10).layers[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        stem = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
        stages = [
            networks._stage(4, 4, 1, 2),
            networks._stage(4, 8, 2, 2),
        ]  # the shortcut of the second one comes first
        head = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10)
    expected = torch.nn.Sequential(stem, *stages, *head).state_dict().values()
    assert all(map(torch.equal, drawn.state_dict().values(), expected))


@pytest.mark.parametrize(
    "widths, cut, expected",
    [
        ((16, 32), 2, torch.channels_last),
        ((15, 32), 2, torch.contiguous_format),
        ((4, 8), 1, torch.contiguous_format),  # the module's features go into the upper blocks, where the shortcut is
    ],
)
def test_weights_are_channels_last_unless_a_shortcut_is_too_narrow_for_that(data, parts, config, widths, cut, expected):
    turned = config.replace(widths=widths, split_after=cut, keep=0.9, epochs=1)
    network = start_training(data, turned).network
    target, module = lk.start_deposit(network, parts.deposit_set, turned)
    for laid_out in (network, target, module):
        weights = [weight for weight in laid_out.parameters() if weight.ndim == 4]
        assert all(weight.is_contiguous(memory_format=expected) for weight in weights)


def test_the_gradients_of_a_pruned_module_are_those_of_float64(tiny_original, tiny_parts, tiny):
    # between two widths of 4 and 8, where a channels-last shortcut would be wrong on many laptops
    _, module = lk.start_deposit(tiny_original, tiny_parts.deposit_set, tiny)
    exact = copy.deepcopy(module).double()
    images = tiny_parts.deposit_set.images[:32]
    for trained in (module, exact):
        trained(images).square().sum().backward()
    for found, expected in zip(module.parameters(), exact.parameters()):
        assert torch.allclose(found.grad.double(), expected.grad, rtol=1e-3, atol=1e-3 * expected.grad.abs().max())


@pytest.mark.parametrize("device, expected", [("cuda", True), ("cpu", False)])
def test_on_cuda_what_stays_float32_may_use_tf32(monkeypatch, device, expected):
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    layouts = []
    monkeypatch.setattr(networks, "layout", lambda network: torch.channels_last)
    network = types.SimpleNamespace(device=torch.device(device), to=lambda memory_format: layouts.append(memory_format))
    try:
        for flag in flags:
            flag.allow_tf32 = False
        networks.prepare(network)
        assert [flag.allow_tf32 for flag in flags] == [expected, expected]
    finally:
        for flag, value in zip(flags, before):
            flag.allow_tf32 = value
    assert layouts == [torch.channels_last]
