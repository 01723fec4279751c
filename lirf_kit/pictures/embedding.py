"""Where t-SNE puts networks' features in the plane."""

import importlib.util

import joblib
import numpy
import torch
from sklearn.manifold import TSNE

from lirf_kit.config import LirfError
from lirf_kit.devices import resolve_device
from lirf_kit.method.networks import extract_features

PARALLEL_FROM = 2000  # images; with fewer, starting a process costs more than it saves


def embed_tsne(features, config, start=None):
    """Embed features in the plane by t-SNE (van der Maaten & Hinton 2008).

    Parameters
    ----------
    features : numpy.ndarray
        (N, D).
    config : Config
        Reads `perplexity`, `tsne_engine`, `device` and `seed`.
    start : numpy.ndarray, optional
        (N, 2), an earlier embedding of the same images. The points set out from there, as they are: shrunk to a dot
        first, the islands of the two pictures came to lie in other places. Without it they start from the principal
        components.

    Returns
    -------
    numpy.ndarray
        (N, 2).

    Raises
    ------
    LirfError
        If there are not more points than `perplexity`, or if `start` is of other images.
    """
    if len(features) <= config.perplexity:
        raise LirfError(f"perplexity must be below the number of images, {len(features)}, not {config.perplexity}")
    if start is not None and start.shape != (len(features), 2):
        raise LirfError(f"start must have the shape ({len(features)}, 2), not {start.shape}")
    init = "pca" if start is None else start.astype(numpy.float32)
    if _engine(config) == "sklearn":
        return TSNE(perplexity=config.perplexity, init=init, random_state=config.seed).fit_transform(features)
    import torchdr

    device = "cuda" if _on_cuda(config) else "cpu"
    given = {"init": init}
    if start is not None:  # TorchDR scales what it is given, by the spread of the first coordinate
        given = {"init": torch.from_numpy(init), "init_scaling": float(init[:, 0].std())}
    engine = torchdr.TSNE(perplexity=config.perplexity, **given, random_state=config.seed, device=device)
    return engine.fit_transform(torch.from_numpy(features)).detach().cpu().numpy()


def _engine(config):
    """Return who computes t-SNE, or raise a `LirfError` if it isn't installed."""
    there = importlib.util.find_spec("torchdr") is not None
    if config.tsne_engine == "auto":
        return "torchdr" if there and _on_cuda(config) else "sklearn"
    if config.tsne_engine == "torchdr" and not there:
        raise LirfError("tsne_engine='torchdr' needs TorchDR: pip install 'lirf-kit[gpu]', or choose 'sklearn'")
    return config.tsne_engine


def _on_cuda(config):
    """Whether the config's device is a GPU of CUDA."""
    return resolve_device(config.device).type == "cuda"


def embed_networks(networks, part, config, layer="features"):
    """Embed what several networks make of the same images; the first network's picture is where the others start.

    With many images scikit-learn works on the others at the same time, each in a process of its own.

    Parameters
    ----------
    networks : dict of str to nn.Module
        Names and networks, the original first.
    part : ImageData
    config : Config
        Reads `perplexity`, `tsne_engine`, `device` and `seed`.
    layer : {"features", "logits"}
        As for `extract_features`.

    Returns
    -------
    dict of str to numpy.ndarray
        (N, 2) for each name.
    """
    first, *others = [extract_features(network, part, layer) for network in networks.values()]
    start = embed_tsne(first, config)
    parallel = len(part) >= PARALLEL_FROM and _engine(config) == "sklearn"
    jobs = joblib.Parallel(n_jobs=min(joblib.cpu_count(), max(1, len(others))) if parallel else 1)
    placed = jobs(joblib.delayed(embed_tsne)(features, config, start) for features in others)
    return dict(zip(networks, [start, *placed]))
