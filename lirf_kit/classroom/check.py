"""Checks: ``lk.check.attention_map(attention_map)`` says in one sentence what is right or wrong.

Each check calls the student's function on the toy numbers in `toys`, which were worked by hand. If the answers differ,
they are compared with those of the most likely mistakes, and the sentence names the mistake. Every check takes the
student's function, returns a `verdicts.Verdict`, and never raises.

Most checks are a table of likely mistakes: for each the sentence to say, and a function that makes the mistake. If the
two do not fit on one line, the function stands below its sentence, which is why the formatter is off.
"""

import math

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cosine_similarity, kl_div, normalize

from lirf_kit.classroom import toys
from lirf_kit.classroom.verdicts import Stop, answer_of, check, compare, compared, tensor_of

# fmt: off


@compared(toys.DEPOSIT_MASK, "Right: one True or False for each label, whatever the order of the images.")
def deposit_mask():
    """Check a function (labels, deposit_classes, num_classes) that returns True where a label is deposited."""
    return {
        "yours marks the images to keep: True must mean deposited": lambda y, c, k: ~_isin(y, c),
        "yours gives the places; return one True or False for each label": lambda y, c, k: _isin(y, c).nonzero()[:, 0],
        "yours gives the table of the classes; look it up with the labels, table[labels]":
            lambda y, c, k: _isin(torch.arange(k), c),
        "yours takes the first images, as many as the deposit classes' share: go by label, not by place":
            lambda y, c, k: torch.arange(len(y)) < round(len(y) * len(c) / k),
        "yours gives labels; return one True or False for each label": lambda y, c, k: y[_isin(y, c)],
        "yours compares with the first deposit class only": lambda y, c, k: y == c[0],
        "yours takes every class up to the largest deposit class": lambda y, c, k: y <= max(c),
        "yours gives 0 and 1; the mask must be of dtype bool": lambda y, c, k: _isin(y, c).long(),
    }


def _isin(labels, classes):
    return torch.isin(labels, torch.tensor(classes))


@compared(toys.ACCURACY, "Right: the share of right answers, in percent.")
def accuracy():
    """Check a function (logits, labels) that returns the share of right answers in percent."""
    return {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda z, y: _share(z, y) / 100,
        "yours counts right answers; divide by the number of images": lambda z, y: _share(z, y) * len(y) / 100,
        "yours is the error rate: 100 minus the accuracy": lambda z, y: 100 - _share(z, y),
        "take the arg max over the classes, dim=1, not over the samples":
            lambda z, y: 100 * sum(a == b for a, b in zip(z.argmax(0).tolist(), y.tolist())) / len(y),
        "yours picks the smallest logit; the answer is the largest, argmax": lambda z, y: _share(-z, y),
        "yours divides by the number of classes; divide by the number of images":
            lambda z, y: _share(z, y) * len(y) / z.shape[1],
        "yours averages the probability of the true class; count the answers that are right":
            lambda z, y: 100 * z.softmax(1).gather(1, y[:, None]).mean().item(),
    }


def _share(logits, labels):
    return 100 * (logits.argmax(1) == labels).float().mean().item()


@check
def wrong_labels(student_function):
    """Check a function (labels, num_classes, generator) that draws a wrong label for each sample."""
    name, (labels, count) = student_function.__name__, toys.WRONG_LABELS

    def draw():
        answer = answer_of(student_function, (labels, count, torch.Generator().manual_seed(0)))
        return tensor_of(name, answer, (len(labels),))

    wrong = draw()
    if wrong.shape != labels.shape:
        raise Stop(f"{name} must return one label for each sample, shape {(len(labels),)}, not {tuple(wrong.shape)}.")
    if wrong.is_floating_point() or wrong.dtype == torch.bool:
        raise Stop(f"{name} must return whole numbers (int64), not {wrong.dtype}.")
    true = (wrong == labels).float().mean().item()
    seen = [wrong[labels == label].unique().numel() for label in range(count)]
    faults = {
        f"yours gives labels from {wrong.min()} to {wrong.max()}, but the classes go from 0 to {count - 1}: "
        "take the sum modulo K": wrong.max() >= count or wrong.min() < 0,
        "yours returns the true labels: add an offset from 1 to K − 1": torch.equal(wrong, labels),
        f"{100 * true:.0f} % of your labels are the true ones: with an offset from 1 to K − 1 none are": true > 0,
        "yours gives each class always the same wrong label: draw one offset for each sample": max(seen) == 1,
        "yours never draws some of the wrong classes: torch.randint(1, K) gives 1 to K − 1, because it leaves out its "
        "upper limit": min(seen) < count - 1,
        "yours differs from call to call with the same seed: pass generator=generator to the draw":
            not torch.equal(wrong, draw()),
    }
    for sentence, holds in faults.items():
        if holds:
            raise Stop(f"{name}: {sentence}.")
    return "Right: never the true label, all others about equally often, and the same seed gives the same labels."


@compared(toys.ATTENTION_MAP, "Right: one row of H·W numbers for each sample, none negative, each of length 1.")
def attention_map():
    """Check a function (features) that returns attention maps, (N, H·W)."""

    def energy(features):
        return features.square().mean(1).flatten(1)

    return {
        "the maps must have length 1; yours aren't scaled: divide by the L2 norm": energy,
        "the maps must have length 1; yours have the sum 1: divide by the L2 norm":
            lambda f: energy(f) / energy(f).sum(1, keepdim=True),
        "the maps must have length 1; yours have the mean 1: divide by the L2 norm":
            lambda f: energy(f) / energy(f).mean(1, keepdim=True),
        "the maps must have length 1; the largest entry of yours is 1: divide by the L2 norm":
            lambda f: energy(f) / energy(f).amax(1, keepdim=True),
        "square the features before you average them over the channels":
            lambda f: normalize(f.mean(1).flatten(1), dim=1),
        "square each feature first, then average over the channels; yours does it the other way round":
            lambda f: normalize(f.mean(1).square().flatten(1), dim=1),
        "square the features; yours takes their absolute values":
            lambda f: normalize(f.abs().mean(1).flatten(1), dim=1),
        "average over the channels, dim=1; yours averages over the positions":
            lambda f: normalize(f.square().mean((2, 3)), dim=1),
        "flatten each map to one row of H·W numbers, .flatten(1), then scale it":
            lambda f: normalize(f.square().mean(1), dim=1),
        "flatten each map to one row of H·W numbers, .flatten(1)":
            lambda f: normalize(energy(f), dim=1).view(len(f), *f.shape[2:]),
        "scale each sample's map by its own length, dim=1; yours shares one length over the batch":
            lambda f: energy(f) / energy(f).norm(),
        "scale each sample's map by its own length, dim=1; yours scales over dim=0":
            lambda f: normalize(energy(f), dim=0),
    }


