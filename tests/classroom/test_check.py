"""Every check passes on a solution, and names each of the likely mistakes, here written as a student would."""

import math
import re

import numpy
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

import lirf_kit as lk
from lirf_kit.classroom import toys


def mask(labels, classes, num_classes):
    table = torch.zeros(num_classes, dtype=torch.bool)
    table[classes] = True
    return table[labels]


def share(logits, labels):
    return 100 * (logits.argmax(dim=1) == labels).float().mean().item()


def energy(features):
    return (features**2).mean(dim=1).flatten(1)


def kd(student, teacher, tau, reduction="batchmean"):
    log_student, teacher = (student / tau).log_softmax(1), (teacher / tau).softmax(1)
    return functional.kl_div(log_student, teacher, reduction=reduction)


def others(logits, classes):
    return [column for column in range(logits.shape[1]) if column not in classes]


def in_a_row(pull):
    return torch.cat([each.reshape(-1) for each in pull])


def plugged(target, read, classes):
    logits = target.clone()
    for module, own in zip(read, classes):
        for number in own:
            logits[:, number] = module[:, number]
    return logits


def known(count, deposits, withdrawn):
    gone = {number for name, own in deposits.items() if name not in withdrawn for number in own}
    return [number for number in range(count) if number not in gone]


def coded(weight, bits, top=None, dim=1, rounding=torch.round):
    step = weight.abs().max() if dim is None else weight.abs().max(dim=dim, keepdim=True).values
    step = step / (2 ** (bits - 1) - 1 if top is None else top)
    return rounding(weight / step) * step


def in_place(target, module, classes):
    target[:, classes] = module[:, classes]
    return target


def scatter(features, labels, ridge, shares=True, centre=True, total="all", white=True, halve=True):
    x = features - features.mean(dim=0) if centre else features
    between, within = torch.zeros(2, x.shape[1], x.shape[1])
    classes = labels.unique()
    for number in classes:
        own = x[labels == number]
        mean = own.mean(dim=0)
        between = between + torch.outer(mean, mean) * (len(own) / len(x) if shares else 1 / len(classes))
        within = within + (own - mean).T @ (own - mean) / len(x)
    whole = (x.T @ x / len(x) if total == "all" else within) + ridge * torch.eye(x.shape[1])
    trace = torch.trace(torch.linalg.inv(whole) @ between) if white else between.trace() / whole.trace()
    return trace / (len(classes) - 1) if halve else trace


def probe(train, train_labels, test, test_labels, scale="train"):
    if scale == "train":
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    elif scale == "each":
        train, test = StandardScaler().fit_transform(train), StandardScaler().fit_transform(test)
    return 100 * LogisticRegression(max_iter=1000).fit(train, train_labels).score(test, test_labels)


def rounded(difference, bits, steps=None, shared=False, down=False):
    steps = steps or 2**bits - 1
    widest = difference.abs().max() if shared else difference.abs().max(dim=1, keepdim=True).values
    step = 2 * widest / steps
    place = difference / step + steps / 2
    place = place.floor() if down else place.round()
    return (place.clamp(0, steps) - steps / 2) * step


def harmonic(pre, forgotten):
    return 2 * pre * forgotten / (pre + forgotten) if forgotten > 0 else 0.0


def parts_of(count, test_fraction, validation_fraction, rounding=math.ceil):
    test = rounding(test_fraction * count)
    validation = rounding(validation_fraction * (count - test))
    return count - test - validation, validation, test


def nearest(points, itself=False):
    away = (points[:, None] - points).norm(dim=2)
    return away.argmin(dim=1) if itself else (away + torch.eye(len(points)) * 1e9).argmin(dim=1)


def by_means(shots, labels, asked):
    classes = sorted(set(labels.tolist()))
    means = torch.stack([shots[labels == number].mean(dim=0) for number in classes])
    return torch.tensor(classes)[(asked[:, None] - means).norm(dim=2).argmin(dim=1)]


def right_in(answers, labels):
    return 100 * sum(a == b for a, b in zip(answers.tolist(), labels.tolist())) / len(labels)


def without(logits, labels, value):
    """Return logits with the own class of each sample set to a value."""
    changed = logits.clone()
    changed[torch.arange(len(logits)), labels] = value
    return changed


