"""Checks: ``lk.check.attention_map(attention_map)`` says in one sentence what is right or wrong.

Each check calls the student's function on the toy numbers in `toys`, which were worked by hand. If the answers differ,
they are compared with those of the most likely mistakes, and the sentence names the mistake. A check never raises.
"""

import ast
import inspect
import textwrap
from dataclasses import dataclass

import numpy
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from lirf_kit.classroom import toys


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found; a notebook shows it as one sentence, and ``bool(verdict)`` says whether all is right."""

    passed: bool
    sentence: str

    def __bool__(self):
        return self.passed

    def __repr__(self):
        return f"{'✓' if self.passed else '✗'} {self.sentence}"


class _Stop(Exception):
    """The check is over: the sentence says why."""


def _verdict(check):
    """Turn a function that raises `_Stop` at the first fault into a check."""

    def checked(student_function):
        try:
            if not inspect.isroutine(student_function):
                given = "None" if student_function is None else _kind(student_function)
                if student_function is Ellipsis:
                    given = "a blank (…)"
                raise _Stop(
                    f"Give the check your function itself, without calling it: lk.check.{check.__name__}"
                    f"(your_function); it got {given}."
                )
            return Verdict(True, check(student_function))
        except _Stop as stop:
            return Verdict(False, str(stop))

    checked.__name__, checked.__doc__ = check.__name__, check.__doc__
    return checked


def _has_blank(function):
    """Return whether the source of a function still has a `...` in it."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False  # no source at hand
    return any(isinstance(node, ast.Constant) and node.value is Ellipsis for node in ast.walk(tree))


def _copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value.copy() if hasattr(value, "copy") else value


def _ask(student, arguments):
    """Call the student's function on copies; stop with a sentence if it raises or returns nothing."""
    name, given = student.__name__, [_copied(value) for value in arguments]
    blank = f"{name} still has a blank: replace the … with your own lines, then run both cells again."
    try:
        answer = student(*given)
    except Exception as error:
        if _has_blank(student):
            raise _Stop(blank) from None
        first = str(error).strip().splitlines()
        said = f": {first[0]}" if first else ""
        raise _Stop(f"{name} stopped with {type(error).__name__}{said.rstrip('.')}{_line(student, error)}.") from None
    if (answer is None or answer is Ellipsis) and _has_blank(student):
        raise _Stop(blank)
    if answer is None or answer is Ellipsis:
        raise _Stop(f"{name} returned nothing: end it with return and your result.")
    for before, after in zip(arguments, given):
        if isinstance(before, torch.Tensor) and not torch.equal(before, after):
            raise _Stop(f"{name} changes a tensor that it was given: work on a copy, made with .clone().")
    return answer


def _line(student, error):
    """Return " (in line 3 of your function)" for the line of the student's function that an error came through."""
    code, step, number = student.__code__ if hasattr(student, "__code__") else None, error.__traceback__, None
    while step:
        if step.tb_frame.f_code is code:
            number = step.tb_lineno - code.co_firstlineno + 1
        step = step.tb_next
    return f" (in line {number} of your function)" if number else ""


def _same(answer, expected):
    """Return whether two answers have the same shape and values."""
    if isinstance(expected, torch.Tensor):
        if not isinstance(answer, torch.Tensor) or answer.shape != expected.shape:
            return False
        return torch.allclose(answer.detach().double(), expected.detach().double(), rtol=1e-4, atol=1e-5)
    return abs(float(answer) - expected) < 1e-6 * max(1.0, abs(expected))


def _shown(value):
    """Write an answer in a few characters."""
    if isinstance(value, torch.Tensor):
        whole = value.detach().flatten()
        numbers = [round(each, 3) for each in whole[:6].tolist()]
        return str(numbers[0]) if not value.ndim else f"{numbers}"[:-1] + (", …]" if len(whole) > 6 else "]")
    return f"{float(value):.4g}"


def _typed(name, answer, expected):
    """Return an answer as what it is compared with; stop if it is something else."""
    if not isinstance(expected, torch.Tensor) or not expected.ndim:
        numbers = (int, float, numpy.generic, numpy.ndarray, torch.Tensor)
        if isinstance(answer, bool) or not isinstance(answer, numbers) or numpy.prod(getattr(answer, "shape", 1)) != 1:
            raise _Stop(f"{name} must return a single number, not {_kind(answer)}.")
        number = float(answer)
        return torch.tensor(number) if isinstance(expected, torch.Tensor) else number
    if not isinstance(answer, torch.Tensor):
        raise _Stop(f"{name} must return a tensor of shape {tuple(expected.shape)}, not {_kind(answer)}.")
    return answer


