"""Toy numbers worked by hand. The student's checks and the kit's own tests use the same ones.

Every entry is a list of cases: what a function is given, and what it must return.
"""

import math

import numpy
import torch
from torch import tensor

LN3 = math.log(3)  # logits (0, ln 3) are the probabilities (¼, ¾)
KL = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)  # of (¼, ¾) ‖ (½, ½): 0.25 · −0.6931 + 0.75 · 0.4055 = 0.1308

# a table with one yes or no for each class, looked up with the labels
DEPOSIT_MASK = [
    ((tensor([3, 0, 5, 1, 0]), [0, 1], 6), tensor([False, True, False, True, True])),
    ((tensor([2, 4, 4, 0]), [4], 5), tensor([False, True, True, False])),
]

# three of four answers are right, one of three
ACCURACY = [
    ((tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]]), tensor([0, 1, 0, 1])), 75.0),
    ((tensor([[1.0, 0.0, 0.0], [-1.0, -3.0, -2.0], [0.0, 0.0, 7.0]]), tensor([1, 0, 1])), 100 / 3),
]

# labels of five classes, often enough that each of the four wrong ones is drawn, and the number of classes
WRONG_LABELS = torch.arange(5).repeat(400), 5

# two channels of 1×2: mean of squares (1² + 1²)/2 = 1 and (2² + 0²)/2 = 2, length √5: (1, 2)/√5;
# the second sample: (3² + 3²)/2 = 9 and (0² + 4²)/2 = 8, length √145
ATTENTION_MAP = [
    (
        (tensor([[[[1.0, 2.0]], [[-1.0, 0.0]]], [[[3.0, 0.0]], [[3.0, 4.0]]]]),),
        tensor([[1 / 5**0.5, 2 / 5**0.5], [9 / 145**0.5, 8 / 145**0.5]]),
    ),
    # one channel of 2×2: squares 1, 4, 4, 0, length √33
    ((tensor([[[[1.0, -2.0], [2.0, 0.0]]]]),), tensor([[1.0, 4.0, 4.0, 0.0]]) / 33**0.5),
]

# (student, teacher, τ); logits twice as large at τ = 2 are the same probabilities, and τ² = 4; a second sample that
# agrees halves the mean
DISTILLATION = [
    ((tensor([[0.0, 0.0]]), tensor([[0.0, LN3]]), 1.0), tensor(KL)),
    ((torch.zeros(2, 2), tensor([[0.0, 2 * LN3], [0.0, 0.0]]), 2.0), tensor(2 * KL)),
]

# each column is named by its first number
SELECT_PRESERVED = [
    ((tensor([[10.0, 11.0, 12.0, 13.0]]), [2, 0]), tensor([[11.0, 13.0]])),
    ((torch.arange(15.0).view(3, 5), [1]), torch.arange(15.0).view(3, 5)[:, [0, 2, 3, 4]]),
]
SELECT_DEPOSITED = [
    ((tensor([[10.0, 11.0, 12.0, 13.0]]), [2, 0]), tensor([[12.0, 10.0]])),
    ((torch.arange(15.0).view(3, 5), [1, 3]), tensor([[1.0, 3.0], [6.0, 8.0], [11.0, 13.0]])),
]

# classes 1 and 3 come from the module
MERGE_LOGITS = [
    (
        (tensor([[1.0, 2.0, 3.0, 4.0]]), tensor([[10.0, 20.0, 30.0, 40.0]]), tensor([1, 3])),
        tensor([[1.0, 20.0, 3.0, 40.0]]),
    ),
    (
        (tensor([[5.0, 6.0, 7.0], [1.0, 2.0, 3.0]]), -torch.ones(2, 3), tensor([2])),
        tensor([[5.0, 6.0, -1.0], [1.0, 2.0, -1.0]]),
    ),
]

