import functools
import importlib.util
import sys
import types

import joblib
import numpy
import pytest
import torch

import lirf_kit as lk


def test_the_original_s_embedding_keeps_neighbours(embeddings, original, parts):
    in_the_plane = lk.neighbour_accuracy(embeddings["original"], parts.test.labels)
    assert in_the_plane > 0.9
    in_the_features = lk.neighbour_accuracy(lk.extract_features(original, parts.test), parts.test.labels)
    assert in_the_plane == pytest.approx(in_the_features, abs=0.03)


def test_neighbour_accuracy_is_one_for_islands_and_chance_for_noise():
    labels = torch.arange(300) % 3
    draw = numpy.random.default_rng(0)
    islands = draw.normal(0, 0.1, (300, 2)) + 10 * labels.numpy()[:, None]
    assert lk.neighbour_accuracy(islands, labels) == 1
    assert lk.neighbour_accuracy(draw.normal(0, 1, (300, 2)), labels) == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("name", ["target", "recovered"])
def test_islands_of_preserved_classes_stay_in_place(embeddings, parts, name):
    labels = parts.test.labels.numpy()
    middles = [
        numpy.array([embeddings[each][labels == number].mean(0) for number in range(3, 10)])
        for each in ("original", name)
    ]
    for axis in (0, 1):
        assert numpy.corrcoef(middles[0][:, axis], middles[1][:, axis])[0, 1] > 0.8


def test_the_same_seed_embeds_alike(tiny_original, tiny_parts, tiny):
    features = lk.extract_features(tiny_original, tiny_parts.test)
    first, again = (lk.embed_tsne(features, tiny) for _ in range(2))
    assert numpy.array_equal(first, again)


def test_features_are_what_the_classifier_sees(original, parts):
    features = lk.extract_features(original, parts.test)
    classifier = original.upper[-1]
    with torch.no_grad():
        torch.testing.assert_close(classifier(torch.from_numpy(features)), original(parts.test.images))
    assert features.dtype == numpy.float32


def test_the_recovered_network_s_features_are_those_of_target_and_module(networks, parts):
    features = lk.extract_features(networks["recovered"], parts.test)
    assert features.shape == (540, 2 * 64)
    assert numpy.array_equal(features[:, :64], lk.extract_features(networks["target"], parts.test))


def test_logits_are_offered_too(networks, parts):
    for network in networks.values():
        with torch.no_grad():
            expected = network(parts.test.images).numpy()
        assert numpy.array_equal(lk.extract_features(network, parts.test, layer="logits"), expected)
    with pytest.raises(lk.LirfError, match="^layer must be features or logits, not 'lower'"):
        lk.extract_features(networks["original"], parts.test, layer="lower")


def test_features_are_extracted_in_evaluation_mode(tiny_original, tiny_parts):
    expected = lk.extract_features(tiny_original, tiny_parts.test)
    tiny_original.train()
    assert numpy.array_equal(lk.extract_features(tiny_original, tiny_parts.test), expected)
    assert tiny_original.training
    tiny_original.eval()


def test_a_perplexity_too_large_is_refused(tiny):
    features = numpy.zeros((20, 3), dtype=numpy.float32)
    with pytest.raises(lk.LirfError, match="^perplexity must be below the number of images, 20, not 20"):
        lk.embed_tsne(features, tiny.replace(perplexity=20))


def centres(points, labels):
    return numpy.stack([points[labels == number].mean(0) for number in range(10)])


def stay(embeddings, part):
    """The classes of target and recovered network that lie nearest to their own old place."""
    old, *others = [centres(points, part.labels.numpy()) for points in embeddings.values()]
    distances = [numpy.linalg.norm(new[:, None] - old, axis=2) for new in others]
    return [set(numpy.flatnonzero(each.argmin(1) == numpy.arange(10))) for each in distances]


def test_the_islands_stay_in_place(embeddings, parts, original, data, config):
    run = lk.explore(original, data, config)  # 189 images, on which the perplexity of the preset would be too large
    lk.embed_run(run)
    outside = lk.explore(original, data, config.replace(lambda_cs=0.0))
    lk.embed_run(outside)
    for found, part in ((embeddings, parts.test), (run.embeddings, run.parts.validation)):
        target, recovered = stay(found, part)
        assert len(target & set(range(3, 10))) >= 6 and len(recovered) >= 9
    assert min(len(kept) for kept in stay(outside.embeddings, outside.parts.validation)) >= 9


