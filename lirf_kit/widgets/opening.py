"""The run that the explorer opens with: saved when it was made, and there at once the next time."""

import numpy
import torch

from lirf_kit.artifacts import fingerprint, load_run, save_run
from lirf_kit.method.depositing import start_deposit
from lirf_kit.widgets.exploring import NETWORKS, cut, judged, tsne_part
from lirf_kit.widgets.story import Story


def save_opening(run, picture):
    """Save a deposit of classes with its story, and a PNG of it, so that `load_opening` finds them."""
    target, recovered, story = run.networks["target"], run.networks["recovered"], run.story
    weights = {"picture": torch.frombuffer(bytearray(picture), dtype=torch.uint8)}
    weights |= {"home": torch.from_numpy(story.home), "places": torch.from_numpy(numpy.stack(story.places))}
    weights |= {f"embedding.{name}": torch.from_numpy(points) for name, points in run.embeddings.items()}
    for name, module in {"target": target.layers, "deposit_module": recovered.deposit_module}.items():
        weights |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    metrics = {"history": run.history, "frames": story.frames, "seconds": run.seconds}
    save_run("opening", _made_from(run.networks["original"], run.parts, run.config), weights, metrics)


def load_opening(original, data, config):
    """Return the saved run of a config, with its story, and the PNG; None if there is none."""
    parts = cut(data, config)
    found = load_run("opening", _made_from(original, parts, config))
    if found is None:
        return None
    weights, metrics = found
    target, deposit_module = start_deposit(original, parts.deposit_set, config)
    for name, module in {"target": target.layers, "deposit_module": deposit_module}.items():
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        module.load_state_dict(own)
    target.history = metrics["history"]
    run = judged(original, parts, target, deposit_module, config)
    run.seconds = metrics["seconds"]
    run.embeddings = {name: weights[f"embedding.{name}"].numpy() for name in NETWORKS if f"embedding.{name}" in weights}
    run.story = Story(original, tsne_part(parts), parts.deposit_set, config, weights["home"].numpy())
    run.story.frames, run.story.places = metrics["frames"], list(weights["places"].numpy())
    return run, weights["picture"].numpy().tobytes()


def _made_from(original, parts, config):
    return {
        "config": config.stages("seed", "optimiser", "deposit", "picture"),
        "deposit_classes": list(config.deposit_classes),
        "data": fingerprint(parts.deposit_set.images, parts.validation.images, parts.validation.labels),
        "original": fingerprint(*original.layers.state_dict().values()),
    }