# (features, labels, ε)
CLASS_SCATTER = [
    # class means −1 and 1: S_B = 1; all values lie on their means, so S_T = 1 too: 1 / (1 + 1)
    ((tensor([[-1.0], [-1.0], [1.0], [1.0]]), tensor([3, 3, 7, 7]), 1.0), tensor(1 / 2)),
    # the same means, but S_T = (4 + 0 + 0 + 4) / 4 = 2: 1 / (2 + 2)
    ((tensor([[-2.0], [0.0], [0.0], [2.0]]), tensor([3, 3, 7, 7]), 2.0), tensor(1 / 4)),
    # unequal classes: the mean of all is 0, S_B = ¼ · 3² + ¾ · 1² = 3 = S_T: 3 / (3 + 1)
    ((tensor([[3.0], [-1.0], [-1.0], [-1.0]]), tensor([0, 1, 1, 1]), 1.0), tensor(3 / 4)),
    # three classes around 10, at −3, 0 and 3: S_B = S_T = 6: 6 / (6 + 6), halved because k − 1 = 2
    ((tensor([[7.0], [10.0], [13.0]]), tensor([0, 1, 2]), 6.0), tensor(1 / 4)),
    # two features: S_T = diag(1, 9), S_B = diag(1, 0): 1 / (1 + 1)
    ((tensor([[-1.0, -3.0], [-1.0, 3.0], [1.0, -3.0], [1.0, 3.0]]), tensor([0, 0, 1, 1]), 1.0), tensor(1 / 2)),
]

# (original, target, bits): rounded to ±max and, with 2 bits, ±max/3, for each row; the differences are
# (3, 0.8, −1.2, −3) and a tenth of (−3, 1.3, 1.7, 2.6); with 1 bit only the signs are left
_TARGET = tensor([[1.0, 2.0, 3.0, 4.0], [0.5, 0.5, 0.5, 0.5]])
_ORIGINAL = _TARGET + tensor([[3.0, 0.8, -1.2, -3.0], [-0.3, 0.13, 0.17, 0.26]])
QUANTISED_DIFFERENCE = [
    ((_ORIGINAL, _TARGET, 2), tensor([[3.0, 1.0, -1.0, -3.0], [-0.3, 0.1, 0.1, 0.3]])),
    ((_ORIGINAL, _TARGET, 1), tensor([[3.0, 3.0, -3.0, -3.0], [-0.3, 0.3, 0.3, 0.3]])),
]

# (Pre Acc, F)
HARMONIC_MEAN = [
    ((90.0, 60.0), 72.0),  # 2 · 90 · 60 / 150
    ((99.0, 0.0), 0.0),
    ((99.0, -5.0), 0.0),
    ((0.0, 0.0), 0.0),
]


def probe_data():
    """Return training features, their labels, test features and theirs, as NumPy arrays.

    The class stands in the first feature, a thousand times smaller than the noise in the second. The test features
    are shifted a little and have other class shares, so that each way of getting a probe wrong gives its own number.
    """
    draw = numpy.random.default_rng(3)
    parts = []
    for classes, shift in (([0] * 60 + [1] * 60, 0.0), ([0] * 25 + [1] * 75, 0.6)):
        labels = numpy.array(classes)
        useful = 0.001 * (2 * labels - 1 + draw.normal(0, 0.9, len(labels)) + shift)
        parts += [numpy.stack([useful, draw.normal(0, 1, len(labels))], axis=1), labels]
    return tuple(parts)


# (images, test fraction, validation fraction): 0.3 · 10 = 3; 0.25 · 7 = 1.75, up to 2; 0.15 · 1257 = 188.55, up to 189
PART_SIZES = [((10, 0.3, 0.25), tensor([5, 2, 3])), ((1797, 0.3, 0.15), tensor([1068, 189, 540]))]

# 4 of 8 images are of class 0, 3 of class 1, 1 of class 2; a part has 4 images, then 2
STRATIFIED_COUNTS = [
    ((tensor([0, 1, 0, 2, 1, 0, 1, 0]), 4, 3), tensor([2.0, 1.5, 0.5])),
    ((tensor([0, 1, 0, 2, 1, 0, 1, 0]), 2, 4), tensor([1.0, 0.75, 0.25, 0.0])),
]

# 1 and 2 are gone, 7, 8 and 9 are new; then nothing but the order is different
CHANGED_IMAGES = [((tensor([1, 2, 3, 4]), tensor([4, 9, 3, 8, 7])), 5), ((torch.arange(5), torch.arange(5).flip(0)), 0)]