@compared(
    toys.DISTILLATION,
    "Right: KL(teacher ‖ student) of the softened logits, summed over classes, averaged over samples, times τ².",
)
def distillation_loss():
    """Check a function (student_logits, teacher_logits, temperature) that returns KD, a scalar."""

    def divergence(student, teacher, temperature, reduction="batchmean"):
        student, teacher = (torch.log_softmax(each / temperature, 1) for each in (student, teacher))
        return kl_div(student, teacher, reduction=reduction, log_target=True)

    return {
        "the factor τ² is missing: gradients shrink as 1/τ², and it makes up for that": divergence,
        "the factor must be τ², not τ": lambda s, t, tau: tau * divergence(s, t, tau),
        "the logits aren't divided by τ": lambda s, t, tau: tau**2 * divergence(s, t, 1.0),
        "teacher and student are swapped: it is KL(teacher ‖ student)":
            lambda s, t, tau: tau**2 * divergence(t, s, tau),
        "yours sums over the samples; take their mean (reduction='batchmean')":
            lambda s, t, tau: tau**2 * divergence(s, t, tau, "sum"),
        "yours averages over the classes too; sum over classes, mean over samples (reduction='batchmean')":
            lambda s, t, tau: tau**2 * divergence(s, t, tau, "none").mean(),
        "the sign is wrong: a KL divergence is never negative": lambda s, t, tau: -(tau**2) * divergence(s, t, tau),
        "kl_div wants the student's log-probabilities: use log_softmax, not softmax":
            lambda s, t, tau: tau**2 * kl_div((s / tau).softmax(1), (t / tau).softmax(1), reduction="batchmean"),
        "yours is the cross-entropy; subtract the teacher's own entropy, and you have the KL divergence":
            lambda s, t, tau: tau**2 * -((t / tau).softmax(1) * (s / tau).log_softmax(1)).sum(1).mean(),
    }


def _others(logits, classes):
    return [column for column in range(logits.shape[1]) if column not in list(classes)]


@compared(
    toys.SELECT_PRESERVED,
    "Right: the deposit columns are gone, and the others stand in the order of their classes.",
)
def select_preserved():
    """Check g, a function (logits, deposit_classes) that drops the columns of the deposit classes."""
    return {
        "drop the deposit columns; yours sets them to zero, and a zero still has a vote in the softmax":
            lambda z, c: z.index_fill(1, torch.tensor(c), 0.0),
        "drop the deposit columns; yours sets them to −∞, and the softmax would have K places":
            lambda z, c: z.index_fill(1, torch.tensor(c), -torch.inf),
        "yours keeps the deposit columns; g keeps the other ones": lambda z, c: z[:, list(c)],
        "yours keeps the deposit columns; g keeps the other ones, in order of their numbers":
            lambda z, c: z[:, sorted(c)],
        "yours drops the first columns; the deposit classes can be any": lambda z, c: z[:, len(c) :],
        "yours drops the last columns; the deposit classes can be any": lambda z, c: z[:, : -len(c)],
        "yours reverses the order of the columns; keep the order of the class numbers":
            lambda z, c: z[:, _others(z, c)[::-1]],
        "yours gives a mask or column numbers; return the logits of these columns":
            lambda z, c: torch.tensor(_others(z, c)),
        "yours is flat; keep one row for each sample, (N, K − k)": lambda z, c: z[:, _others(z, c)].flatten(),
    }


@compared(toys.SELECT_DEPOSITED, "Right: the deposit columns and nothing else, in the order of deposit_classes.")
def select_deposited():
    """Check ḡ, a function (logits, deposit_classes) that keeps the columns of the deposit classes."""
    return {
        "yours keeps the preserved columns; ḡ keeps those of the deposit classes": lambda z, c: z[:, _others(z, c)],
        "keep only the deposit columns; yours sets the others to zero, and a zero still has a vote":
            lambda z, c: z.index_fill(1, torch.tensor(_others(z, c)), 0.0),
        "yours sorts the columns; keep them in the order of deposit_classes": lambda z, c: z[:, sorted(c)],
        "yours takes the first columns; the deposit classes can be any": lambda z, c: z[:, : len(c)],
        "yours picks rows; the classes are the columns, dim=1": lambda z, c: z[: len(c)],
        "yours is flat; keep one row for each sample, (N, k)": lambda z, c: z[:, list(c)].flatten(),
        "yours takes only the first deposit class": lambda z, c: z[:, c[:1]],
        "yours gives class numbers; return the logits of these columns": lambda z, c: torch.tensor(c),
    }


@compared(
    toys.MERGE_LOGITS,
    "Right: deposit columns from the module, all others from the target, each at the index of its class.",
)
def merge_logits():
    """Check a function (target_logits, module_logits, deposit_classes) that returns the recovered network's logits."""

    def merged(target, module, classes):
        return target.index_copy(1, classes, module[:, classes])

    return {
        "target and module are swapped: the deposit columns come from the module": lambda t, m, c: merged(m, t, c),
        "yours adds the two in every column; each column comes from one network only": lambda t, m, c: t + m,
        "yours adds the module's logits to the target's; replace them in the deposit columns":
            lambda t, m, c: merged(t, t + m, c),
        "yours averages the two; each column comes from one network only": lambda t, m, c: (t + m) / 2,
        "yours takes the larger of the two; the class decides, not the logit": lambda t, m, c: torch.maximum(t, m),
        "yours is the module alone; the preserved columns come from the target": lambda t, m, c: m,
        "yours is the target alone; the deposit columns come from the module": lambda t, m, c: t,
        "yours puts the deposit columns last; every logit must stand at the index of its class":
            lambda t, m, c: torch.cat([t[:, _others(t, c.tolist())], m[:, c]], dim=1),
        "yours puts the deposit columns first; every logit must stand at the index of its class":
            lambda t, m, c: torch.cat([m[:, c], t[:, _others(t, c.tolist())]], dim=1),
        "yours takes the module's first columns; take the same columns of both":
            lambda t, m, c: t.index_copy(1, c, m[:, : len(c)]),
        "yours leaves zeros in the preserved columns; they come from the target": lambda t, m, c: merged(0 * t, m, c),
    }