def _kind(answer):
    shape = f" of shape {tuple(answer.shape)}" if hasattr(answer, "shape") else ""
    kind = type(answer).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}{shape}"


def _compare(student, cases, mistakes, right):
    """Compare a function with worked cases, and with mistakes: sentences, and functions that make them.

    Returns the sentence `right`; stops with the sentence of the mistake, or with the first case that differs.
    """
    name = student.__name__
    answers = [_ask(student, arguments) for arguments, _ in cases]
    answers, named = [_typed(name, answer, expected) for answer, (_, expected) in zip(answers, cases)], {}
    if all(map(_same, answers, [expected for _, expected in cases])):
        return right
    for sentence, mistake in mistakes.items():
        try:
            named[sentence] = [mistake(*map(_copied, arguments)) for arguments, _ in cases]
        except Exception:  # a mistake that can't even be made on these numbers is not this one
            continue
    for sentence, values in named.items():
        if all(map(_same, answers, values)):
            raise _Stop(f"{name}: {sentence}.")
    for answer, (arguments, expected) in zip(answers, cases):
        if isinstance(expected, torch.Tensor) and answer.shape != expected.shape:
            raise _Stop(f"{name} must return the shape {tuple(expected.shape)} here, not {tuple(answer.shape)}.")
        if not _same(answer, expected):
            big = any(isinstance(each, numpy.ndarray) for each in arguments)  # too much to show
            given = "…" if big else ", ".join(_shown(x) if isinstance(x, torch.Tensor) else str(x) for x in arguments)
            raise _Stop(f"{name}({given}) must be {_shown(expected)}, yours is {_shown(answer)}.")
    raise AssertionError("some answer differs")


# ---------------------------------------------------------------------------------------------------------- the checks


@_verdict
def deposit_mask(student_function):
    """Check a function (labels, deposit_classes, num_classes) that returns True where a label is deposited."""
    mistakes = {
        "yours marks the images to keep: True must mean deposited": lambda y, c, k: ~_isin(y, c),
        "yours gives the places; return one True or False for each label": lambda y, c, k: _isin(y, c).nonzero()[:, 0],
        "yours gives the table of the classes; look it up with the labels, table[labels]": lambda y, c, k: _isin(
            torch.arange(k), c
        ),
        "yours takes as many images from the front as the share of the deposit classes: go by label, not by place": (
            lambda y, c, k: torch.arange(len(y)) < round(len(y) * len(c) / k)
        ),
        "yours gives labels; return one True or False for each label": lambda y, c, k: y[_isin(y, c)],
        "yours compares with the first deposit class only": lambda y, c, k: y == c[0],
        "yours takes every class up to the largest deposit class": lambda y, c, k: y <= max(c),
        "yours gives 0 and 1; the mask must be of dtype bool": lambda y, c, k: _isin(y, c).long(),
    }
    right = "Right: one True or False for each label, whatever the order of the images."
    sentence = _compare(student_function, toys.DEPOSIT_MASK, mistakes, right)
    if _ask(student_function, toys.DEPOSIT_MASK[0][0]).dtype != torch.bool:
        raise _Stop(f"{student_function.__name__}: yours gives 0 and 1; the mask must be of dtype bool.")
    return sentence


def _isin(labels, classes):
    return torch.isin(labels, torch.tensor(classes))


@_verdict
def accuracy(student_function):
    """Check a function (logits, labels) that returns the share of right answers in percent."""
    mistakes = {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda z, y: _share(z, y) / 100,
        "yours counts right answers; divide by the number of images": lambda z, y: _share(z, y) * len(y) / 100,
        "yours is the error rate: 100 minus the accuracy": lambda z, y: 100 - _share(z, y),
        "take the arg max over the classes, dim=1, not over the samples": lambda z, y: (
            100 * sum(a == b for a, b in zip(z.argmax(0).tolist(), y.tolist())) / len(y)
        ),
        "yours picks the smallest logit; the answer is the largest, argmax": lambda z, y: _share(-z, y),
        "yours divides by the number of classes; divide by the number of images": lambda z, y: (
            _share(z, y) * len(y) / z.shape[1]
        ),
        "yours averages the probability of the true class; count the answers that are right": lambda z, y: (
            100 * z.softmax(1).gather(1, y[:, None]).mean().item()
        ),
    }
    return _compare(student_function, toys.ACCURACY, mistakes, "Right: the share of right answers, in percent.")