# (input channels, output channels, kernel): the stem of the digits is 16 · 1 · 3 · 3 + 2 · 16 = 176
CONVOLUTION_PARAMETERS = [((1, 16, 3), 176), ((16, 32, 3), 4672), ((32, 64, 1), 2176)]

# (label, classes, smoothing)
SMOOTHED_LABEL = [
    ((3, 10, 0.1), tensor([0.01] * 3 + [0.91] + [0.01] * 6)),
    ((0, 4, 0.2), tensor([0.85, 0.05, 0.05, 0.05])),
]

# (from, to, progress): half-way it is in the middle, and cos(π/3) = ½
HALF_COSINE = [
    ((0.004, 0.1, 0.5), 0.052),
    ((0.004, 0.1, 0.0), 0.004),
    ((1.0, 0.0, 1 / 3), 0.75),
    ((0.0, 8.0, 1.0), 8.0),
]

# (module, original): (0² + 2²) / (3² + 4²); a module that returns zeros has 1; two samples share one fraction
FEATURE_RECOVERY = [
    ((tensor([3.0, 2.0]).view(1, 2, 1, 1), tensor([3.0, 4.0]).view(1, 2, 1, 1)), tensor(0.16)),
    ((torch.zeros(2, 1, 1, 2), tensor([3.0, 4.0, 1.0, 0.0]).view(2, 1, 1, 2)), tensor(1.0)),
    ((tensor([3.0, 3.0, 2.0, 0.0]).view(2, 1, 1, 2), tensor([3.0, 4.0, 1.0, 0.0]).view(2, 1, 1, 2)), tensor(2 / 26)),
]

# (distances, σ): the two examples of the notebook, worked by hand there; then two neighbours that are equally far
_NEAR, _FAR = math.exp(-1 / 50), math.exp(-25 / 50)
NEIGHBOUR_SHARES = [
    ((tensor([1.0, 5.0]), 5.0), tensor([_NEAR, _FAR]) / (_NEAR + _FAR)),
    ((tensor([2.0, 2.0, 2.0, 2.0]), 1.0), torch.full((4,), 0.25)),
]
PERPLEXITY = [((tensor([0.5, 0.5]),), 2.0), ((torch.full((8,), 1 / 8),), 8.0), ((tensor([0.5, 0.25, 0.25]),), 2**1.5)]

# (points, labels): the nearest neighbour of 0 is 1, of 1 it is 0, of 4 it is 1 and of 9 it is 4
NEAREST_NEIGHBOUR = [
    ((tensor([[0.0], [1.0], [4.0], [9.0]]), tensor([0, 0, 0, 1])), 75.0),
    ((tensor([[0.0, 0.0], [0.0, 1.0], [8.0, 0.0], [8.0, 2.0], [8.0, 5.0]]), tensor([1, 0, 2, 2, 2])), 60.0),
]

# (shots, their labels, asked): class means 0 and 6; then means (1, 0), (0, 4) and (9, 9)
NEAREST_MEAN = [
    ((tensor([[-2.0], [2.0], [5.0], [7.0]]), tensor([0, 0, 1, 1]), tensor([[1.0], [2.9], [3.1]])), tensor([0, 0, 1])),
    (
        (
            tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [9.0, 9.0]]),
            tensor([7, 7, 3, 5]),
            tensor([[1.0, 1.0], [0.0, 3.0], [8.0, 8.0], [5.0, 2.0]]),
        ),
        tensor([7, 3, 5, 7]),
    ),
]

# (logits, labels, deposit classes, bonus): classes 0 and 2 rise by 3
ACCURACY_WITH_BONUS = [
    (
        (
            tensor([[1.0, 3.0, 0.0], [0.0, 5.0, 1.0], [0.0, 1.0, 0.5], [0.0, 9.0, 0.0], [2.0, 1.0, 0.0]]),
            tensor([0, 0, 2, 1, 0]),
            [0, 2],
            3.0,
        ),
        80.0,
    ),
    ((tensor([[1.0, 3.0, 0.0], [0.0, 5.0, 1.0]]), tensor([1, 0]), [0, 2], 0.0), 50.0),
]

# (original, target, retrained): from 90 to 80 of the way down to 70 is a half; past it is more than 100
SHARE_OF_THE_WAY = [((90.0, 80.0, 70.0), 50.0), ((10.0, 10.0, 50.0), 0.0), ((2.0, 5.0, 4.0), 150.0)]