@compared(
    toys.CLASS_SCATTER,
    "Right: 0 where all class means are equal, and it grows with what a linear read-out can tell apart.",
)
def class_scatter():
    """Check a function (features, labels, ridge) that returns L_cs, a scalar."""

    def scatter(features, labels, ridge, centre=True, weigh=True, within=False, white=True, unbiased=0):
        classes = labels.unique()
        centred = features - features.mean(0) if centre else features
        means = torch.stack([centred[labels == each].mean(0) for each in classes])
        own = torch.stack([(labels == each).float().mean() for each in classes])
        shares = own if weigh else torch.ones(len(classes)) / len(classes)
        between, total = (means.T * shares) @ means, centred.T @ centred / (len(features) - unbiased)
        if within:
            total = total - (means.T * own) @ means
        total = total + ridge * torch.eye(features.shape[1])
        asked = torch.linalg.solve(total, between).trace() if white else between.trace() / total.trace()
        return asked / (len(classes) - 1)

    return {
        "the ridge is missing: add ε to the diagonal of S_T before you invert it": lambda f, y, e: scatter(f, y, 0.0),
        "divide by k − 1, the number of classes less one": lambda f, y, e: scatter(f, y, e) * (len(y.unique()) - 1),
        "divide by k − 1, not by k": lambda f, y, e: scatter(f, y, e) * (len(y.unique()) - 1) / len(y.unique()),
        "weigh each class mean by its share of the samples": lambda f, y, e: scatter(f, y, e, weigh=False),
        "S_T is the covariance of all features; yours is the scatter within the classes":
            lambda f, y, e: scatter(f, y, e, within=True),
        "subtract the mean of all features first": lambda f, y, e: scatter(f, y, e, centre=False),
        "invert the matrix S_T + εI; yours divides one trace by the other":
            lambda f, y, e: scatter(f, y, e, white=False),
        "divide the covariance by N, not by N − 1": lambda f, y, e: scatter(f, y, e, unbiased=1),
    }


@check
def linear_probe(student_function):
    """Check a function (train_features, train_labels, test_features, test_labels) that returns accuracy in %."""

    def probe(x, y, u, v):
        return 100 * make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y).score(u, v)

    def unscaled(x, y, u, v):
        return 100 * LogisticRegression(max_iter=1000).fit(x, y).score(u, v)

    scaled = StandardScaler().fit_transform
    mistakes = {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda *given: probe(*given) / 100,
        "yours is the accuracy on the training features; ask the probe about the test features":
            lambda x, y, u, v: probe(x, y, x, y),
        "yours trains the probe on the test features, too": lambda x, y, u, v: probe(u, v, u, v),
        "standardise the features first (StandardScaler): a feature with small values can tell as much as a large one":
            unscaled,
        "fit the scaler on the training features only, and use it for the test features":
            lambda x, y, u, v: unscaled(scaled(x), y, scaled(u), v),
        "yours scales the training features but not the test features":
            lambda x, y, u, v: unscaled(scaled(x), y, u, v),
        "yours is the error rate: 100 minus the accuracy": lambda *given: 100 - probe(*given),
    }
    data = toys.probe_data()
    right = "Right: scaler and probe are fitted on the training features, and the test features are only asked."
    return compare(student_function, [(data, probe(*data))], mistakes, right)


@compared(
    toys.QUANTISED_DIFFERENCE,
    "Right: at most 2^bits values in each row, symmetric about 0, and the largest difference is kept.",
)
def quantised_difference():
    """Check a function (original_weight, target_weight, bits) that returns their difference rounded to 2^bits values.

    For each output channel (row), the values are evenly spaced, symmetric about 0, and the outermost is the row's
    largest absolute value. The kit's own `quantise` also tries smaller scales.
    """

    def rounded(difference, bits, levels=None, dim=1, how=torch.round, widest=2):
        top = (levels or 2**bits) - 1
        scale = widest * difference.abs().amax(dim=dim, keepdim=True) / top
        return (how(difference / scale + top / 2).clamp(0, top) - top / 2) * scale

    return {
        "the sign is wrong: the difference is original minus target": lambda a, b, n: rounded(b - a, n),
        "yours rounds the original; round the difference, original minus target": lambda a, b, n: rounded(a, n),
        "yours isn't rounded: only 2^bits values are allowed in each row": lambda a, b, n: a - b,
        "give each row (output channel) a scale of its own; yours shares one":
            lambda a, b, n: rounded(a - b, n, dim=(0, 1)),
        "2^bits values have 2^bits − 1 steps between them: divide 2 · max by 2^bits − 1":
            lambda a, b, n: rounded(a - b, n, 2**n + 1),
        "round to the nearest value; yours always rounds down": lambda a, b, n: rounded(a - b, n, how=torch.floor),
        "the scale is twice the largest absolute value over the steps; the factor 2 is missing":
            lambda a, b, n: rounded(a - b, n, widest=1),
        "return the difference alone; yours has the target added already": lambda a, b, n: b + rounded(a - b, n),
    }


@check
def harmonic_mean(student_function):
    """Check a function (preserved_accuracy, forgotten) that returns H Mean; both and the result in percent."""

    def harmonic(pre, forgotten):
        return 2 * pre * forgotten / (pre + forgotten) if forgotten > 0 else 0.0

    mistakes = {
        "yours is the arithmetic mean, which one high number keeps high: 2·Pre·F / (Pre + F)": lambda p, f: (p + f) / 2,
        "the factor 2 is missing: 2·Pre·F / (Pre + F)": lambda p, f: harmonic(p, f) / 2,
        "yours is the geometric mean: 2·Pre·F / (Pre + F)": lambda p, f: (p * max(f, 0)) ** 0.5,
        "yours is a share from 0 to 1: percent in, percent out": lambda p, f: harmonic(p, f) / 100,
        "yours is below 0 where F is: H Mean is 0 if nothing is forgotten (F ≤ 0)":
            lambda p, f: 2 * p * f / (p + f) if p + f else 0.0,
        "yours is the smaller of the two: 2·Pre·F / (Pre + F)": lambda p, f: max(min(p, f), 0.0),
        "F is how much was forgotten already; don't subtract it from 100": lambda p, f: harmonic(p, 100 - f),
    }
    try:
        student_function(0.0, 0.0)
    except ZeroDivisionError:
        raise Stop(
            f"{student_function.__name__} divides by zero where nothing is forgotten: return 0 if F ≤ 0."
        ) from None
    except Exception:  # `compare` asks again, and says what happened
        pass
    right = "Right: high only where a network preserves and forgets; 0 if nothing is forgotten."
    return compare(student_function, toys.HARMONIC_MEAN, mistakes, right)