SOLUTIONS = {
    "deposit_mask": mask,
    "accuracy": share,
    "wrong_labels": lk.wrong_labels,
    "attention_map": lk.attention_map,
    "distillation_loss": lk.distillation_loss,
    "select_preserved": lk.select_preserved,
    "select_deposited": lk.select_deposited,
    "merge_logits": lk.merge_logits,
    "class_scatter": lk.class_scatter,
    "linear_probe": probe,
    "quantised_difference": lambda original, target, bits: rounded(original - target, bits),
    "harmonic_mean": lk.harmonic_mean,
    "part_sizes": lambda n, t, v: parts_of(n, t, v),
    "stratified_counts": lambda y, m, k: m * torch.bincount(y, minlength=k) / len(y),
    "changed_images": lambda a, b: len(set(a.tolist()) ^ set(b.tolist())),
    "convolution_parameters": lambda i, o, k: o * (i * k * k + 2),
    "smoothed_label": lambda y, k, e: (1 - e) * functional.one_hot(torch.tensor(y), k) + e / k,
    "half_cosine": lambda a, b, p: a + (b - a) * (1 - math.cos(math.pi * p)) / 2,
    "feature_recovery_loss": lk.feature_recovery_loss,
    "neighbour_shares": lambda d, s: torch.softmax(-(d**2) / (2 * s**2), dim=0),
    "perplexity": lambda p: 2 ** -(p * p.log2()).sum(),
    "nearest_neighbour_accuracy": lambda x, y: 100 * (y[nearest(x)] == y).float().mean(),
    "nearest_mean": lambda x, y, u: by_means(x, y, u),
    "accuracy_with_bonus": lambda z, y, c, b: share(z + b * torch.tensor([n in c for n in range(z.shape[1])]), y),
    "share_of_the_way": lambda o, t, r: 100 * (t - o) / (r - o),
    "bank_logits": lambda t, m, c: plugged(t, m, c),
    "pull_cosine": lambda a, b: functional.cosine_similarity(in_a_row(a), in_a_row(b), dim=0),
    "clipped": lambda g, c: g / max(1.0, g.norm().item() / c),
    "own_statistics": lambda f: functional.batch_norm(f, None, None, training=True, eps=1e-12),
    "module_wins": lambda z, c: 100 * sum(int(row.argmax()) in c for row in z) / len(z),
    "accuracy_in_part": lambda z, y, c: share(z.index_add(1, torch.tensor(c), torch.full((len(z), len(c)), 1e3)), y),
    "head_masking": lambda z, c: z.index_fill(1, torch.tensor(c), -math.inf),
    "js_divergence": lambda p, q: jensenshannon(p, q, axis=1).__pow__(2).mean(),
    "known_classes": known,
    "bank_saving": lambda n, m, k: 2**k * n / (n + k * m),
    "quantised_weight": coded,
    "drop_own_class": lambda z, y: lk.select_preserved(z, y[:, None]),
    "other_label": lambda z, y: lk.best_preserved_labels(z, y[:, None]),
    "sample_gap": lambda a, y, b, u: right_in(a, y) - right_in(b, u),
    "true_class_probability": lambda z, y: torch.stack([row.softmax(0)[own] for row, own in zip(z, y)]),
}

