"""The story of a deposit, frame by frame: six images and what each network answers, Pre and Dep Acc, and a map.

A frame is plain values and an array, so a finished story is small, and the page can play it again without the kernel.
"""

import base64
import math

import numpy
import torch

from lirf_kit.method.containers import module_share
from lirf_kit.method.networks import evaluation_mode, penultimate, predict
from lirf_kit.method.withdrawing import merge_logits, withdraw
from lirf_kit.widgets.small_views import image_png

FRAMES = 32  # of a story, about
SAMPLES = 6  # images under each network, half of them deposited
DEPOSITED = 300  # deposited samples at most, whose answers are counted while a deposit of samples runs
NEIGHBOURS = 10  # that say where an image belongs on the original's map


class Story:
    """What a deposit is watched on, and what was seen so far.

    Parameters
    ----------
    original : SplitNetwork
    part : ImageData
        Images of the validation part, the points of the map.
    deposit_set : ImageData
    config : Config
        Reads `split_after`.
    home : numpy.ndarray
        (N, 2), where t-SNE puts the original's features of the part.

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
        self._before = [self._among_neighbours(torch.cat([self._known] * times, dim=1), times) for times in (1, 2)]
        self._samples = self._choose()
        self.samples = [(_pixels(self.images[place]), int(self.labels[place])) for place in self._samples]
        self.scene = {
            "classes": list(part.class_names),
            "given": list(classes or ()),
            "samples": [self._sample(place) for place in self._samples],
            "labels": part.labels.tolist(),
            "deposited": self.deposited[:count].tolist(),
            "original": self._told(original.upper[-1](features)),
            "count": count,
        }

    def look(self, target, recovered, epoch):
        """Look at the networks as they are now, and remember and return the frame and its points."""
        with torch.no_grad(), evaluation_mode(recovered):
            own = predict(target.features, self.images)  # (W, D)
            module = predict(lambda part: penultimate(target.upper, recovered.module_lower(part)), self.images)
            logits = [target.upper[-1](features) for features in (own, module)]
        merged = merge_logits(*logits, recovered.deposit_module.deposit_classes, recovered.preserved)
        if self._share is None:
            self._share = round(100 * module_share(recovered.deposit_module, target))
        frame = {
            "epoch": epoch,
            "module": self._share,
            "target": self._told(logits[0]),
            "recovered": self._told(merged),
        }
        count = len(self.home)
        both = own[:count].float(), torch.cat([own, module], dim=1)[:count].float()
        places = numpy.stack([self._moved(features, times) for times, features in enumerate(both, start=1)])
        self.frames.append(frame)
        self.places.append(places)
        return frame, places

    def _told(self, logits):
        """Return the six images' answers and how sure they are, and the accuracy on each part."""
        sure, answers = logits.detach().softmax(dim=1).max(dim=1)
        right, chosen = answers == self.labels, self._samples
        return {
            "answers": answers[chosen].tolist(),
            "sure": [round(100 * share) for share in sure[chosen].tolist()],
            "bars": [100 * right[part].float().mean().item() for part in (~self.deposited, self.deposited)],
        }

    def _choose(self):
        """Return the places of the six images: as many classes as there are, deposited ones first."""
        chosen = []
        for part, wanted in ((self.deposited, SAMPLES // 2), (~self.deposited, SAMPLES - SAMPLES // 2)):
            places = part.nonzero().flatten().tolist()
            nth, seen = {}, {}
            for place in places:  # the first image of every class, then the second of every class, ...
                label = int(self.labels[place])
                nth[place] = seen[label] = seen.get(label, -1) + 1
            chosen += sorted(places, key=lambda place: (nth[place], int(self.labels[place])))[:wanted]
        return chosen

    def _sample(self, place):
        image = self.images[place]
        png = base64.b64encode(image_png(image, image.shape[-1])).decode()
        return {
            "src": f"data:image/png;base64,{png}", "label": int(self.labels[place]),
            "deposited": bool(self.deposited[place]),
        }  # fmt: skip

    def _moved(self, features, times):
        """Return where the original's map has these features: an image moves as its neighbours there change."""
        return self.home + self._among_neighbours(features, times) - self._before[times - 1]

    def _among_neighbours(self, features, times):
        """Return the mean place, on the original's map, of each image's neighbours in the original's features."""
        distances = torch.cdist(features, torch.cat([self._known] * times, dim=1))  # (N, N)
        distances.fill_diagonal_(math.inf)  # an image isn't its own neighbour
        near, who = distances.topk(min(NEIGHBOURS, len(distances) - 1), largest=False)
        weights = 1 / (near**2 + 1e-6)
        weights = (weights / weights.sum(dim=1, keepdim=True)).cpu().numpy()  # (N, k)
        return (weights[:, :, None] * self.home[who.cpu().numpy()]).sum(axis=1).astype(numpy.float32)


def _pixels(image):
    return image.cpu().permute(1, 2, 0).numpy().squeeze()


def watch(story, told):
    """Return a function for `explore` that looks at a deposit about `FRAMES` times, and hands on each new frame.

    `told` is called with the frame, its points, the steps done and their total.
    """

    def look(done, total, original_lower, target, deposit_module):
        if done % math.ceil(total / FRAMES) and done != total:
            return
        deposit_module.hold(original_lower, target)  # a difference isn't trained; it is taken
        recovered = withdraw(target, deposit_module, check=False)
        told(*story.look(target, recovered, story.config.deposit_epochs * done / total), done, total)

    return look