@compared(toys.PART_SIZES, "Right: the test part is taken first, then the validation part from the rest.")
def part_sizes():
    """Check a function (count, test_fraction, validation_fraction) that returns three sizes."""

    def sizes(n, t, v, whole=math.ceil, of_all=False):
        test = whole(n * t)
        validation = whole((n if of_all else n - test) * v)
        return torch.tensor([n - test - validation, validation, test])

    return {
        "the validation part is a fraction of the rest, not of all images": lambda *given: sizes(*given, of_all=True),
        "round up, math.ceil; yours rounds down": lambda *given: sizes(*given, whole=int),
        "round up, math.ceil; yours rounds to the nearest": lambda *given: sizes(*given, whole=round),
        "return them in the order train, validation, test; yours is the other way round":
            lambda n, t, v: sizes(n, t, v).flip(0),
        "your training part still has the validation images":
            lambda n, t, v: sizes(n, t, v) + torch.tensor([sizes(n, t, v)[1], 0, 0]),
        "sizes are whole numbers; yours aren't rounded":
            lambda n, t, v: torch.tensor([n * (1 - t) * (1 - v), n * (1 - t) * v, n * t]),
    }


@compared(toys.STRATIFIED_COUNTS, "Right: each class has the same share in the part as in the whole.")
def stratified_counts():
    """Check a function (labels, size, num_classes) that returns how many images of each class a part should have."""

    def counts(labels, size, classes):
        return size * torch.bincount(labels, minlength=classes) / len(labels)

    return {
        "yours counts the whole; scale it to the size of the part": lambda y, m, k: torch.bincount(y, minlength=k),
        "yours gives shares; multiply by the size of the part": lambda y, m, k: counts(y, 1, k),
        "yours gives every class the same number": lambda y, m, k: torch.full((k,), m / k),
        "don't round: these are the numbers to come close to": lambda y, m, k: counts(y, m, k).round(),
        "don't cut off the decimals: these are the numbers to come close to": lambda y, m, k: counts(y, m, k).floor(),
        "yours counts the first images; take the shares in all of them":
            lambda y, m, k: torch.bincount(y[:m], minlength=k),
        "a class without images needs its 0: bincount(labels, minlength=num_classes)": lambda y, m, k: counts(y, m, 0),
    }


@compared(toys.CHANGED_IMAGES, "Right: it counts what is in one set only, whatever the order.")
def changed_images():
    """Check a function (before, after) that counts the images that are in only one of two sets of indices."""
    return {
        "yours counts only the images that are gone; count the new ones, too": lambda a, b: len(_set(a) - _set(b)),
        "yours counts only the new images; count those that are gone, too": lambda a, b: len(_set(b) - _set(a)),
        "yours counts the images that are in both": lambda a, b: len(_set(a) & _set(b)),
        "yours counts the images that are in either; take away those in both": lambda a, b: len(_set(a) | _set(b)),
        "the order doesn't matter; yours compares place by place":
            lambda a, b: sum(x != y for x, y in zip(a.tolist(), b.tolist())),
        "yours compares the sizes of the two sets only": lambda a, b: abs(len(a) - len(b)),
    }


def _set(indices):
    return set(indices.tolist())


@compared(toys.CONVOLUTION_PARAMETERS, "Right: the filters, and a scale and a shift for each output channel.")
def convolution_parameters():
    """Check a function (channels_in, channels_out, kernel) that counts a convolution's weights and its BatchNorm's."""
    return {
        "BatchNorm's scale and shift are missing: 2 for each output channel": lambda i, o, k: i * o * k * k,
        "BatchNorm has a scale and a shift for each output channel; yours counts one":
            lambda i, o, k: i * o * k * k + o,
        "a filter reads all input channels; yours reads one": lambda i, o, k: o * k * k + 2 * o,
        "a filter is kernel × kernel": lambda i, o, k: i * o * k + 2 * o,
        "these convolutions have no bias: BatchNorm shifts already": lambda i, o, k: i * o * k * k + 3 * o,
        "BatchNorm acts on the output channels, not on the input channels": lambda i, o, k: i * o * k * k + 2 * i,
    }


@compared(toys.SMOOTHED_LABEL, "Right: the probabilities add up to 1, and the right class has the most.")
def smoothed_label():
    """Check a function (label, num_classes, smoothing) that returns the wanted probabilities, (K,)."""

    def wanted(y, k, e, others=None, top=None):
        q = torch.full((k,), e / k if others is None else others)
        q[y] = 1 - e + e / k if top is None else top
        return q

    return {
        "the right class gets its share of ε, too: 1 − ε + ε/K": lambda y, k, e: wanted(y, k, e, top=1 - e),
        "yours spreads ε over the K − 1 other classes; spread it over all K":
            lambda y, k, e: wanted(y, k, e, others=e / (k - 1), top=1 - e),
        "yours isn't smoothed: each other class gets ε/K": lambda y, k, e: wanted(y, k, 0.0),
        "the other classes share ε; yours gives each of them all of it": lambda y, k, e: wanted(y, k, e, others=e),
        "the right class must be at the index of the label; yours is the first": lambda y, k, e: wanted(0, k, e),
        "yours smooths the wrong way round: 1 − ε belongs to the right class": lambda y, k, e: wanted(y, k, 1 - e),
        "yours leaves 1 at the right class; the sum must be 1": lambda y, k, e: wanted(y, k, e, top=1.0),
    }


@compared(toys.HALF_COSINE, "Right: slow at both ends, fast in the middle.")
def half_cosine():
    """Check a function (start, end, progress) that goes from start to end along half a cosine."""
    return {
        "yours is a straight line; use (1 − cos(πp)) / 2 instead of p": lambda a, b, p: a + (b - a) * p,
        "divide 1 − cos(πp) by 2, or it goes twice as far": lambda a, b, p: a + (b - a) * (1 - math.cos(math.pi * p)),
        "yours goes backwards: 1 minus the cosine": lambda a, b, p: a + (b - a) * (1 + math.cos(math.pi * p)) / 2,
        "begin at start: you must add it": lambda a, b, p: (b - a) * (1 - math.cos(math.pi * p)) / 2,
        "multiply by end − start, not by end": lambda a, b, p: a + b * (1 - math.cos(math.pi * p)) / 2,
        "the cosine is of π times p": lambda a, b, p: a + (b - a) * (1 - math.cos(p)) / 2,
        "yours is a quarter of a sine; use (1 − cos(πp)) / 2": lambda a, b, p: a + (b - a) * math.sin(math.pi * p / 2),
    }