MISTAKES = {
    "deposit_mask": {
        "yours marks the images to keep": lambda y, c, k: ~mask(y, c, k),
        "yours gives the places": lambda y, c, k: mask(y, c, k).nonzero().flatten(),
        "yours gives the table of the classes": lambda y, c, k: torch.tensor([n in c for n in range(k)]),
        "yours compares with the first deposit class only": lambda y, c, k: y == c[0],
        "yours takes every class up to the largest": lambda y, c, k: y <= max(c),
        "yours gives 0 and 1": lambda y, c, k: mask(y, c, k).long(),
    },
    "accuracy": {
        "multiply by 100": lambda z, y: share(z, y) / 100,
        "divide by the number of images": lambda z, y: (z.argmax(1) == y).sum(),
        "yours is the error rate": lambda z, y: 100 - share(z, y),
        "yours picks the smallest logit": lambda z, y: 100 * (z.argmin(1) == y).float().mean(),
        "yours averages the probability": lambda z, y: 100 * z.softmax(1)[torch.arange(len(y)), y].mean(),
    },
    "wrong_labels": {
        "% of your labels are the true ones": lambda y, k, g: torch.randint(0, k, y.shape, generator=g),
        "take the sum modulo K": lambda y, k, g: y + torch.randint(1, k, y.shape, generator=g),
        "draw one offset for each sample": lambda y, k, g: (y + torch.randint(1, k, (1,), generator=g)) % k,
        "never draws some of the wrong classes": lambda y, k, g: (
            (y + torch.randint(1, k - 1, y.shape, generator=g)) % k
        ),
        "pass generator=generator": lambda y, k, g: (y + torch.randint(1, k, y.shape)) % k,
        "yours returns the true labels": lambda y, k, g: y,
        "must return whole numbers": lambda y, k, g: (y + 1.0) % k,
        "one label for each sample": lambda y, k, g: torch.randint(1, k, (1,), generator=g),
    },
    "attention_map": {
        "yours aren't scaled": energy,
        "yours have the sum 1": lambda f: energy(f) / energy(f).sum(dim=1, keepdim=True),
        "yours have the mean 1: divide by the L2 norm": lambda f: energy(f) / energy(f).mean(dim=1, keepdim=True),
        "square the features before you average": lambda f: functional.normalize(f.mean(1).flatten(1)),
        "average over the channels, dim=1": lambda f: functional.normalize((f**2).flatten(2).mean(2)),
        "flatten each map": lambda f: (f**2).mean(1) / (f**2).mean(1).norm(dim=(1, 2), keepdim=True),
        "shares one length over the batch": lambda f: energy(f) / energy(f).norm(),
        "its own length, dim=1; yours scales over dim=0": lambda f: functional.normalize(energy(f), dim=0),
    },
    "distillation_loss": {
        "the factor τ² is missing": kd,
        "the factor must be τ², not τ": lambda s, t, tau: tau * kd(s, t, tau),
        "aren't divided by τ": lambda s, t, tau: tau**2 * kd(s, t, 1),
        "teacher and student are swapped": lambda s, t, tau: tau**2 * kd(t, s, tau),
        "yours sums over the samples": lambda s, t, tau: tau**2 * kd(s, t, tau, "sum"),
        "averages over the classes too": lambda s, t, tau: tau**2 * kd(s, t, tau, "none").mean(),
        "the sign is wrong": lambda s, t, tau: -(tau**2) * kd(s, t, tau),
    },
    "select_preserved": {
        "sets them to zero": lambda z, c: z.clone().index_fill_(1, torch.tensor(c), 0.0),
        "sets them to −∞": lambda z, c: z.index_fill(1, torch.tensor(c), -math.inf),
        "yours keeps the deposit columns": lambda z, c: z[:, c],
        "yours drops the first columns": lambda z, c: z[:, len(c) :],
        "yours is flat": lambda z, c: z[:, others(z, c)].flatten(),
        "reverses the order": lambda z, c: z[:, others(z, c)].flip(1),
    },
    "select_deposited": {
        "yours keeps the preserved columns": lambda z, c: z[:, others(z, c)],
        "sets the others to zero": lambda z, c: z.index_fill(1, torch.tensor(others(z, c)), 0.0),
        "yours sorts the columns": lambda z, c: z[:, sorted(c)],
        "yours takes the first columns": lambda z, c: z[:, : len(c)],
        "yours takes only the first deposit class": lambda z, c: z[:, [c[0]]],
    },
    "merge_logits": {
        "target and module are swapped": lambda t, m, c: in_place(m.clone(), t, c),
        "yours adds the two in every column": lambda t, m, c: t + m,
        "yours averages the two": lambda t, m, c: (t + m) / 2,
        "yours takes the larger": lambda t, m, c: torch.maximum(t, m),
        "puts the deposit columns last": lambda t, m, c: torch.hstack([t[:, others(t, c)], m[:, c]]),
        "changes a tensor that it was given": in_place,
        "yours is the module alone": lambda t, m, c: m,
    },
    "class_scatter": {
        "the ridge is missing": lambda f, y, e: scatter(f, y, 0),
        "divide by k − 1, the number": lambda f, y, e: scatter(f, y, e, halve=False),
        "weigh each class mean": lambda f, y, e: scatter(f, y, e, shares=False),
        "the scatter within the classes": lambda f, y, e: scatter(f, y, e, total="within"),
        "subtract the mean of all features": lambda f, y, e: scatter(f, y, e, centre=False),
        "divides one trace by the other": lambda f, y, e: scatter(f, y, e, white=False),
    },
    "linear_probe": {
        "multiply by 100": lambda x, y, u, v: probe(x, y, u, v) / 100,
        "accuracy on the training features": lambda x, y, u, v: probe(x, y, x, y),
        "trains the probe on the test features": lambda x, y, u, v: probe(u, v, u, v),
        "standardise the features first": lambda x, y, u, v: probe(x, y, u, v, scale="no"),
        "fit the scaler on the training features only": lambda x, y, u, v: probe(x, y, u, v, scale="each"),
        "yours is the error rate": lambda x, y, u, v: 100 - probe(x, y, u, v),
    },
    "quantised_difference": {
        "the sign is wrong": lambda a, b, n: rounded(b - a, n),
        "yours rounds the original": lambda a, b, n: rounded(a, n),
        "yours isn't rounded": lambda a, b, n: a - b,
        "yours shares one": lambda a, b, n: rounded(a - b, n, shared=True),
        "divide 2 · max by 2^bits − 1": lambda a, b, n: rounded(a - b, n, steps=2**n),
        "yours always rounds down": lambda a, b, n: rounded(a - b, n, down=True),
        "the target added already": lambda a, b, n: b + rounded(a - b, n),
    },
    "harmonic_mean": {
        "yours is the arithmetic mean": lambda p, f: (p + f) / 2,
        "the factor 2 is missing": lambda p, f: harmonic(p, f) / 2,
        "yours is the geometric mean": lambda p, f: math.sqrt(p * f) if f > 0 else 0,
        "percent in, percent out": lambda p, f: harmonic(p, f) / 100,
        "H Mean is 0 if nothing is forgotten": lambda p, f: 0 if p + f == 0 else 2 * p * f / (p + f),
        "divides by zero": lambda p, f: 2 * p * f / (p + f),
    },
    "part_sizes": {
        "a fraction of the rest": lambda n, t, v: (
            n - math.ceil(t * n) - math.ceil(v * n),
            math.ceil(v * n),
            math.ceil(t * n),
        ),
        "yours rounds down": lambda n, t, v: parts_of(n, t, v, math.floor),
        "the order train, validation, test": lambda n, t, v: parts_of(n, t, v)[::-1],
        "still has the validation images": lambda n, t, v: (n - math.ceil(t * n), *parts_of(n, t, v)[1:]),
        "yours aren't rounded": lambda n, t, v: parts_of(n, t, v, float),
    },
    "stratified_counts": {
        "yours counts the whole": lambda y, m, k: torch.bincount(y, minlength=k).float(),
        "yours gives shares": lambda y, m, k: torch.bincount(y, minlength=k) / len(y),
        "every class the same number": lambda y, m, k: torch.ones(k) * m / k,
        "don't cut off the decimals": lambda y, m, k: m * torch.bincount(y, minlength=k) // len(y),
        "yours counts the first images": lambda y, m, k: torch.bincount(y[:m], minlength=k),
        "a class without images needs its 0": lambda y, m, k: m * torch.bincount(y) / len(y),
    },
    "changed_images": {
        "only the images that are gone": lambda a, b: len(set(a.tolist()) - set(b.tolist())),
        "only the new images": lambda a, b: len(set(b.tolist()) - set(a.tolist())),
        "that are in both": lambda a, b: len(set(a.tolist()) & set(b.tolist())),
        "that are in either": lambda a, b: len({*a.tolist(), *b.tolist()}),
        "the sizes of the two sets only": lambda a, b: abs(len(a) - len(b)),
    },
    "convolution_parameters": {
        "scale and shift are missing": lambda i, o, k: o * i * k**2,
        "yours counts one": lambda i, o, k: o * i * k**2 + o,
        "yours reads one": lambda i, o, k: o * k**2 + 2 * o,
        "a filter is kernel × kernel": lambda i, o, k: o * i * k + 2 * o,
        "no bias": lambda i, o, k: o * (i * k**2 + 1) + 2 * o,
        "not on the input channels": lambda i, o, k: o * i * k**2 + 2 * i,
    },
    "smoothed_label": {
        "the right class gets its share of ε": lambda y, k, e: torch.full((k,), e / k).index_fill(
            0, torch.tensor(y), 1 - e
        ),
        "over the K − 1 other classes": lambda y, k, e: torch.full((k,), e / (k - 1)).index_fill(
            0, torch.tensor(y), 1 - e
        ),
        "yours isn't smoothed": lambda y, k, e: functional.one_hot(torch.tensor(y), k).float(),
        "yours is the first": lambda y, k, e: (1 - e) * (torch.arange(k) == 0) + e / k,
        "the sum must be 1": lambda y, k, e: torch.full((k,), e / k).index_fill(0, torch.tensor(y), 1.0),
    },
    "half_cosine": {
        "a straight line": lambda a, b, p: a + (b - a) * p,
        "divide 1 − cos(πp) by 2": lambda a, b, p: a + (b - a) * (1 - math.cos(math.pi * p)),
        "yours goes backwards": lambda a, b, p: a + (b - a) * (1 + math.cos(math.pi * p)) / 2,
        "begin at start": lambda a, b, p: (b - a) * (1 - math.cos(math.pi * p)) / 2,
        "not by end": lambda a, b, p: a + b * (1 - math.cos(math.pi * p)) / 2,
        "π times p": lambda a, b, p: a + (b - a) * (1 - math.cos(p)) / 2,
    },
    "feature_recovery_loss": {
        "divide by the original's squared length": lambda m, f: ((m - f) ** 2).sum(),
        "not the module's": lambda m, f: ((m - f) ** 2).sum() / (m**2).sum(),
        "square the lengths": lambda m, f: ((m - f) ** 2).sum().sqrt() / (f**2).sum().sqrt(),
        "averages the fractions": lambda m, f: (((m - f) ** 2).sum(dim=(1, 2, 3)) / (f**2).sum(dim=(1, 2, 3))).mean(),
        "yours is the mean squared error": functional.mse_loss,
        "takes their absolute values": lambda m, f: (m - f).abs().sum() / f.abs().sum(),
    },
    "neighbour_shares": {
        "divide by the sum, so": lambda d, s: torch.exp(-(d**2) / (2 * s**2)),
        "square the distances": lambda d, s: torch.softmax(-d / (2 * s**2), 0),
        "not by σ²": lambda d, s: torch.softmax(-(d**2) / s**2, 0),
        "not by 2σ": lambda d, s: torch.softmax(-(d**2) / (2 * s), 0),
        "the minus sign is missing": lambda d, s: torch.softmax(d**2 / (2 * s**2), 0),
        "inverse distances": lambda d, s: (1 / d) / (1 / d).sum(),
    },
    "perplexity": {
        "yours is the entropy": lambda p: -(p * p.log2()).sum(),
        "the sign is wrong": lambda p: 2 ** (p * p.log2()).sum(),
        "needs log2": lambda p: 2 ** -(p * p.log()).sum(),
        "not of e": lambda p: torch.exp(-(p * p.log2()).sum()),
        "weigh each logarithm": lambda p: 2 ** -p.log2().mean(),
        "yours averages": lambda p: 2 ** -(p * p.log2()).mean(),
    },
    "nearest_neighbour_accuracy": {
        "its own nearest neighbour": lambda x, y: 100 * (y[nearest(x, itself=True)] == y).float().mean(),
        "multiply by 100": lambda x, y: (y[nearest(x)] == y).float().mean(),
        "takes the farthest": lambda x, y: 100 * (y[torch.cdist(x, x).argmax(1)] == y).float().mean(),
        "with another label": lambda x, y: 100 * (y[nearest(x)] != y).float().mean(),
        "divide by the number of points": lambda x, y: (y[nearest(x)] == y).sum(),
    },
    "nearest_mean": {
        "the farthest class": lambda x, y, u: y.unique()[
            torch.cdist(u, torch.stack([x[y == n].mean(0) for n in y.unique()])).argmax(1)
        ],
        "the place in the list": lambda x, y, u: torch.searchsorted(y.unique(), by_means(x, y, u)),
        "yours gives distances": lambda x, y, u: torch.cdist(u, torch.stack([x[y == n].mean(0) for n in y.unique()])),
        "the dot product": lambda x, y, u: y.unique()[
            (u @ torch.stack([x[y == n].mean(0) for n in y.unique()]).T).argmax(1)
        ],
        "takes the nearest shot": lambda x, y, u: y[torch.cdist(u, x).argmin(1)],
    },
    "accuracy_with_bonus": {
        "multiply by 100": lambda z, y, c, b: SOLUTIONS["accuracy_with_bonus"](z, y, c, b) / 100,
        "before the arg max": lambda z, y, c, b: share(z, y),
        "raise the deposit classes": lambda z, y, c, b: share(z + b * torch.tensor([n not in c for n in range(3)]), y),
        "yours lowers them": lambda z, y, c, b: SOLUTIONS["accuracy_with_bonus"](z, y, c, -b),
        "to the first deposit class only": lambda z, y, c, b: SOLUTIONS["accuracy_with_bonus"](z, y, c[:1], b),
        "among the deposit classes only": lambda z, y, c, b: (
            100 * (torch.tensor(c)[z[:, c].argmax(1)] == y).float().mean()
        ),
    },
    "share_of_the_way": {
        "multiply by 100": lambda o, t, r: (o - t) / (o - r),
        "what is left": lambda o, t, r: 100 * (r - t) / (r - o),
        "divide by the way from": lambda o, t, r: 100 * (o - t) / o,
        "yours is in points": lambda o, t, r: o - t,
        "yours stops at 100": lambda o, t, r: min(100, 100 * (o - t) / (o - r)),
    },
    "bank_logits": {
        "yours adds the two": lambda t, m, c: t + (plugged(torch.zeros_like(t), m, c)),
        "yours takes the mean": lambda t, m, c: (t + plugged(t, m, c)) / 2,
        "the first module only": lambda t, m, c: plugged(t, m[:1], c),
        "the last module only": lambda t, m, c: plugged(t, m[-1:], c[-1:]),
        "every logit of the last module": lambda t, m, c: m[-1],
        "yours mixes them up": lambda t, m, c: plugged(t, m[::-1], c),
    },
    "known_classes": {
        "never deposited is known, too": lambda k, d, w: sorted(sum((d[name] for name in w), [])),
        "yours lists every class": lambda k, d, w: list(range(k)),
        "yours leaves them out": lambda k, d, w: known(k, d, []),
        "classes that are forgotten": lambda k, d, w: [number for number in range(k) if number not in known(k, d, w)],
        "sort them all": lambda k, d, w: known(k, d, []) + sorted(sum((d[name] for name in w), [])),
        "the first withdrawn module only": lambda k, d, w: known(k, d, w[:1]),
        "return the class numbers": lambda k, d, w: torch.tensor([number in known(k, d, w) for number in range(k)]),
    },
    "bank_saving": {
        "yours counts k²": lambda n, m, k: k * k * n / (n + k * m),
        "yours counts k.": lambda n, m, k: k * n / (n + k * m),
        "2^k, not 2^k − 1": lambda n, m, k: (2**k - 1) * n / (n + k * m),
        "the bank holds the target, too": lambda n, m, k: 2**k * n / (m * k),
        "yours counts one": lambda n, m, k: 2**k * n / (n + m),
        "yours is upside down": lambda n, m, k: (n + k * m) / 2**k / n,
        "yours is a difference": lambda n, m, k: 2**k * n - n - k * m,
    },
    "quantised_weight": {
        "yours shares one": lambda w, b: coded(w, b, dim=None),
        "yours has one for each column": lambda w, b: coded(w, b, dim=0),
        "yours always rounds down": lambda w, b: coded(w, b, rounding=torch.floor),
        "yours cuts off the decimals": lambda w, b: coded(w, b, rounding=torch.trunc),
        "yours are the codes": lambda w, b: (w / w.abs().amax(1, keepdim=True) * (2 ** (b - 1) - 1)).round(),
        "not 2^bits − 1": lambda w, b: coded(w, b, 2**b - 1),
        "not 2^(bits − 1)": lambda w, b: coded(w, b, 2 ** (b - 1)),
        "yours isn't rounded": lambda w, b: 1.0 * w,
    },
    "pull_cosine": {
        "divide by both lengths": lambda a, b: in_a_row(a) @ in_a_row(b),
        "flatten all tensors into one vector first": lambda a, b: (
            sum((x * y).sum() / (x.norm() * y.norm()) if x.any() and y.any() else 0.0 for x, y in zip(a, b)) / len(a)
        ),
        "looks at the first tensor only": lambda a, b: SOLUTIONS["pull_cosine"](a[:1], b[:1]),
        "keep the sign": lambda a, b: SOLUTIONS["pull_cosine"](a, b).abs(),
        "an angle in degrees": lambda a, b: SOLUTIONS["pull_cosine"](a, b).clamp(-1, 1).acos().rad2deg(),
        "the sign is wrong": lambda a, b: -SOLUTIONS["pull_cosine"](a, b),
    },
    "clipped": {
        "yours is made longer": lambda g, c: c * functional.normalize(g, dim=0),
        "yours cuts each entry": lambda g, c: g.clamp(max=c),
        "yours divides 0 by 0": lambda g, c: min(c, g.norm()) * g / g.norm(),
        "the sum of the absolute values": lambda g, c: g / max(1.0, g.abs().sum().item() / c),
        "not by its square": lambda g, c: g / max(1.0, g.square().sum().item() / c),
        "yours isn't shortened": lambda g, c: g,
    },
    "own_statistics": {
        "divide by the standard deviation, too": lambda f: f - f.mean((0, 2, 3), keepdim=True),
        "not by the variance": lambda f: (
            (f - f.mean((0, 2, 3), keepdim=True)) / f.var((0, 2, 3), keepdim=True, correction=0)
        ),
        "subtract the mean first": lambda f: f / f.std((0, 2, 3), keepdim=True, correction=0),
        "not by one less": lambda f: (f - f.mean((0, 2, 3), keepdim=True)) / f.std((0, 2, 3), keepdim=True),
        "yours averages over the samples only": lambda f: (f - f.mean(0)) / f.std(0, correction=0),
        "yours normalises each sample by itself": lambda f: (
            (f - f.mean((2, 3), keepdim=True)) / f.std((2, 3), keepdim=True, correction=0)
        ),
        "yours averages over the channels, too": lambda f: (f - f.mean()) / f.std(correction=0),
    },
    "module_wins": {
        "multiply by 100": lambda z, c: SOLUTIONS["module_wins"](z, c) / 100,
        "yours counts the images": lambda z, c: sum(int(row.argmax()) in c for row in z),
        "among the preserved classes": lambda z, c: 100 - SOLUTIONS["module_wins"](z, c),
        "the first deposit class only": lambda z, c: 100 * (z.argmax(1) == c[0]).float().mean(),
        "yours takes the smallest logit": lambda z, c: SOLUTIONS["module_wins"](-z, c),
        "yours averages the probability": lambda z, c: 100 * z.softmax(1)[:, c].sum() / len(z),
    },
    "accuracy_in_part": {
        "over all classes": lambda z, y, c: share(z, y),
        "look up the class": lambda z, y, c: share(z[:, c], y),
        "multiply by 100": lambda z, y, c: SOLUTIONS["accuracy_in_part"](z, y, c) / 100,
        "divide by the number of images": lambda z, y, c: (torch.tensor(c)[z[:, c].argmax(1)] == y).sum(),
        "yours is the error rate": lambda z, y, c: 100 - SOLUTIONS["accuracy_in_part"](z, y, c),
        "set to zero can still win": lambda z, y, c: share(z * torch.tensor([n in c for n in range(z.shape[1])]), y),
    },
    "head_masking": {
        "a zero can still win": lambda z, c: z.index_fill(1, torch.tensor(c), 0.0),
        "keep all K columns": lambda z, c: z[:, others(z, c)],
        "+∞ always wins": lambda z, c: z.index_fill(1, torch.tensor(c), math.inf),
        "yours masks the preserved classes": lambda z, c: z.index_fill(1, torch.tensor(others(z, c)), -math.inf),
        "the first deposit class only": lambda z, c: z.index_fill(1, torch.tensor(c[0]), -math.inf),
        "a large negative number": lambda z, c: z.index_fill(1, torch.tensor(c), -1e9),
    },
    "js_divergence": {
        "yours is KL(p ‖ q)": lambda p, q: (p * (p.log() - q.log())).sum(1).mean(),
        "take half of the sum": lambda p, q: 2 * SOLUTIONS["js_divergence"](p, q),
        "the second half is missing": lambda p, q: (p * (2 * p / (p + q)).log()).sum(1).mean() / 2,
        "yours sums over the samples": lambda p, q: len(p) * SOLUTIONS["js_divergence"](p, q),
        "yours is in bits": lambda p, q: SOLUTIONS["js_divergence"](p, q) / math.log(2),
        "yours averages over them, too": lambda p, q: SOLUTIONS["js_divergence"](p, q) / 2,
    },
    "drop_own_class": {
        "yours drops every class that occurs": lambda z, y: z[:, others(z, set(y.tolist()))],
        "the first sample's class for all": lambda z, y: lk.select_preserved(z, [y[0].item()]),
        "yours sets it to zero": lambda z, y: without(z, y, 0.0),
        "yours sets it to −∞": lambda z, y: without(z, y, -math.inf),
        "yours is flat": lambda z, y: lk.select_preserved(z, y[:, None]).flatten(),
        "g keeps the others": lambda z, y: lk.select_deposited(z, y[:, None]),
        "drops the largest logit": lambda z, y: lk.select_preserved(z, z.argmax(1)[:, None]),
    },
    "other_label": {
        "yours may be the true class": lambda z, y: z.argmax(dim=1),
        "sets the own logit to 0": lambda z, y: without(z, y, 0.0).argmax(dim=1),
        "a place among the logits that are left": lambda z, y: lk.select_preserved(z, y[:, None]).argmax(dim=1),
        "the second most likely class": lambda z, y: z.topk(2).indices[:, 1],
        "the least likely class": lambda z, y: without(z, y, math.inf).argmin(dim=1),
        "yours gives logits": lambda z, y: without(z, y, -math.inf).max(dim=1).values,
        "yours is the true label": lambda z, y: y,
    },
    "sample_gap": {
        "the sign is wrong": lambda a, y, b, u: right_in(b, u) - right_in(a, y),
        "multiply by 100": lambda a, y, b, u: (right_in(a, y) - right_in(b, u)) / 100,
        "keep the sign": lambda a, y, b, u: abs(right_in(a, y) - right_in(b, u)),
        "subtracts numbers of images": lambda a, y, b, u: (a == y).sum() - (b == u).sum(),
        "the accuracy on the deposited samples": lambda a, y, b, u: right_in(a, y),
        "yours is a ratio": lambda a, y, b, u: 100 * right_in(a, y) / right_in(b, u),
    },
    "true_class_probability": {
        "take the softmax first": lambda z, y: z[torch.arange(len(y)), y],
        "yours is the logarithm": lambda z, y: -functional.cross_entropy(z, y, reduction="none"),
        "the largest probability": lambda z, y: z.softmax(1).max(1).values,
        "yours is over the samples": lambda z, y: z.softmax(0)[torch.arange(len(y)), y],
        "yours is a mean": lambda z, y: SOLUTIONS["true_class_probability"](z, y).mean(),
        "the shape (N, 1)": lambda z, y: SOLUTIONS["true_class_probability"](z, y)[:, None],
        "of all classes": lambda z, y: z.exp() / z.exp().sum(1, keepdim=True),
    },
}