# four classes: 0 is the first module's, 2 and 3 are the second's, and 1 stays the target's
BANK_LOGITS = [
    (
        (
            tensor([[1.0, 2.0, 3.0, 4.0]]),
            [tensor([[10.0, 20.0, 30.0, 40.0]]), tensor([[-1.0, -2.0, -3.0, -4.0]])],
            [[0], [2, 3]],
        ),
        tensor([[10.0, 2.0, -3.0, -4.0]]),
    ),
    ((tensor([[1.0, 2.0], [3.0, 4.0]]), [tensor([[5.0, 6.0], [7.0, 8.0]])], [[1]]), tensor([[1.0, 6.0], [3.0, 8.0]])),
]

# two gradients, lists of tensors: (3, 0, 0, 4) · (3, 0, 0, −4) = −7, lengths 5 and 5; then 3 / 5; then upright
PULL_COSINE = [
    (([tensor([3.0, 0.0]), tensor([[0.0, 4.0]])], [tensor([3.0, 0.0]), tensor([[0.0, -4.0]])]), -0.28),
    (([tensor([1.0, 0.0])], [tensor([3.0, 4.0])]), 0.6),
    (([tensor([1.0, 2.0]), tensor([3.0])], [tensor([2.0, -1.0]), tensor([0.0])]), 0.0),
]

# (3, 4) has length 5; (0.3, 0.4) is short enough; a gradient of zeros stays
CLIPPED = [
    ((tensor([3.0, 4.0]), 1.0), tensor([0.6, 0.8])),
    ((tensor([0.3, 0.4]), 1.0), tensor([0.3, 0.4])),
    ((torch.zeros(2), 2.0), torch.zeros(2)),
]

# two samples of 1×2: the channel 1, 3, 5, 7 has mean 4 and variance (9 + 1 + 1 + 9) / 4 = 5; −1, 1, 1, −1 stays
_STANDARD = tensor([-3.0, -1.0, 1.0, 3.0]) / 5**0.5
OWN_STATISTICS = [
    ((tensor([1.0, 3.0, 5.0, 7.0]).view(2, 1, 1, 2),), _STANDARD.view(2, 1, 1, 2)),
    (
        (tensor([1.0, 3.0, -1.0, 1.0, 5.0, 7.0, 1.0, -1.0]).view(2, 2, 1, 2),),
        torch.stack([_STANDARD.view(2, 2), tensor([[-1.0, 1.0], [1.0, -1.0]])], dim=1).view(2, 2, 1, 2),
    ),
]

# the answers are 1, 0, 3 and 2; then 0 and 1
MODULE_WINS = [
    ((tensor([[0.0, 9.0, 1, 2], [5, 1, 1, 4], [0, 3, 1, 4], [0, 2, 3, 2]]), [1, 3]), 50.0),
    ((tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 1.5]]), [0]), 50.0),
    ((tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0], [5.0, 1.0, 2.0], [0.0, 0.0, 1.0]]), [0, 2]), 100.0),
]

# (logits, labels, the part's classes): among 1 and 3 the answers are 1, 3, 3 and 3; among 2 and 0 they are 0 and 2;
# among 0 and 1 they are 0, 1, 0 and 1
ACCURACY_IN_PART = [
    ((tensor([[2.0, -1, 1, -3], [0, 5, 0, 6], [1, 0, 9, 2], [0, 1, 0, 4]]), tensor([1, 3, 1, 3]), [1, 3]), 75.0),
    ((tensor([[1.0, 9.0, 0.0], [0.0, 9.0, 3.0]]), tensor([0, 2]), [2, 0]), 100.0),
    ((tensor([[5.0, 0, 9], [0, 3, 9], [4, 1, 0], [1, 2, 0]]), tensor([0, 1, 1, 1]), [0, 1]), 75.0),
]

HEAD_MASKING = [
    ((tensor([[1.0, 2.0, 3.0, 4.0]]), [2, 1]), tensor([[1.0, -math.inf, -math.inf, 4.0]])),
    ((tensor([[5.0, 6.0], [7.0, 8.0]]), [1]), tensor([[5.0, -math.inf], [7.0, -math.inf]])),
]