def _share(logits, labels):
    return 100 * (logits.argmax(1) == labels).float().mean().item()


@_verdict
def wrong_labels(student_function):
    """Check a function (labels, num_classes, generator) that draws a wrong label for each sample."""
    name, count = student_function.__name__, 5
    labels = torch.arange(count).repeat(400)

    def draw():
        return _ask(student_function, (labels, count, torch.Generator().manual_seed(0)))

    wrong = draw()
    if not isinstance(wrong, torch.Tensor):
        raise _Stop(f"{name} must return a tensor of shape (N,), not {_kind(wrong)}.")
    if wrong.shape != labels.shape:
        raise _Stop(f"{name} must return one label for each sample, shape {(len(labels),)}, not {tuple(wrong.shape)}.")
    if wrong.is_floating_point() or wrong.dtype == torch.bool:
        raise _Stop(f"{name} must return whole numbers (int64), not {wrong.dtype}.")
    if wrong.max() >= count or wrong.min() < 0:
        raise _Stop(
            f"{name}: yours gives labels from {wrong.min()} to {wrong.max()}, but the classes go from 0 to "
            f"{count - 1}: take the sum modulo K."
        )
    if torch.equal(wrong, labels):
        raise _Stop(f"{name}: yours returns the true labels: add an offset from 1 to K − 1.")
    true = (wrong == labels).float().mean().item()
    if true:
        raise _Stop(
            f"{name}: {100 * true:.0f} % of your labels are the true ones: an offset from 1 to K − 1 never leads back."
        )
    seen = [wrong[labels == label].unique().numel() for label in range(count)]
    if max(seen) == 1:
        raise _Stop(f"{name}: yours gives each class always the same wrong label: draw one offset for each sample.")
    if min(seen) < count - 1:
        raise _Stop(
            f"{name}: yours never draws some of the wrong classes: torch.randint(1, K) gives 1 to K − 1, because it "
            "leaves out its upper limit."
        )
    if not torch.equal(wrong, draw()):
        raise _Stop(
            f"{name}: yours differs from call to call with the same seed: pass generator=generator to the draw."
        )
    return "Right: never the true label, all others about equally often, and the same seed gives the same labels."


@_verdict
def attention_map(student_function):
    """Check a function (features) that returns attention maps, (N, H·W)."""

    def energy(features):
        return features.square().mean(1).flatten(1)

    mistakes = {
        "the maps must have length 1; yours aren't scaled: divide by the L2 norm": energy,
        "the maps must have length 1; yours have the sum 1: divide by the L2 norm": lambda f: (
            energy(f) / energy(f).sum(1, keepdim=True)
        ),
        "the maps must have length 1; yours have the mean 1: divide by the L2 norm": lambda f: (
            energy(f) / energy(f).mean(1, keepdim=True)
        ),
        "the maps must have length 1; the largest entry of yours is 1: divide by the L2 norm": lambda f: (
            energy(f) / energy(f).amax(1, keepdim=True)
        ),
        "square the features before you average them over the channels": lambda f: functional.normalize(
            f.mean(1).flatten(1), dim=1
        ),
        "square each feature first, then average over the channels; yours does it the other way round": lambda f: (
            functional.normalize(f.mean(1).square().flatten(1), dim=1)
        ),
        "square the features; yours takes their absolute values": lambda f: functional.normalize(
            f.abs().mean(1).flatten(1), dim=1
        ),
        "average over the channels, dim=1; yours averages over the positions": lambda f: functional.normalize(
            f.square().mean((2, 3)), dim=1
        ),
        "flatten each map to one row of H·W numbers, .flatten(1), then scale it": lambda f: functional.normalize(
            f.square().mean(1), dim=1
        ),
        "flatten each map to one row of H·W numbers, .flatten(1)": lambda f: functional.normalize(
            energy(f), dim=1
        ).view(len(f), *f.shape[2:]),
        "scale each sample's map by its own length, dim=1; yours shares one length over the batch": lambda f: (
            energy(f) / energy(f).norm()
        ),
        "scale each sample's map by its own length, dim=1; yours scales over dim=0": lambda f: functional.normalize(
            energy(f), dim=0
        ),
    }
    right = "Right: one row of H·W numbers for each sample, none negative, each of length 1."
    return _compare(student_function, toys.ATTENTION_MAP, mistakes, right)


