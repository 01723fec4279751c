"""The story of a deposit, frame by frame: six images and what each network answers, Pre and Dep Acc, and a map.

A frame is plain values and an array, so a finished story is small, and the page can play it again without the kernel.
"""

import base64
import math

import numpy
import pandas
import torch
from torch import nn

from lirf_kit.method.containers import DifferenceModule, module_share
from lirf_kit.method.networks import evaluation_mode, penultimate, predict
from lirf_kit.method.withdrawing import merge_logits
from lirf_kit.widgets.small_views import image_pixels, image_png

FRAMES = 32  # of a story, about
SAMPLES = 6  # images under each network, half of them deposited
DEPOSITED = 300  # deposited samples at most, whose answers are counted while a deposit of samples runs
NEIGHBOURS = 10  # that say where an image belongs on the original's map


class Story:
    """What a deposit is watched on, and what was seen so far.

    `part` has images of the validation part, the points of the map; `home`, (N, 2), is where t-SNE puts the original's
    features of them.

    Attributes
    ----------
    scene : dict
        What stays the same from frame to frame, as plain values.
    frames : list of dict
        "epoch"; "module", its bytes in percent of the lower blocks'; and for the target and the recovered network
        "answers" (the six images' classes), "sure" (the answers' softmax in percent) and "bars" (Pre and Dep Acc).
    samples : list of tuple
        The six images, (H, W) or (H, W, C), with their labels.
    places : list of numpy.ndarray
        float32, (2, N, 2), for each frame: the points of the target's and of the recovered network's map.
    """

    def __init__(self, original, part, deposit_set, config, home):
        self.config, self.home, self.frames, self.places = config, home.astype(numpy.float32), [], []
        self._share = None
        self.images, self.labels = part.images, part.labels  # (W, C, H, W), (W,)
        classes = deposit_set.deposit_classes
        if classes is not None:
            self.deposited = torch.isin(part.labels, torch.as_tensor(classes, device=part.labels.device))  # (W,)
        else:  # the deposited samples are training images, so some of them join the others
            some = deposit_set.select(torch.arange(min(DEPOSITED, len(deposit_set))))
            self.images, self.labels = torch.cat([self.images, some.images]), torch.cat([self.labels, some.labels])
            self.deposited = torch.arange(len(self.labels), device=self.labels.device) >= len(part)
        with evaluation_mode(original):
            features = predict(original.features, self.images)  # (W, D)
        self._known, count = features[: len(part)].float(), len(part)
        self._before = self._among_neighbours(self._known, self._known)
        logits = original.upper[-1](features).detach()
        self._samples = self._choose([] if classes else logits.softmax(dim=1).amax(dim=1).tolist())
        self.samples = [(image_pixels(self.images[place]), int(self.labels[place])) for place in self._samples]
        self.scene = {
            "classes": list(part.class_names),
            "parts": ["preserved" if classes else "unseen", "deposited"],
            "bars": ["preserved · Pre", "deposited · Dep"] if classes else ["unseen images", "deposited samples"],
            "given": list(classes or ()),
            "samples": [self._sample(place) for place in self._samples],
            "labels": part.labels.tolist(),
            "deposited": self.deposited[:count].tolist(),
            "original": self._told(logits),
            "count": count,
            "epochs": config.deposit_epochs,
        }

    def look(self, target, deposit_module, epoch):
        """Look at the networks as they are now, and remember and return the frame and its points."""
        lower = deposit_module.restore(target)
        with torch.no_grad(), evaluation_mode(nn.ModuleList([target, lower])):
            own = predict(target.features, self.images)  # (W, D)
            module = predict(lambda part: penultimate(target.upper, lower(part)), self.images)
            logits = [target.upper[-1](features) for features in (own, module)]
        merged = merge_logits(*logits, deposit_module.deposit_classes, deposit_module.preserved)
        if self._share is None:
            self._share = round(100 * module_share(deposit_module, target))
        told = {"target": self._told(logits[0]), "recovered": self._told(merged)}
        frame, count = {"epoch": epoch, "module": self._share} | told, len(self.home)
        # an image moves as its neighbours among the original's features change
        moved = self._among_neighbours(own[:count].float(), module[:count].float()) - self._before
        self.frames.append(frame)
        self.places.append(self.home + moved)
        return frame, self.places[-1]

    def _told(self, logits):
        """Return the six images' answers and how sure they are, and the accuracy on each part."""
        sure, answers = logits.detach().softmax(dim=1).max(dim=1)
        right, chosen = answers == self.labels, self._samples
        return {
            "answers": answers[chosen].tolist(),
            "sure": [round(100 * share) for share in sure[chosen].tolist()],
            "bars": [100 * right[part].float().mean().item() for part in (~self.deposited, self.deposited)],
        }

    def _choose(self, sure):
        """Return the places of the six images: as many classes as there are, deposited ones first.

        If `sure` says how sure the original is of each, the deposited samples are those of which it is least sure:
        they are forgotten first.
        """
        images = pandas.DataFrame({"label": self.labels.tolist(), "deposited": self.deposited.tolist()})
        images["nth"] = images.groupby(["deposited", "label"]).cumcount()  # the first image of every class comes first
        given, kept = (images[images["deposited"] == part].sort_values(["nth", "label"]) for part in (True, False))
        if sure:
            given = given.assign(sure=pandas.Series(sure)).sort_values("sure", kind="stable")
        return [*given.index[: SAMPLES // 2], *kept.index[: SAMPLES - SAMPLES // 2]]

    def _sample(self, place):
        image = self.images[place]
        png = base64.b64encode(image_png(image, image.shape[-1])).decode()
        return {
            "src": f"data:image/png;base64,{png}", "label": int(self.labels[place]),
            "deposited": bool(self.deposited[place]),
        }  # fmt: skip

    def _among_neighbours(self, target, module):
        """Return the mean place, on the original's map, of each image's neighbours in the original's features.

        The result is (2, N, 2): for the target's features, and for the recovered network's, which are the target's and
        the module's side by side. The squares of their distances add up.
        """
        squares = [torch.cdist(features, self._known).square() for features in (target, module)]  # (N, N)
        squares = torch.stack([squares[0], squares[0] + squares[1]])
        squares.diagonal(dim1=1, dim2=2).fill_(math.inf)  # an image isn't its own neighbour
        near, who = squares.topk(min(NEIGHBOURS, len(self._known) - 1), largest=False)
        weights = 1 / (near + 1e-6)
        weights = (weights / weights.sum(dim=2, keepdim=True)).cpu().numpy()  # (2, N, k)
        return (weights[..., None] * self.home[who.cpu().numpy()]).sum(axis=2).astype(numpy.float32)


def watch(story, told):
    """Return a function for `explore` that looks at a deposit about `FRAMES` times, and hands on each new frame.

    `told` is called with the steps done and their total, the target's history so far, the frame and its points.
    """

    def look(done, total, original_lower, target, deposit_module):
        if done % math.ceil(total / FRAMES) and done != total:
            return
        if isinstance(deposit_module, DifferenceModule):  # it isn't trained; it is taken
            deposit_module.hold(original_lower, target)
        epoch = story.config.deposit_epochs * done / total
        told(done, total, list(target.history), *story.look(target, deposit_module, epoch))

    return look
