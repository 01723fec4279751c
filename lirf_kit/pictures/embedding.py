"""Networks' features embedded in the plane by t-SNE."""

import importlib.util

import joblib
import numpy
import torch
from sklearn.manifold import TSNE

from lirf_kit.config import LirfError
from lirf_kit.devices import resolve_device
from lirf_kit.method.networks import extract_features

PARALLEL_FROM = 2000  # images; with fewer, starting processes takes longer than it saves


def embed_tsne(features, config, start=None):
    """Embed features in the plane by t-SNE (van der Maaten & Hinton 2008).

    Parameters
    ----------
    features : numpy.ndarray
        (N, D).
    config : Config
        Reads `perplexity`, `tsne_engine`, `device` and `seed`.
    start : numpy.ndarray, optional
        (N, 2), an earlier embedding of the same images, which the points start from. It isn't scaled down first:
        when it was, the islands ended up in different places in the two pictures. Without it, the points start from
        the principal components.

    Returns
    -------
    numpy.ndarray
        (N, 2).

    Raises
    ------
    LirfError
        If `perplexity` isn't below the number of points, or if `start` has the wrong shape.
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
    if start is not None:  # undoes TorchDR's scaling, which divides by the first coordinate's spread
        given = {"init": torch.from_numpy(init), "init_scaling": float(init[:, 0].std())}
    engine = torchdr.TSNE(perplexity=config.perplexity, **given, random_state=config.seed, device=device)
    return engine.fit_transform(torch.from_numpy(features)).detach().cpu().numpy()


def _engine(config):
    """Return which library computes t-SNE, or raise a `LirfError` if it isn't installed."""
    installed = importlib.util.find_spec("torchdr") is not None
    if config.tsne_engine == "auto":
        return "torchdr" if installed and _on_cuda(config) else "sklearn"
    if config.tsne_engine == "torchdr" and not installed:
        raise LirfError("tsne_engine='torchdr' needs TorchDR: pip install 'lirf-kit[gpu]', or choose 'sklearn'")
    return config.tsne_engine


def _on_cuda(config):
    """Return whether the config's device is a CUDA GPU."""
    return resolve_device(config.device).type == "cuda"


def embed_networks(networks, part, config, layer="features"):
    """Embed several networks' features of the same images; the other embeddings start from the first network's.

    With many images, scikit-learn computes these others in parallel, each in its own process.

    Parameters
    ----------
    networks : dict of str to nn.Module
        The networks by name, the original first.
    part : ImageData
    config : Config
        Reads `perplexity`, `tsne_engine`, `device` and `seed`.
    layer : {"features", "logits"}
        Which outputs to embed, as for `extract_features`.

    Returns
    -------
    dict of str to numpy.ndarray
        The (N, 2) embedding for each name.
    """
    first, *others = [extract_features(network, part, layer) for network in networks.values()]
    start = embed_tsne(first, config)
    parallel = len(part) >= PARALLEL_FROM and _engine(config) == "sklearn"
    jobs = joblib.Parallel(n_jobs=min(joblib.cpu_count(), max(1, len(others))) if parallel else 1)
    placed = jobs(joblib.delayed(embed_tsne)(features, config, start) for features in others)
    return dict(zip(networks, [start, *placed]))