@_verdict
def distillation_loss(student_function):
    """Check a function (student_logits, teacher_logits, temperature) that returns KD, a scalar."""

    def divergence(student, teacher, temperature, reduction="batchmean"):
        student, teacher = (torch.log_softmax(each / temperature, 1) for each in (student, teacher))
        return functional.kl_div(student, teacher, reduction=reduction, log_target=True)

    mistakes = {
        "the factor τ² is missing: gradients shrink as 1/τ², and it makes up for that": divergence,
        "the factor must be τ², not τ": lambda s, t, tau: tau * divergence(s, t, tau),
        "the logits aren't divided by τ": lambda s, t, tau: tau**2 * divergence(s, t, 1.0),
        "teacher and student are swapped: it is KL(teacher ‖ student)": lambda s, t, tau: (
            tau**2 * divergence(t, s, tau)
        ),
        "yours sums over the samples; take their mean (reduction='batchmean')": lambda s, t, tau: (
            tau**2 * divergence(s, t, tau, "sum")
        ),
        "yours averages over the classes too; sum over classes, mean over samples (reduction='batchmean')": (
            lambda s, t, tau: tau**2 * divergence(s, t, tau, "none").mean()
        ),
        "the sign is wrong: a KL divergence is never negative": lambda s, t, tau: -(tau**2) * divergence(s, t, tau),
        "kl_div wants the student's log-probabilities: use log_softmax, not softmax": lambda s, t, tau: (
            tau**2
            * functional.kl_div((s / tau).softmax(1), (t / tau).softmax(1), reduction="batchmean", log_target=False)
        ),
        "yours is the cross-entropy; the KL divergence is less by the teacher's own entropy": lambda s, t, tau: (
            tau**2 * -((t / tau).softmax(1) * (s / tau).log_softmax(1)).sum(1).mean()
        ),
    }
    right = "Right: KL(teacher ‖ student) of the softened logits, summed over classes, averaged over samples, times τ²."
    return _compare(student_function, toys.DISTILLATION, mistakes, right)


def _others(logits, classes):
    return [column for column in range(logits.shape[1]) if column not in list(classes)]


@_verdict
def select_preserved(student_function):
    """Check g, a function (logits, deposit_classes) that drops the columns of the deposit classes."""
    mistakes = {
        "drop the deposit columns; yours sets them to zero, and a zero still has a vote in the softmax": lambda z, c: (
            z.index_fill(1, torch.tensor(c), 0.0)
        ),
        "drop the deposit columns; yours sets them to −∞, and the softmax would have K places": lambda z, c: (
            z.index_fill(1, torch.tensor(c), -torch.inf)
        ),
        "yours keeps the deposit columns; g keeps the other ones": lambda z, c: z[:, list(c)],
        "yours keeps the deposit columns; g keeps the other ones, in order of their numbers": lambda z, c: z[
            :, sorted(c)
        ],
        "yours drops the first columns; the deposit classes can be any": lambda z, c: z[:, len(c) :],
        "yours drops the last columns; the deposit classes can be any": lambda z, c: z[:, : -len(c)],
        "yours reverses the order of the columns; keep the order of the class numbers": lambda z, c: z[
            :, _others(z, c)[::-1]
        ],
        "yours gives a mask or column numbers; return the logits of these columns": lambda z, c: torch.tensor(
            _others(z, c)
        ),
        "yours is flat; keep one row for each sample, (N, K − k)": lambda z, c: z[:, _others(z, c)].flatten(),
    }
    right = "Right: the deposit columns are gone, and the others stand in the order of their classes."
    return _compare(student_function, toys.SELECT_PRESERVED, mistakes, right)


@_verdict
def select_deposited(student_function):
    """Check ḡ, a function (logits, deposit_classes) that keeps the columns of the deposit classes."""
    mistakes = {
        "yours keeps the preserved columns; ḡ keeps those of the deposit classes": lambda z, c: z[:, _others(z, c)],
        "keep only the deposit columns; yours sets the others to zero, and a zero still has a vote": lambda z, c: (
            z.index_fill(1, torch.tensor(_others(z, c)), 0.0)
        ),
        "yours sorts the columns; keep them in the order of deposit_classes": lambda z, c: z[:, sorted(c)],
        "yours takes the first columns; the deposit classes can be any": lambda z, c: z[:, : len(c)],
        "yours picks rows; the classes are the columns, dim=1": lambda z, c: z[: len(c)],
        "yours is flat; keep one row for each sample, (N, k)": lambda z, c: z[:, list(c)].flatten(),
        "yours takes only the first deposit class": lambda z, c: z[:, c[:1]],
        "yours gives class numbers; return the logits of these columns": lambda z, c: torch.tensor(c),
    }
    right = "Right: the deposit columns and nothing else, in the order of deposit_classes."
    return _compare(student_function, toys.SELECT_DEPOSITED, mistakes, right)