# (¾, ¼) and (¼, ¾) have the mean (½, ½), so both halves are KL; then a sample that agrees; then (½, ½) and (0.9, 0.1)
_HALVES = 0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3), 0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3)
JS_DIVERGENCE = [
    ((tensor([[0.75, 0.25]]), tensor([[0.25, 0.75]])), tensor(KL)),
    ((tensor([[0.75, 0.25], [0.5, 0.5]]), tensor([[0.25, 0.75], [0.5, 0.5]])), tensor(KL / 2)),
    ((tensor([[0.5, 0.5]]), tensor([[0.9, 0.1]])), tensor(sum(_HALVES) / 2)),
]

# (number of classes, classes of each deposit, names withdrawn): the rest was never deposited, so it is known as well
KNOWN_CLASSES = [
    ((6, {"spring": [0], "autumn": [4, 5]}, ["autumn"]), tensor([1, 2, 3, 4, 5])),
    ((5, {"a": [3], "b": [1], "c": [0]}, ["c", "a"]), tensor([0, 2, 3, 4])),
]

# (bytes of a network, bytes of a module, deposits): 8 · 100 / (100 + 3 · 50) and 4 · 300 / (300 + 2 · 75)
BANK_SAVING = [((100, 50, 3), 3.2), ((300, 75, 2), 8 / 3)]

# (weight, bits): with 3 bits the codes go from −3 to 3, with 8 from −127 to 127; the largest of each row gets the last
QUANTISED_WEIGHT = [
    (
        (tensor([[3.0, 1.2, -0.4, -2.6], [0.3, -0.14, 0.06, 0.0]]), 3),
        tensor([[3.0, 1.0, 0.0, -3.0], [0.3, -0.1, 0.1, 0.0]]),
    ),
    ((tensor([[127.0, 0.6, -63.4], [-12.7, 5.04, 0.16]]), 8), tensor([[127.0, 1.0, -63.0], [-12.7, 5.0, 0.2]])),
]

# each sample has a class of its own: the first two rows are the notebook's image with (4, 1, 3, 2), as a 0 and as a 2
_IMAGE = tensor([[4.0, 1.0, 3.0, 2.0], [4.0, 1.0, 3.0, 2.0]])
DROP_OWN_CLASS = [
    ((_IMAGE, tensor([0, 2])), tensor([[1.0, 3.0, 2.0], [4.0, 1.0, 2.0]])),
    (
        (tensor([[10.0, 11.0, 12.0], [20.0, 21.0, 22.0], [30.0, 31.0, 32.0]]), tensor([1, 0, 1])),
        tensor([[10.0, 12.0], [21.0, 22.0], [30.0, 32.0]]),
    ),
]
# the same images; then the largest of all is another class already, and the last class is the image's own
OTHER_LABEL = [
    ((_IMAGE, tensor([0, 2])), tensor([2, 0])),
    ((tensor([[-5.0, 7.0, 6.0], [-1.0, -3.0, -2.0], [0.0, 1.0, 2.0]]), tensor([0, 0, 2])), tensor([1, 2, 1])),
]

# (answers on deposited samples, their labels, answers on unseen images, their labels): 3 of 4 and 1 of 2 are 75 − 50;
# 1 of 4 and 4 of 5 are 25 − 80
SAMPLE_GAP = [
    ((tensor([0, 1, 2, 2]), tensor([0, 1, 2, 0]), tensor([1, 1]), tensor([0, 1])), 25.0),
    ((tensor([2, 0, 0, 1]), tensor([2, 1, 1, 0]), tensor([0, 1, 2, 0, 1]), tensor([0, 1, 2, 0, 2])), -55.0),
]

# (logits, labels): (0, ln 3) are the probabilities (¼, ¾); (0, 0, ln 2) are ¼, ¼ and ½
TRUE_CLASS_PROBABILITY = [
    ((tensor([[0.0, LN3], [0.0, LN3], [5.0, 5.0]]), tensor([0, 1, 0])), tensor([0.25, 0.75, 0.5])),
    ((tensor([[0.0, 0.0, math.log(2)], [9.0, 9.0 + math.log(2), 9.0]]), tensor([2, 0])), tensor([0.5, 0.25])),
]