def blank(*given): ...


def half_blank(*given):
    total = ... + 1
    return total


def fails(*given):
    a = 1
    return a / 0


def test_every_check_is_tested():
    public = {name for name, value in vars(lk.check).items() if getattr(value, "__module__", "") == lk.check.__name__}
    checks = {name for name in public if not name.startswith("_")} - {"Verdict"}
    assert checks == set(SOLUTIONS) == set(MISTAKES)
    assert all(len(mistakes) >= 5 for mistakes in MISTAKES.values())


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_check_passes_on_the_solution(name):
    verdict = getattr(lk.check, name)(SOLUTIONS[name])
    assert verdict, verdict
    assert repr(verdict).startswith("✓ Right: ")


@pytest.mark.parametrize("name,words", [(name, words) for name in MISTAKES for words in MISTAKES[name]])
def test_a_check_names_the_mistake(name, words):
    verdict = getattr(lk.check, name)(MISTAKES[name][words])
    assert not verdict
    assert words in repr(verdict) and repr(verdict).startswith("✗ ") and "\n" not in repr(verdict)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_what_is_no_answer_gets_one_friendly_sentence(name):
    check = getattr(lk.check, name)
    for empty in (blank, half_blank):
        assert repr(check(empty)).startswith(f"✗ {empty.__name__} still has a blank: replace the … with your own")
    assert "<lambda> returned nothing: end it with return" in repr(check(lambda *given: None))
    assert repr(check(fails)).endswith(
        "fails stopped with ZeroDivisionError: division by zero (in line 3 of your function)."
    ) or (name == "harmonic_mean" and "divides by zero" in repr(check(fails)))
    assert "stopped with TypeError" in repr(check(lambda: 1))
    for wrong, kind in ((None, "None"), (3, "an int"), (torch.ones(2), "a Tensor of shape (2,)"), (..., "a blank (…)")):
        sentence = f"✗ Give the check your function itself, without calling it: lk.check.{name}(your_function); it got"
        assert repr(check(wrong)) == f"{sentence} {kind}."
    for odd in ("text", [1.0], {}, numpy.ones((7, 7)), torch.ones(7, 7, 7), math.nan, True, torch.ones(0)):
        verdict = check(lambda *given, odd=odd: odd)
        assert not verdict and "\n" not in repr(verdict), odd