@_verdict
def merge_logits(student_function):
    """Check a function (target_logits, module_logits, deposit_classes) that returns the recovered network's logits."""

    def merged(target, module, classes):
        return target.index_copy(1, classes, module[:, classes])

    mistakes = {
        "target and module are swapped: the deposit columns come from the module": lambda t, m, c: merged(m, t, c),
        "yours adds the two in every column; each column comes from one network only": lambda t, m, c: t + m,
        "yours adds the module's logits to the target's; replace them in the deposit columns": lambda t, m, c: merged(
            t, t + m, c
        ),
        "yours averages the two; each column comes from one network only": lambda t, m, c: (t + m) / 2,
        "yours takes the larger of the two; the class decides, not the logit": lambda t, m, c: torch.maximum(t, m),
        "yours is the module alone; the preserved columns come from the target": lambda t, m, c: m,
        "yours is the target alone; the deposit columns come from the module": lambda t, m, c: t,
        "yours puts the deposit columns last; every logit must stand at the index of its class": lambda t, m, c: (
            torch.cat([t[:, _others(t, c.tolist())], m[:, c]], dim=1)
        ),
        "yours puts the deposit columns first; every logit must stand at the index of its class": lambda t, m, c: (
            torch.cat([m[:, c], t[:, _others(t, c.tolist())]], dim=1)
        ),
        "yours takes the module's first columns; take the same columns of both": lambda t, m, c: t.index_copy(
            1, c, m[:, : len(c)]
        ),
        "yours leaves zeros in the preserved columns; they come from the target": lambda t, m, c: merged(0 * t, m, c),
    }
    right = "Right: deposit columns from the module, all others from the target, each at the index of its class."
    return _compare(student_function, toys.MERGE_LOGITS, mistakes, right)


@_verdict
def class_scatter(student_function):
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

    mistakes = {
        "the ridge is missing: add ε to the diagonal of S_T before you invert it": lambda f, y, e: scatter(f, y, 0.0),
        "divide by k − 1, the number of classes less one": lambda f, y, e: scatter(f, y, e) * (len(y.unique()) - 1),
        "divide by k − 1, not by k": lambda f, y, e: scatter(f, y, e) * (len(y.unique()) - 1) / len(y.unique()),
        "weigh each class mean by its share of the samples": lambda f, y, e: scatter(f, y, e, weigh=False),
        "S_T is the covariance of all features; yours is the scatter within the classes": lambda f, y, e: scatter(
            f, y, e, within=True
        ),
        "subtract the mean of all features first": lambda f, y, e: scatter(f, y, e, centre=False),
        "invert the matrix S_T + εI; yours divides one trace by the other": lambda f, y, e: scatter(
            f, y, e, white=False
        ),
        "divide the covariance by N, not by N − 1": lambda f, y, e: scatter(f, y, e, unbiased=1),
    }
    right = "Right: 0 where all class means are equal, and it grows with what a linear read-out can tell apart."
    return _compare(student_function, toys.CLASS_SCATTER, mistakes, right)


@_verdict
def linear_probe(student_function):
    """Check a function (train_features, train_labels, test_features, test_labels) that returns accuracy in %."""

    def probe(train, train_labels, test, test_labels, scaler=True):
        linear = LogisticRegression(max_iter=1000)
        fitted = (make_pipeline(StandardScaler(), linear) if scaler else linear).fit(train, train_labels)
        return 100 * fitted.score(test, test_labels)

    def scaled_twice(train, train_labels, test, test_labels):
        train, test = (StandardScaler().fit_transform(each) for each in (train, test))
        return probe(train, train_labels, test, test_labels, scaler=False)

    def unscaled_test(train, train_labels, test, test_labels):
        return probe(StandardScaler().fit_transform(train), train_labels, test, test_labels, scaler=False)

    mistakes = {
        "yours is a share from 0 to 1; multiply by 100 for percent": lambda *given: probe(*given) / 100,
        "yours is the accuracy on the training features; ask the probe about the test features": lambda x, y, u, v: (
            probe(x, y, x, y)
        ),
        "yours trains the probe on the test features, too": lambda x, y, u, v: probe(u, v, u, v),
        "standardise the features first (StandardScaler): a small direction is as good as a large one": lambda *given: (
            probe(*given, scaler=False)
        ),
        "fit the scaler on the training features only, and use it for the test features": scaled_twice,
        "yours scales the training features but not the test features": unscaled_test,
        "yours is the error rate: 100 minus the accuracy": lambda *given: 100 - probe(*given),
    }
    data = toys.probe_data()
    right = "Right: scaler and probe are fitted on the training features, and the test features are only asked."
    return _compare(student_function, [(data, probe(*data))], mistakes, right)


