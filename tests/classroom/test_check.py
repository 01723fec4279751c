"""Every check passes on a solution, and names each of the likely mistakes, here written as a student would."""

import math

import numpy
import pytest
import torch
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
