"""The numbers that students check themselves with: what the kit's own functions, or the libraries', make of them."""

import numpy
import pytest
import torch
from scipy import special, stats
from sklearn.model_selection import LeaveOneOut, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional

import lirf_kit as lk
from lirf_kit.classroom import toys
from lirf_kit.evidence.few_shot import nearest_mean
from lirf_kit.evidence.references import HeadMaskedNetwork
from lirf_kit.method.bank import BankNetwork


class Says(nn.Module):
    """A network, or the blocks of one, that has the same logits for any images."""

    device = "cpu"

    def __init__(self, logits, classes=()):
        super().__init__()
        self.logits, self.upper, self.deposit_classes = logits, nn.Identity(), torch.tensor(classes)

    def forward(self, images):
        return self.logits


def part_of(labels, num_classes):
    """A part with these labels; its images are blank."""
    labels = torch.as_tensor(labels)
    images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    return lk.ImageData(images, labels, torch.arange(len(labels)), tuple(map(str, range(num_classes))))


def accuracy(logits, labels, among="all"):
    return lk.accuracy(Says(logits), part_of(labels, logits.shape[1]), among)


def accuracy_with_bonus(logits, labels, classes, bonus):
    return accuracy(logits.index_add(1, torch.tensor(classes), torch.full((len(logits), len(classes)), bonus)), labels)


def sizes(count, test, validation):
    """The three parts as scikit-learn cuts them: the test part first, then the validation part from the rest."""
    rest, tested = train_test_split(range(count), test_size=test)
    trained, validated = train_test_split(rest, test_size=validation)
    return torch.tensor([len(trained), len(validated), len(tested)])


def convolution_parameters(channels_in, channels_out, kernel):
    layers = nn.Conv2d(channels_in, channels_out, kernel, bias=False), nn.BatchNorm2d(channels_out)
    return sum(each.numel() for layer in layers for each in layer.parameters())


def smoothed_label(label, num_classes, smoothing):
    """The wanted probabilities q of torch's smoothed cross-entropy, whose gradient is p − q."""
    logits = torch.zeros(num_classes, requires_grad=True)
    functional.cross_entropy(logits, torch.tensor(label), label_smoothing=smoothing).backward()
    return logits.detach().softmax(0) - logits.grad