@_verdict
def quantised_difference(student_function):
    """Check a function (original_weight, target_weight, bits) that returns their difference rounded to 2^bits values.

    For each output channel (row), the values are evenly spaced, symmetric about 0, and the outermost is the row's
    largest absolute value. The kit's own `quantise` also tries smaller scales.
    """

    def rounded(difference, bits, levels=None, dim=1, how=torch.round, widest=2):
        top = (levels or 2**bits) - 1
        scale = widest * difference.abs().amax(dim=dim, keepdim=True) / top
        return (how(difference / scale + top / 2).clamp(0, top) - top / 2) * scale

    mistakes = {
        "the sign is wrong: the difference is original minus target": lambda a, b, n: rounded(b - a, n),
        "yours rounds the original; round the difference, original minus target": lambda a, b, n: rounded(a, n),
        "yours isn't rounded: only 2^bits values are allowed in each row": lambda a, b, n: a - b,
        "give each row (output channel) a scale of its own; yours shares one": lambda a, b, n: rounded(
            a - b, n, dim=(0, 1)
        ),
        "2^bits values have 2^bits − 1 steps between them: divide 2 · max by 2^bits − 1": lambda a, b, n: rounded(
            a - b, n, 2**n + 1
        ),
        "round to the nearest value; yours always rounds down": lambda a, b, n: rounded(a - b, n, how=torch.floor),
        "the scale is twice the largest absolute value over the steps; the factor 2 is missing": lambda a, b, n: (
            rounded(a - b, n, widest=1)
        ),
        "return the difference alone; yours has the target added already": lambda a, b, n: b + rounded(a - b, n),
    }
    right = "Right: at most 2^bits values in each row, symmetric about 0, and the largest difference is kept."
    return _compare(student_function, toys.QUANTISED_DIFFERENCE, mistakes, right)


@_verdict
def harmonic_mean(student_function):
    """Check a function (preserved_accuracy, forgotten) that returns H Mean; both and the result in percent."""

    def harmonic(pre, forgotten):
        return 2 * pre * forgotten / (pre + forgotten) if forgotten > 0 else 0.0

    mistakes = {
        "yours is the arithmetic mean, which one large number can save: 2·Pre·F / (Pre + F)": lambda p, f: (p + f) / 2,
        "the factor 2 is missing: 2·Pre·F / (Pre + F)": lambda p, f: harmonic(p, f) / 2,
        "yours is the geometric mean: 2·Pre·F / (Pre + F)": lambda p, f: (p * max(f, 0)) ** 0.5,
        "yours is a share from 0 to 1: percent in, percent out": lambda p, f: harmonic(p, f) / 100,
        "yours is below 0 where F is: H Mean is 0 if nothing is forgotten (F ≤ 0)": lambda p, f: (
            2 * p * f / (p + f) if p + f else 0.0
        ),
        "yours is the smaller of the two: 2·Pre·F / (Pre + F)": lambda p, f: max(min(p, f), 0.0),
        "F is how much was forgotten already; don't subtract it from 100": lambda p, f: harmonic(p, 100 - f),
    }
    try:
        student_function(0.0, 0.0)
    except ZeroDivisionError:
        raise _Stop(
            f"{student_function.__name__} divides by zero where nothing is forgotten: return 0 if F ≤ 0."
        ) from None
    except Exception:  # `_compare` asks again, and says what happened
        pass
    right = "Right: high only where a network preserves and forgets; 0 if nothing is forgotten."
    return _compare(student_function, toys.HARMONIC_MEAN, mistakes, right)


# The check for a bank's subset goes here: its toy numbers into `toys`, five mistakes, and a row in its test.