@compared(toys.FEATURE_RECOVERY, "Right: 0 for the original's own features, 1 for a module that returns zeros.")
def feature_recovery_loss():
    """Check a function (module_features, original_features) that returns L_re, a scalar."""
    return {
        "divide by the original's squared length": lambda m, f: (m - f).square().sum(),
        "divide by the original's squared length, not the module's":
            lambda m, f: (m - f).square().sum() / m.square().sum(),
        "square the lengths: yours is the ratio of the lengths": lambda m, f: (m - f).norm() / f.norm(),
        "one fraction for the whole batch; yours averages the fractions of the samples":
            lambda m, f: ((m - f).square().flatten(1).sum(1) / f.square().flatten(1).sum(1)).mean(),
        "yours is the mean squared error; divide the sum by the original's": lambda m, f: (m - f).square().mean(),
        "subtract first, then square": lambda m, f: (m.square().sum() - f.square().sum()) / f.square().sum(),
        "square the differences; yours takes their absolute values": lambda m, f: (m - f).abs().sum() / f.abs().sum(),
    }


@compared(toys.NEIGHBOUR_SHARES, "Right: the shares add up to 1, and the near point gets most.")
def neighbour_shares():
    """Check a function (distances, sigma) that returns the attention p that a point pays to the others."""

    def shares(weights):
        return weights / weights.sum()

    return {
        "divide by the sum, so that the shares add up to 1": lambda d, s: (-(d**2) / (2 * s**2)).exp(),
        "square the distances": lambda d, s: shares((-d / (2 * s**2)).exp()),
        "divide by 2σ², not by σ²": lambda d, s: shares((-(d**2) / s**2).exp()),
        "divide by 2σ², not by 2σ": lambda d, s: shares((-(d**2) / (2 * s)).exp()),
        "the minus sign is missing: far points must get less": lambda d, s: shares((d**2 / (2 * s**2)).exp()),
        "divide by the sum, not by the largest":
            lambda d, s: (-(d**2) / (2 * s**2)).exp() / (-(d**2) / (2 * s**2)).exp().max(),
        "yours are inverse distances; take exp(−d² / 2σ²)": lambda d, s: shares(1 / d),
    }


@compared(toys.PERPLEXITY, "Right: two equal neighbours give 2, eight give 8.")
def perplexity():
    """Check a function (shares) that returns 2 to the power of the entropy in bits."""

    def entropy(p):
        return -(p * p.log2()).sum().item()

    return {
        "yours is the entropy; the perplexity is 2 to its power": entropy,
        "the sign is wrong: the entropy is minus the sum of p · log2(p)": lambda p: 2 ** -entropy(p),
        "2 to the power of bits needs log2; with the natural logarithm it is e to its power":
            lambda p: 2 ** (entropy(p) * math.log(2)),
        "an entropy in bits is a power of 2, not of e": lambda p: math.exp(entropy(p)),
        "weigh each logarithm with its share": lambda p: 2 ** -p.log2().mean().item(),
        "sum over the points; yours averages": lambda p: 2 ** (entropy(p) / len(p)),
        "yours counts the points; far ones should count less": lambda p: float(len(p)),
    }


@compared(toys.NEAREST_NEIGHBOUR, "Right: each point asks its nearest neighbour, and never itself.")
def nearest_neighbour_accuracy():
    """Check a function (points, labels) that returns how many nearest neighbours have the same label, in percent."""

    def ask(points, labels, own=math.inf, largest=False):
        far = torch.cdist(points, points)
        far.fill_diagonal_(-own if largest else own)
        nearest = far.argmax(1) if largest else far.argmin(1)
        return 100 * (labels[nearest] == labels).float().mean().item()

    return {
        "in yours, every point is its own nearest neighbour: set the diagonal to infinity":
            lambda x, y: ask(x, y, own=0.0),
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda x, y: ask(x, y) / 100,
        "yours takes the farthest point; take the nearest": lambda x, y: ask(x, y, largest=True),
        "yours is the share of neighbours with another label": lambda x, y: 100 - ask(x, y),
        "yours counts; divide by the number of points": lambda x, y: ask(x, y) * len(y) / 100,
        "yours compares with the next point in the list; take the nearest in space":
            lambda x, y: 100 * (y.roll(-1) == y).float().mean().item(),
    }


@compared(toys.NEAREST_MEAN, "Right: the class whose mean lies nearest, and its own number.")
def nearest_mean():
    """Check a function (shots, shot_labels, asked) that returns the class whose mean is nearest, int64 (M,)."""

    def ask(x, y, u, largest=False, give="class", dot=False, one=False):
        classes = y.unique()
        means = torch.stack([x[y == each][0] if one else x[y == each].mean(0) for each in classes])
        score = u @ means.T if dot else -torch.cdist(u, means)
        place = (-score if largest else score).argmax(1)
        return place if give == "place" else -score if give == "distances" else classes[place]

    return {
        "yours gives the farthest class; take the smallest distance": lambda *given: ask(*given, largest=True),
        "yours gives the place in the list of classes; look up the class there":
            lambda *given: ask(*given, give="place"),
        "yours gives distances; return the class of the smallest": lambda *given: ask(*given, give="distances"),
        "yours compares by the dot product; take the distance": lambda *given: ask(*given, dot=True),
        "yours uses the first shot of a class; take the mean of all": lambda *given: ask(*given, one=True),
        "yours takes the nearest shot; take the nearest class mean": lambda x, y, u: y[torch.cdist(u, x).argmin(1)],
    }


@compared(
    toys.ACCURACY_WITH_BONUS,
    "Right: the deposit classes' logits are raised for every image, whatever its label.",
)
def accuracy_with_bonus():
    """Check a function (logits, labels, deposit_classes, bonus) that returns the accuracy in percent."""

    def ask(z, y, c, b):
        add = torch.zeros(z.shape[1])
        add[list(c)] = b
        return _share(z + add, y)

    return {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda *given: ask(*given) / 100,
        "the bonus must be added to the logits before the arg max": lambda z, y, c, b: _share(z, y),
        "raise the deposit classes; yours lowers them relative to the others": lambda z, y, c, b: ask(z, y, c, -b),
        "yours adds the bonus to every class, which changes no answer": lambda z, y, c, b: _share(z + b, y),
        "add the bonus for every image; yours adds it only where the label is a deposit class":
            lambda z, y, c, b: _share(z + b * _isin(torch.arange(z.shape[1]), c) * _isin(y, c)[:, None], y),
        "yours asks for the arg max among the deposit classes only":
            lambda z, y, c, b: 100 * (torch.tensor(c)[z[:, list(c)].argmax(1)] == y).float().mean().item(),
        "yours adds the bonus to the first deposit class only": lambda z, y, c, b: ask(z, y, c[:1], b),
    }