class Unfriendly(torch.Tensor):
    """A tensor that nothing can be done with."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), named=None):
        raise RuntimeError("no")


def odd_answers():
    """What a function may return by mistake, by name; made anew for each check."""
    numbers = torch.tensor([1.0, 2.0, 3.0])
    return [
        "text", b"bytes", "3", {}, set(), [], (), [[1.0], [2.0]], [None], ["a"], [10**400], (1, 2.5, True), range(3),
        object(), 10**400, -(10**400), 1 + 2j, math.nan, math.inf, True, print, int, (x for x in "ab"),
        numpy.array([object()]), numpy.array(["text"]), numpy.array([1 + 2j]), numpy.array([b"x"]), numpy.array([]),
        numpy.array([[3.0]]), numpy.str_("3"), numpy.complex128(1j), numpy.datetime64("2022-10-23"), numpy.bool_(True),
        numpy.ones(5), numpy.float64("nan"), numpy.ma.masked,
        torch.tensor(1j), torch.ones(3, dtype=torch.complex64), numbers.to_sparse(), torch.ones(1).to_sparse(),
        torch.eye(3).to_sparse_csr(), torch.ones(3, device="meta"), torch.ones(1, device="meta"), torch.empty(0),
        torch.nested.nested_tensor([numbers, numbers[:2]]),
        torch.ones(()), torch.tensor(True), torch.ones(7, 7, 7), torch.full((2000,), 3), numbers.requires_grad_(),
        torch.full((2000,), math.nan), torch.ones(2000, dtype=torch.uint8), torch.ones(3, dtype=torch.float16),
        torch.nn.Linear(1, 1), torch.nn.Parameter(torch.ones(1)), torch.ones(3).as_subclass(Unfriendly),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("name", SOLUTIONS)
def test_whatever_a_function_returns_a_check_says_one_sentence(name):
    for number, odd in enumerate(odd_answers()):
        verdict = getattr(lk.check, name)(lambda *given, odd=odd: odd)
        said = str(verdict)
        assert not verdict and re.fullmatch(r"✗ .{15,300}\.", said), (number, type(odd), said)
        assert "Error" not in said or "stopped with" in said, said


def test_what_is_no_real_number_is_named():
    said = {
        "a complex": 1j,
        "a Tensor of complex64, strided": torch.tensor(1j),
        "a Tensor of float32, sparse_coo": torch.ones(1).to_sparse(),
        "an ndarray of dtype object of shape (1,)": numpy.array([None]),
        "a str": "3",
    }
    for kind, value in said.items():
        verdict = lk.check.harmonic_mean(lambda pre, forgotten, value=value: value)
        assert repr(verdict) == f"✗ <lambda> must return a single real number, not {kind}."
    verdict = lk.check.harmonic_mean(lambda pre, forgotten: 10**400)
    assert repr(verdict) == "✗ <lambda>(90.0, 60.0) must be 72, yours is inf."
    verdict = lk.check.attention_map(lambda features: features[0, 0].to_sparse())
    kind = "a tensor of real numbers, of shape (2, 2), not a Tensor of float32, sparse_coo"
    assert repr(verdict) == f"✗ <lambda> must return {kind}."


def test_a_list_of_truth_values_is_a_mask():
    assert lk.check.deposit_mask(lambda labels, classes, count: [label in classes for label in labels.tolist()])


def test_an_ellipsis_in_an_index_is_no_blank():
    def last_column(logits, classes):
        return logits[..., 9]

    assert "last_column stopped with IndexError: " in repr(lk.check.select_deposited(last_column))


def test_the_sentence_for_an_unknown_mistake_says_what_was_expected():
    verdict = lk.check.harmonic_mean(lambda pre, forgotten: 71.0)
    assert repr(verdict) == "✗ <lambda>(90.0, 60.0) must be 72, yours is 71."
    verdict = lk.check.select_preserved(lambda logits, classes: logits[:, :2] + 1)
    assert repr(verdict) == "✗ <lambda>([10.0, 11.0, 12.0, 13.0], [2, 0]) must be [11.0, 13.0], yours is [11.0, 12.0]."
    verdict = lk.check.attention_map(lambda features: torch.ones(3, 3))
    assert repr(verdict) == "✗ <lambda> must return the shape (2, 2) here, not (3, 3)."


def test_a_student_s_function_can_t_damage_the_toy_numbers():
    before = [[value.clone() for value in arguments] for arguments, _ in toys.MERGE_LOGITS]
    lk.check.merge_logits(in_place)
    assert all(map(torch.equal, sum(before, []), [value for arguments, _ in toys.MERGE_LOGITS for value in arguments]))