def test_the_deposit_classes_dissolve_into_one_another_in_the_target_and_part_again(embeddings, parts):
    """How far apart the three deposit classes' centres lie, compared with the original's picture."""
    apart = {}
    for name, points in embeddings.items():
        deposited = centres(points, parts.test.labels.numpy())[:3]
        apart[name] = numpy.linalg.norm(deposited[:, None] - deposited, axis=2).sum()
    assert apart["target"] < 0.6 * apart["original"] and apart["recovered"] > 0.9 * apart["original"]


def test_a_start_of_other_images_is_refused(tiny):
    features = numpy.zeros((20, 3), dtype=numpy.float32)
    with pytest.raises(lk.LirfError, match=r"^start must have the shape \(20, 2\), not \(19, 2\)"):
        lk.embed_tsne(features, tiny, start=numpy.zeros((19, 2)))


def test_panels_in_parallel_are_the_same_as_one_after_the_other(
    tiny_original, tiny_deposited, tiny_parts, tiny, monkeypatch
):
    networks = {"original": tiny_original, "target": tiny_deposited[0], "recovered": lk.withdraw(*tiny_deposited)}
    serial = lk.embed_networks(networks, tiny_parts.test, tiny)
    monkeypatch.setattr("lirf_kit.pictures.embedding.PARALLEL_FROM", 10)
    jobs = []
    parallel = joblib.Parallel
    monkeypatch.setattr(joblib, "Parallel", lambda n_jobs: jobs.append(n_jobs) or parallel(n_jobs))
    found = lk.embed_networks(networks, tiny_parts.test, tiny)
    assert list(found) == list(serial) and all(numpy.array_equal(found[name], serial[name]) for name in serial)
    assert jobs == [min(2, joblib.cpu_count())]


def test_the_engine_is_torchdr_where_it_is_there_and_the_config_s_device_is_cuda(tiny, monkeypatch):
    from lirf_kit.pictures.embedding import _engine

    for device, there, cuda, expected in [
        ("auto", True, True, "torchdr"), ("auto", True, False, "sklearn"), ("auto", False, True, "sklearn"),
        ("auto", False, False, "sklearn"), ("cuda", True, True, "torchdr"), ("cpu", True, True, "sklearn"),
    ]:  # fmt: skip
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, there=there: there or None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        turned = tiny.replace(device=device)
        assert _engine(turned) == expected
        assert _engine(turned.replace(tsne_engine="sklearn")) == "sklearn"


class Embedder:
    """Stands for TorchDR's t-SNE: remembers the device that it was given."""

    devices = []

    def __init__(self, device, **_):
        self.devices.append(device)

    def fit_transform(self, features):
        return torch.zeros(len(features), 2)


def test_torchdr_computes_where_the_config_says(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdr", types.SimpleNamespace(TSNE=Embedder, __spec__=object()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Embedder, "devices", [])
    for device in ("cpu", "cuda", "auto"):
        lk.embed_tsne(numpy.zeros((20, 3), numpy.float32), tiny.replace(tsne_engine="torchdr", device=device))
    assert Embedder.devices == ["cpu", "cuda", "cuda"]


def test_torchdr_where_it_is_not_there_is_answered_by_one_sentence(tiny, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = r"^tsne_engine='torchdr' needs TorchDR: pip install 'lirf-kit\[gpu\]', or choose 'sklearn'$"
    with pytest.raises(lk.LirfError, match=sentence):
        lk.embed_tsne(numpy.zeros((20, 3), dtype=numpy.float32), tiny.replace(tsne_engine="torchdr"))


def test_torchdr_keeps_neighbours_as_well_as_scikit_learn(original, parts, config, embeddings, monkeypatch):
    torchdr = pytest.importorskip("torchdr")
    monkeypatch.setattr(torchdr, "TSNE", functools.partial(torchdr.TSNE, max_iter=500))  # enough for so few points
    turned = config.replace(tsne_engine="torchdr")
    features = lk.extract_features(original, parts.test)
    first = lk.embed_tsne(features, turned)
    second = lk.embed_tsne(features, turned, start=first)
    expected = lk.neighbour_accuracy(embeddings["original"], parts.test.labels)
    for points in (first, second):
        assert points.shape == (540, 2)
        assert lk.neighbour_accuracy(points, parts.test.labels) == pytest.approx(expected, abs=0.02)