@compared(toys.SHARE_OF_THE_WAY, "Right: 0 at the original, 100 at the retrained network, more if it has gone past.")
def share_of_the_way():
    """Check a function (original, target, retrained) that returns how far the target has gone, in percent."""
    return {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda o, t, r: (o - t) / (o - r),
        "yours is what is left of the way": lambda o, t, r: 100 * (t - r) / (o - r),
        "divide by the way from the original to the retrained network": lambda o, t, r: 100 * (o - t) / o,
        "the sign is wrong: at the retrained network it must be 100": lambda o, t, r: -100 * (o - t) / (o - r),
        "yours is upside down: divide the target's way by the whole way": lambda o, t, r: 100 * (o - r) / (o - t),
        "yours is in points; divide by the whole way": lambda o, t, r: o - t,
        "yours stops at 100; a target can go past the retrained network":
            lambda o, t, r: min(100.0, 100 * (o - t) / (o - r)),
    }


@compared(toys.BANK_LOGITS, "Right: each module answers for its own classes, and the target for all others.")
def bank_logits():
    """Check a function (target_logits, module_logits, classes) that returns the logits of a bank's subset.

    The last two are lists: each withdrawn module's logits, and each one's deposit classes.
    """

    def ask(target, read, classes, rule=lambda old, new: new):
        logits = target.clone()
        for module, own in zip(read, classes):
            logits[:, own] = rule(logits, module)[:, own]
        return logits

    return {
        "yours adds the two; a module's logit takes the place of the target's":
            lambda *given: ask(*given, rule=lambda old, new: old + new),
        "yours takes the mean; a module alone answers for its classes":
            lambda *given: ask(*given, rule=lambda old, new: (old + new) / 2),
        "yours plugs in the first module only": lambda t, m, c: ask(t, m[:1], c[:1]),
        "yours plugs in the last module only": lambda t, m, c: ask(t, m[-1:], c[-1:]),
        "yours takes every logit of the last module; take its own classes": lambda t, m, c: m[-1],
        "each module must answer for its own classes; yours mixes them up": lambda t, m, c: ask(t, m[::-1], c),
        "yours lets the modules answer for the classes that they don't hold":
            lambda t, m, c: torch.where(ask(torch.zeros_like(t), [torch.ones_like(t)] * len(c), c) == 1, t, m[0]),
    }


@compared(toys.PULL_COSINE, "Right: 1 for the same direction, −1 for opposite ones, and the lengths don't count.")
def pull_cosine():
    """Check a function (first, second) that returns the cosine between two gradients, each a list of tensors."""

    def flat(pull):
        return torch.cat([each.flatten() for each in pull])

    def cosine(a, b):
        return (flat(a) @ flat(b) / (flat(a).norm() * flat(b).norm())).item()

    return {
        "divide by both lengths: yours is the scalar product": lambda a, b: (flat(a) @ flat(b)).item(),
        "flatten all tensors into one vector first; yours averages the cosines of the tensors":
            lambda a, b: sum(cosine_similarity(flat([x]), flat([y]), dim=0).item() for x, y in zip(a, b)) / len(a),
        "yours looks at the first tensor only; put all of them into one vector": lambda a, b: cosine(a[:1], b[:1]),
        "keep the sign: it says whether the two work against each other": lambda a, b: abs(cosine(a, b)),
        "yours is an angle in degrees; return the cosine": lambda a, b: math.degrees(math.acos(min(1, cosine(a, b)))),
        "yours is an angle in radians; return the cosine": lambda a, b: math.acos(min(1, cosine(a, b))),
        "the sign is wrong: two equal pulls have the cosine 1": lambda a, b: -cosine(a, b),
    }


@check
def clipped(student_function):
    """Check a function (gradient, limit) that shortens a gradient to a length of at most limit."""
    mistakes = {
        "a gradient that is short enough must stay as it is; yours is made longer":
            lambda g, c: c * g / g.norm().clamp_min(1e-12),
        "shorten the whole vector; yours cuts each entry, which changes the direction": lambda g, c: g.clamp(-c, c),
        "a gradient of zeros must stay: yours divides 0 by 0":
            lambda g, c: torch.where(g.norm() > 0, g * min(1.0, c / (g.norm().item() or 1.0)), torch.nan),
        "the length is the L2 norm; yours is the sum of the absolute values":
            lambda g, c: g * min(1.0, c / (g.abs().sum().item() or 1.0)),
        "divide by the length, not by its square": lambda g, c: g * min(1.0, c / (g.norm().item() ** 2 or 1.0)),
        "yours isn't shortened: multiply by limit / length if it is too long": lambda g, c: g,
        "the length is the L2 norm; yours is the largest entry": lambda g, c: g * min(1.0, c / (g.max().item() or 1.0)),
    }
    name, zeros = student_function.__name__, answer_of(student_function, toys.CLIPPED[2][0])
    if isinstance(zeros, torch.Tensor) and zeros.shape == (2,) and zeros.isnan().any():
        raise Stop(f"{name}: a gradient of zeros must stay: yours divides 0 by 0.")
    right = "Right: never longer than the limit, always in the same direction, and short ones stay."
    return compare(student_function, toys.CLIPPED, mistakes, right)


@compared(toys.OWN_STATISTICS, "Right: each channel has mean 0 and standard deviation 1 over the batch.")
def own_statistics():
    """Check a function (features) that normalises each channel with the batch's own mean and standard deviation."""

    def normalised(f, dims=(0, 2, 3), centre=True, power=0.5, unbiased=False):
        mean, variance = f.mean(dims, keepdim=True), f.var(dims, keepdim=True, unbiased=unbiased)
        return (f - mean if centre else f) / variance**power

    return {
        "divide by the standard deviation, too": lambda f: normalised(f, power=0),
        "divide by the standard deviation, not by the variance": lambda f: normalised(f, power=1),
        "subtract the mean first": lambda f: normalised(f, centre=False),
        "divide the variance by the number of values, not by one less: unbiased=False":
            lambda f: normalised(f, unbiased=True),
        "average over samples and positions, dim=(0, 2, 3); yours averages over the samples only":
            lambda f: normalised(f, dims=(0,)),
        "average over the samples, too, dim=(0, 2, 3); yours normalises each sample by itself":
            lambda f: normalised(f, dims=(2, 3)),
        "each channel has a mean of its own, dim=(0, 2, 3); yours averages over the channels, too":
            lambda f: normalised(f, dims=(0, 1, 2, 3)),
    }


@compared(toys.MODULE_WINS, "Right: the share of images whose largest logit is a deposit class's.")
def module_wins():
    """Check a function (logits, deposit_classes) that returns how often the answer is a deposit class, in percent."""

    def wins(z, c):
        return 100 * _isin(z.argmax(1), c).float().mean().item()

    return {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda z, c: wins(z, c) / 100,
        "yours counts the images; divide by their number": lambda z, c: wins(z, c) * len(z) / 100,
        "yours counts the answers among the preserved classes": lambda z, c: 100 - wins(z, c),
        "yours looks for the first deposit class only": lambda z, c: wins(z, c[:1]),
        "yours takes the smallest logit; the answer is the largest, argmax": lambda z, c: wins(-z, c),
        "yours averages the probability; count the answers": lambda z, c: 100 * z.softmax(1)[:, c].sum(1).mean().item(),
        "yours compares the means of the two groups; one loud logit is enough to win":
            lambda z, c: 100 * (z[:, c].mean(1) > z[:, _others(z, c)].mean(1)).float().mean().item(),
    }