def half_cosine(start, end, progress):
    """What torch's own schedule says after some of twelve steps from one learning rate to the other."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=start)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=12, eta_min=end)
    for _ in range(round(12 * progress)):
        optimiser.step()
        schedule.step()
    return schedule.get_last_lr()[0]


def nearest_neighbour(points, labels):
    one = KNeighborsClassifier(1)
    return 100 * cross_val_score(one, points.numpy(), labels.numpy(), cv=LeaveOneOut()).mean()


def bank_logits(target, read, classes):
    modules = [Says(each, own) for each, own in zip(read, classes)]
    return BankNetwork(Says(target), modules, modules, [], "target")(None)


def pull_cosine(first, second):
    vectors = (torch.cat([each.flatten() for each in pull]) for pull in (first, second))
    return functional.cosine_similarity(*vectors, dim=0).item()


def clipped(gradient, limit):
    weight = nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient.clone()
    nn.utils.clip_grad_norm_([weight], limit)  # as every step of a deposit does
    return weight.grad


def js_divergence(p, q):
    return torch.tensor(lk.js_divergence(Says(p.log()), Says(q.log()), part_of([0] * len(p), p.shape[1])))


def known_classes(count, deposits, withdrawn):
    """The classes that have a logit of 1, where every module says 1 for all, and the target 0 for what it has lost."""
    lost = {number for own in deposits.values() for number in own}
    target = torch.tensor([[float(number not in lost) for number in range(count)]])
    plugged = [deposits[name] for name in withdrawn]
    return bank_logits(target, [torch.ones(1, count)] * len(plugged), plugged)[0].nonzero()[:, 0]


def quantised_weight(weight, bits):
    top = 2 ** (bits - 1) - 1
    scales = weight.abs().amax(dim=1) / top
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -top, top)


def sample_gap(answers, labels, unseen_answers, unseen_labels):
    one_hot = functional.one_hot(answers, 10).float(), functional.one_hot(unseen_answers, 10).float()
    return accuracy(one_hot[0], labels) - accuracy(one_hot[1], unseen_labels)


HOLDS = {
    "DEPOSIT_MASK": lambda labels, classes, count: torch.from_numpy(numpy.isin(labels, classes)),
    "ACCURACY": accuracy,
    "ATTENTION_MAP": lk.attention_map,
    "DISTILLATION": lk.distillation_loss,
    "SELECT_PRESERVED": lk.select_preserved,
    "SELECT_DEPOSITED": lk.select_deposited,
    "MERGE_LOGITS": lk.merge_logits,
    "CLASS_SCATTER": lk.class_scatter,
    "HARMONIC_MEAN": lk.harmonic_mean,
    "PART_SIZES": sizes,
    "STRATIFIED_COUNTS": lambda y, size, k: torch.tensor([size * (y == number).double().mean() for number in range(k)]),
    "CHANGED_IMAGES": lambda before, after: len(numpy.setxor1d(before, after)),
    "CONVOLUTION_PARAMETERS": convolution_parameters,
    "SMOOTHED_LABEL": smoothed_label,
    "HALF_COSINE": half_cosine,
    "FEATURE_RECOVERY": lk.feature_recovery_loss,
    "NEIGHBOUR_SHARES": lambda distances, sigma: torch.tensor(special.softmax(-((distances.numpy() / sigma) ** 2) / 2)),
    "PERPLEXITY": lambda shares: 2 ** stats.entropy(shares.numpy(), base=2),
    "NEAREST_NEIGHBOUR": nearest_neighbour,
    "NEAREST_MEAN": lambda *given: torch.from_numpy(nearest_mean(*(each.numpy() for each in given))),
    "ACCURACY_WITH_BONUS": accuracy_with_bonus,
    "BANK_LOGITS": bank_logits,
    "PULL_COSINE": pull_cosine,
    "CLIPPED": clipped,
    "OWN_STATISTICS": lambda features: functional.batch_norm(features, None, None, training=True, eps=1e-9),
    "MODULE_WINS": lambda logits, classes: 100 * numpy.isin(logits.numpy().argmax(axis=1), classes).mean(),
    "ACCURACY_IN_PART": lambda logits, labels, classes: accuracy(logits, labels, "part"),
    "HEAD_MASKING": lambda logits, classes: HeadMaskedNetwork(Says(logits), classes)(None),
    "JS_DIVERGENCE": js_divergence,
    "KNOWN_CLASSES": known_classes,
    "QUANTISED_WEIGHT": quantised_weight,
    "DROP_OWN_CLASS": lambda logits, labels: lk.select_preserved(logits, labels[:, None]),
    "OTHER_LABEL": lambda logits, labels: lk.best_preserved_labels(logits, labels[:, None]),
    "SAMPLE_GAP": sample_gap,
    "TRUE_CLASS_PROBABILITY": lambda z, y: functional.cross_entropy(z, y, reduction="none").neg().exp(),
}


@pytest.mark.parametrize("name", HOLDS)
def test_the_numbers_by_hand_are_those_of_the_kit_or_of_a_library(name):
    for arguments, expected in getattr(toys, name):
        found = torch.as_tensor(HOLDS[name](*arguments))
        expected = torch.as_tensor(expected)
        torch.testing.assert_close(found.to(expected.dtype), expected, rtol=1e-5, atol=1e-5)


def test_rounding_to_the_toy_s_values_is_what_the_kit_does_or_does_better():
    for (original, target, bits), by_hand in toys.QUANTISED_DIFFERENCE:
        difference = original - target
        kit = lk.dequantise(*lk.quantise(difference, bits), bits)
        assert ((kit - difference).norm(dim=1) <= (by_hand - difference).norm(dim=1) + 1e-6).all()
        torch.testing.assert_close(lk.dequantise(*lk.quantise(by_hand, bits), bits), by_hand)  # they need no rounding


def test_the_kit_s_wrong_labels_are_what_the_check_asks_for(generator):
    labels, count = toys.WRONG_LABELS
    wrong = lk.wrong_labels(labels, count, generator)
    assert not (wrong == labels).any()
    for label in range(count):
        assert set(wrong[labels == label].tolist()) == set(range(count)) - {label}


def test_a_share_of_the_way_leads_from_the_original_to_the_target():
    for (original, target, retrained), share in toys.SHARE_OF_THE_WAY:
        assert original + share / 100 * (retrained - original) == pytest.approx(target)


def test_the_bank_s_saving_is_in_the_kit_s_table_of_costs(tiny, tiny_original, tiny_data):
    bank = lk.KnowledgeBank(tiny_original, tiny)
    for name, classes in {"a": (0, 1), "b": (2, 3)}.items():
        bank.deposit(name, lk.split_by_class(tiny_data, classes).deposit_set)
    size = lk.bank_costs(bank, tiny_original)["bytes"]
    network, whole, every = size.iloc[0], size.iloc[1], size.iloc[-1]
    module = (whole - network) / 2
    assert every / whole == pytest.approx(2**2 * network / (network + 2 * module))
    for (network, module, deposits), saving in toys.BANK_SAVING:  # the same formula
        assert saving == pytest.approx(2**deposits * network / (network + deposits * module))


def test_every_toy_is_held():
    lists = {name for name, value in vars(toys).items() if isinstance(value, (list, tuple)) and name[0].isupper()}
    others = {"QUANTISED_DIFFERENCE", "WRONG_LABELS", "SHARE_OF_THE_WAY", "BANK_SAVING"}
    assert lists == set(HOLDS) | others