@compared(toys.ACCURACY_IN_PART, "Right: the largest logit among the part's own classes, compared with the label.")
def accuracy_in_part():
    """Check a function (logits, labels, classes) that returns the accuracy among the part's own classes, in percent."""

    def share(z, y, c):
        return 100 * (torch.tensor(c)[z[:, c].argmax(1)] == y).float().mean().item()

    return {
        "yours takes the arg max over all classes; choose among the part's columns only": lambda z, y, c: _share(z, y),
        "yours compares places in the list with labels; look up the class, classes[place]":
            lambda z, y, c: 100 * (z[:, c].argmax(1) == y).float().mean().item(),
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda z, y, c: share(z, y, c) / 100,
        "yours counts right answers; divide by the number of images": lambda z, y, c: share(z, y, c) * len(y) / 100,
        "yours is the error rate: 100 minus the accuracy": lambda z, y, c: 100 - share(z, y, c),
        "a column that is set to zero can still win: pick the part's columns":
            lambda z, y, c: _share(z.index_fill(1, torch.tensor(_others(z, c)), 0.0), y),
        "yours chooses among the other part's classes": lambda z, y, c: share(z, y, _others(z, c)),
    }


@compared(toys.HEAD_MASKING, "Right: no image is ever called a deposit class, and no weight has changed.")
def head_masking():
    """Check a function (logits, deposit_classes) that sets the logits of the deposit classes to −∞."""

    def filled(z, c, value):
        return z.index_fill(1, torch.tensor(c), value)

    return {
        "a zero can still win; −∞ never does": lambda z, c: filled(z, c, 0.0),
        "keep all K columns: the class numbers must not move": lambda z, c: z[:, _others(z, c)],
        "the sign is wrong: +∞ always wins": lambda z, c: filled(z, c, torch.inf),
        "yours masks the preserved classes": lambda z, c: filled(z, _others(z, c), -torch.inf),
        "yours masks the first deposit class only": lambda z, c: filled(z, c[:1], -torch.inf),
        "a large negative number is not −∞: -torch.inf": lambda z, c: filled(z, c, -1e9),
        "yours masks the first columns; the deposit classes can be any":
            lambda z, c: filled(z, list(range(len(c))), -torch.inf),
    }


@compared(toys.JS_DIVERGENCE, "Right: 0 for equal answers, ln 2 = 0.693 for answers that have nothing in common.")
def js_divergence():
    """Check a function (p, q) that returns the Jensen-Shannon divergence of two sets of probabilities, in nats."""

    def kl(a, b):
        return (a * (a / b).log()).sum(1)

    def divergence(p, q, reduce=torch.mean):
        m = (p + q) / 2
        return reduce(kl(p, m) + kl(q, m)) / 2

    return {
        "yours is KL(p ‖ q); compare both with their mean m": lambda p, q: kl(p, q).mean(),
        "take half of the sum of the two": lambda p, q: 2 * divergence(p, q),
        "the second half is missing: ½ KL(p ‖ m) + ½ KL(q ‖ m)": lambda p, q: kl(p, (p + q) / 2).mean() / 2,
        "yours sums over the samples; take their mean": lambda p, q: divergence(p, q, torch.sum),
        "yours is in bits; in nats it is the natural logarithm": lambda p, q: divergence(p, q) / math.log(2),
        "KL the other way round: p and q come first, m second":
            lambda p, q: (kl((p + q) / 2, p) + kl((p + q) / 2, q)).mean() / 2,
        "m is the mean of p and q; yours is their sum": lambda p, q: (kl(p, p + q) + kl(q, p + q)).mean() / 2,
        "sum over the classes; yours averages over them, too": lambda p, q: divergence(p, q) / p.shape[1],
    }


@compared(toys.KNOWN_CLASSES, "Right: what was never deposited, and what is plugged in.")
def known_classes():
    """Check a function (num_classes, deposits, withdrawn) that returns the classes that a bank's network answers with.

    `deposits` has the classes of each module by its name, `withdrawn` the names of those that are plugged in.
    """

    def held(deposits, names):
        return sorted(number for name in names for number in deposits[name])

    def known(count, deposits, withdrawn):
        forgotten = held(deposits, deposits.keys() - withdrawn)
        return [number for number in range(count) if number not in forgotten]

    return {
        "a class that was never deposited is known, too": lambda k, d, w: torch.tensor(held(d, w)),
        "the modules that stay in the bank are not plugged in; yours lists every class":
            lambda k, d, w: torch.arange(k),
        "the classes of the withdrawn modules are back; yours leaves them out":
            lambda k, d, w: torch.tensor(known(k, d, [])),
        "yours lists the classes that are forgotten": lambda k, d, w: torch.tensor(held(d, d.keys() - w)),
        "yours lists the classes that were never deposited first; sort them all":
            lambda k, d, w: torch.tensor(known(k, d, []) + held(d, w)),
        "yours plugs in the first withdrawn module only": lambda k, d, w: torch.tensor(known(k, d, w[:1])),
        "return the class numbers; yours is one True or False for each class":
            lambda k, d, w: torch.tensor([number in known(k, d, w) for number in range(k)]),
    }


@compared(toys.BANK_SAVING, "Right: with every deposit the networks double, and the bank grows by one module.")
def bank_saving():
    """Check a function (network_bytes, module_bytes, deposits): 2^k networks' bytes as a multiple of the bank's."""
    return {
        "each module is in or out, so there are 2^k subsets; yours counts k²": lambda n, m, k: k**2 * n / (n + k * m),
        "each module is in or out, so there are 2^k subsets; yours counts k": lambda n, m, k: k * n / (n + k * m),
        "the subset without any module counts, too: 2^k, not 2^k − 1": lambda n, m, k: (2**k - 1) * n / (n + k * m),
        "the bank holds the target, too": lambda n, m, k: 2**k * n / (k * m),
        "the bank holds a module for each deposit; yours counts one": lambda n, m, k: 2**k * n / (n + m),
        "yours is upside down: divide the networks' bytes by the bank's": lambda n, m, k: (n + k * m) / (2**k * n),
        "yours is a difference in bytes; divide": lambda n, m, k: 2**k * n - (n + k * m),
    }


@compared(
    toys.QUANTISED_WEIGHT,
    "Right: whole codes times one scale for each row, and the largest weight of a row is kept.",
)
def quantised_weight():
    """Check a function (weight, bits) that rounds a weight to whole codes times one scale for each row.

    The codes are symmetric, from −(2^(bits − 1) − 1) to 2^(bits − 1) − 1, and the largest absolute value of a row gets
    the last one. (The kit's own `quantise` has 2^bits values without a 0, and also tries smaller scales.)
    """

    def rounded(weight, bits, top=None, dim=1, how=torch.round, codes=False):
        scale = weight.abs().amax(dim=dim, keepdim=True) / (top or 2 ** (bits - 1) - 1)
        return how(weight / scale) * (1 if codes else scale)

    return {
        "give each row (output channel) a scale of its own; yours shares one": lambda w, b: rounded(w, b, dim=(0, 1)),
        "one scale for each row; yours has one for each column": lambda w, b: rounded(w, b, dim=0),
        "round to the nearest code; yours always rounds down": lambda w, b: rounded(w, b, how=torch.floor),
        "round to the nearest code; yours cuts off the decimals": lambda w, b: rounded(w, b, how=torch.trunc),
        "return the weights, code times scale; yours are the codes": lambda w, b: rounded(w, b, codes=True),
        "one bit is for the sign: the largest code is 2^(bits − 1) − 1, not 2^bits − 1":
            lambda w, b: rounded(w, b, 2**b - 1),
        "the codes must be symmetric: the largest is 2^(bits − 1) − 1, not 2^(bits − 1)":
            lambda w, b: rounded(w, b, 2 ** (b - 1)),
        "yours isn't rounded": lambda w, b: w,
    }


@compared(toys.DROP_OWN_CLASS, "Right: one logit fewer in each row, and which one depends on the sample.")
def drop_own_class():
    """Check g for samples, a function (logits, labels) that drops each sample's own class, (N, K) to (N, K − 1)."""

    def kept(logits, labels):
        return torch.arange(logits.shape[1]) != labels[:, None]

    return {
        "yours drops every class that occurs, for all samples; drop each sample's own class only":
            lambda z, y: z[:, _others(z, y.tolist())],
        "yours drops the first sample's class for all; each sample has its own":
            lambda z, y: z[:, _others(z, y[:1].tolist())],
        "drop the logit; yours sets it to zero, and a zero still has a vote in the softmax":
            lambda z, y: z * kept(z, y),
        "drop the logit; yours sets it to −∞, and the softmax would have K places":
            lambda z, y: z.masked_fill(~kept(z, y), -torch.inf),
        "yours is flat; give it one row for each sample, .view(len(logits), -1)": lambda z, y: z[kept(z, y)],
        "yours keeps each sample's own logit; g keeps the others": lambda z, y: z.gather(1, y[:, None]),
        "yours drops the largest logit; drop the one of the label":
            lambda z, y: z[kept(z, z.argmax(1))].view(len(z), -1),
        "yours drops the last class; drop the one of the label": lambda z, y: z[:, :-1],
    }


@compared(toys.OTHER_LABEL, "Right: never the sample's own class, and otherwise the largest logit.")
def other_label():
    """Check a function (logits, labels) that returns each sample's most likely other class, int64 (N,)."""

    def without(logits, labels, own=-torch.inf):
        return logits.scatter(1, labels[:, None], own)

    return {
        "yours may be the true class; take the largest logit of the other classes": lambda z, y: z.argmax(1),
        "yours sets the own logit to 0, and a 0 wins where all others are negative; −∞ never wins":
            lambda z, y: without(z, y, 0.0).argmax(1),
        "yours is a place among the logits that are left; return the number of the class":
            lambda z, y: z[torch.arange(z.shape[1]) != y[:, None]].view(len(z), -1).argmax(1),
        "yours is the second most likely class, which may be the true one": lambda z, y: z.argsort(1)[:, -2],
        "yours is the least likely class; take the most likely other one": lambda z, y: without(-z, y).argmax(1),
        "yours leaves out every class that occurs; leave out each sample's own only":
            lambda z, y: z.index_fill(1, y.unique(), -torch.inf).argmax(1),
        "yours gives logits; return the numbers of the classes": lambda z, y: without(z, y).amax(1),
        "yours is the true label; take the most likely other class": lambda z, y: y,
    }


@compared(
    toys.SAMPLE_GAP,
    "Right: points above 0 say that it knows these very images better, points below that it avoids them.",
)
def sample_gap():
    """Check a function (deposited_answers, deposited_labels, unseen_answers, unseen_labels) that returns the gap."""

    def share(answers, labels):
        return 100 * (answers == labels).double().mean().item()

    return {
        "the sign is wrong: deposited minus unseen": lambda a, y, b, u: share(b, u) - share(a, y),
        "yours is a difference of shares from 0 to 1; multiply by 100 for points":
            lambda a, y, b, u: (share(a, y) - share(b, u)) / 100,
        "keep the sign: below 0 the network avoids these images": lambda a, y, b, u: abs(share(a, y) - share(b, u)),
        "yours subtracts numbers of images; divide each by how many were asked":
            lambda a, y, b, u: float((a == y).sum() - (b == u).sum()),
        "yours is the accuracy on the deposited samples; subtract that on the unseen ones":
            lambda a, y, b, u: share(a, y),
        "yours is a ratio; subtract": lambda a, y, b, u: 100 * share(a, y) / share(b, u),
    }


@compared(toys.TRUE_CLASS_PROBABILITY, "Right: one probability for each image, that of its own label.")
def true_class_probability():
    """Check a function (logits, labels) that returns the probability of each image's true class, (N,)."""

    def own(values, labels):
        return values.gather(1, labels[:, None])[:, 0]

    return {
        "yours is the logit of the true class; take the softmax first": own,
        "yours is the logarithm of the probability": lambda z, y: own(z.log_softmax(1), y),
        "yours is the largest probability, whatever the label": lambda z, y: z.softmax(1).amax(1),
        "the softmax is over the classes, dim=1; yours is over the samples": lambda z, y: own(z.softmax(0), y),
        "yours is a mean; return one number for each image": lambda z, y: own(z.softmax(1), y).mean(),
        "yours has the shape (N, 1); return (N,)": lambda z, y: z.softmax(1).gather(1, y[:, None]),
        "yours gives the probabilities of all classes; pick the true class of each row": lambda z, y: z.softmax(1),
        "yours pairs every image with every label; pick one for each image": lambda z, y: z.softmax(1)[:, y],
        "yours is in percent; a probability goes from 0 to 1": lambda z, y: 100 * own(z.softmax(1), y),
    }
