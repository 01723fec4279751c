import math

import numpy
import pytest
import torch
from scipy import special, stats
from sklearn.linear_model import Ridge
from torch.nn import functional

import lirf_kit as lk
from lirf_kit.classroom.toys import KL, LN3


@pytest.fixture
def logits():
    """Logits of two networks for 6 samples and 5 classes."""
    draw = numpy.random.default_rng(0)
    return torch.tensor(draw.normal(0, 3, (6, 5))), torch.tensor(draw.normal(0, 3, (6, 5)))


def kl_by_scipy(teacher, student, temperature):
    """τ² · mean KL, by SciPy's softmax and relative entropy."""
    shares = [special.softmax(each.numpy() / temperature, axis=1) for each in (teacher, student)]
    return temperature**2 * stats.entropy(*shares, axis=1).mean()


def cross_entropy_by_scipy(logits, labels):
    chosen = special.softmax(logits.numpy(), axis=1)[numpy.arange(len(labels)), labels.numpy()]
    return -numpy.log(chosen).mean()


def test_selecting_drops_columns_and_does_not_zero_them():
    logits = torch.tensor([[10.0, 11.0, 12.0, 13.0]])
    assert lk.select_preserved(logits, [2, 0]).tolist() == [[11.0, 13.0]]
    assert lk.select_deposited(logits, [2, 0]).tolist() == [[12.0, 10.0]]
    assert lk.select_preserved(logits, torch.tensor([1, 3])).tolist() == [[10.0, 12.0]]


def test_preserved_and_deposited_logits_are_all_logits(logits):
    both = torch.cat([lk.select_preserved(logits[0], (1, 3)), lk.select_deposited(logits[0], (1, 3))], dim=1)
    assert torch.equal(both[:, [0, 3, 1, 4, 2]], logits[0])


def test_each_sample_may_have_classes_of_its_own():
    logits = torch.tensor([[10.0, 11.0, 12.0, 13.0], [20.0, 21.0, 22.0, 23.0]])
    one, two = torch.tensor([[2], [0]]), torch.tensor([[2, 0], [1, 3]])
    assert lk.select_preserved(logits, one).tolist() == [[10.0, 11.0, 13.0], [21.0, 22.0, 23.0]]
    assert lk.select_preserved(logits, two).tolist() == [[11.0, 13.0], [20.0, 22.0]]
    assert lk.select_deposited(logits, two).tolist() == [[12.0, 10.0], [21.0, 23.0]]
    # the largest that is left: 13 of (10, 11, 13) and 23 of (21, 22, 23); 13 of (11, 13) and 22 of (20, 22)
    assert lk.best_preserved_labels(logits, one).tolist() == [3, 3]
    assert lk.best_preserved_labels(logits, two).tolist() == [3, 2]


def test_the_same_classes_for_each_sample_are_those_classes_for_all(logits):
    shared, own = (3, 1), torch.tensor([[3, 1]] * 6)
    for function in (lk.select_preserved, lk.select_deposited, lk.best_preserved_labels):
        assert torch.equal(function(logits[0], shared), function(logits[0], own)), function.__name__
    for loss in (lk.preservation_loss, lk.partial_transfer_loss):
        assert torch.equal(loss(*logits, shared, 2.0), loss(*logits, own, 2.0)), loss.__name__


def test_wrong_labels_are_never_the_true_label_and_cover_all_others_uniformly(generator):
    labels = torch.arange(10).repeat(9000)
    wrong = lk.wrong_labels(labels, 10, generator)
    assert not (wrong == labels).any()
    for label in range(10):
        counts = torch.bincount(wrong[labels == label], minlength=10)
        others = [count for number, count in enumerate(counts.tolist()) if number != label]
        assert min(others) > 0 and stats.chisquare(others).pvalue > 0.001


def test_wrong_labels_of_two_classes_are_the_other_one(generator):
    assert lk.wrong_labels(torch.tensor([0, 1, 1, 0]), 2, generator).tolist() == [1, 0, 0, 1]


def test_wrong_labels_come_from_the_generator_alone():
    labels = torch.zeros(100, dtype=torch.int64)
    first, again = (lk.wrong_labels(labels, 10, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)


def test_best_preserved_labels_are_the_largest_logit_that_is_not_deposited():
    # without the columns 0 and 3 there remain the places 1, 2 and 4: (1, 3, 2) and (−9, −8, −7)
    logits = torch.tensor([[5.0, 1.0, 3.0, 4.0, 2.0], [0.0, -9.0, -8.0, 0.0, -7.0]])
    before = logits.clone()
    assert lk.best_preserved_labels(logits, (0, 3)).tolist() == [2, 4]
    assert torch.equal(logits, before)


def test_an_attention_map_works_out_by_hand():
    # two channels of 1×2: mean of squares (1² + 1²)/2 = 1 and (2² + 0²)/2 = 2, length √5: (1, 2)/√5
    features = torch.tensor([[[[1.0, 2.0]], [[-1.0, 0.0]]]])
    numpy.testing.assert_allclose(lk.attention_map(features), [[1 / 5**0.5, 2 / 5**0.5]], rtol=1e-6)


def test_an_attention_map_has_length_one_and_knows_no_scale(generator):
    features = torch.randn(4, 3, 2, 5, generator=generator)
    attention = lk.attention_map(features)
    energy = (features.numpy() ** 2).mean(1).reshape(4, 10)
    numpy.testing.assert_allclose(attention, energy / numpy.linalg.norm(energy, axis=1, keepdims=True), rtol=1e-5)
    torch.testing.assert_close(lk.attention_map(7 * features), attention)


def test_the_attention_distance_works_out_by_hand():
    # (1, 2)/√5 to (1, 0): (1/√5 − 1)² + (2/√5)² = 2 − 2/√5; (0, 1) to itself: 0; the mean of the two
    first = torch.tensor([[1 / 5**0.5, 2 / 5**0.5], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert lk.attention_distance(first, second).item() == pytest.approx(1 - 1 / 5**0.5)


def test_the_attention_distance_is_two_minus_twice_the_cosine(generator):
    one, other = (torch.randn(50, 8, 3, 3, generator=generator) for _ in range(2))
    distance = lk.attention_distance(lk.attention_map(one), lk.attention_map(other))
    energies = [each.square().mean(1).flatten(1) for each in (one, other)]
    cosine = torch.nn.CosineSimilarity(dim=1)(*energies).mean()  # ‖a − b‖² = 2 − 2 a·b for unit vectors
    assert distance.item() == pytest.approx(2 - 2 * cosine.item(), abs=1e-5)
    assert 0 < distance < 2


def test_the_attention_distance_is_two_for_maps_that_do_not_touch():
    left, right = torch.zeros(3, 2, 2, 2), torch.zeros(3, 2, 2, 2)
    left[..., 0], right[..., 1] = 5.0, 0.1
    assert lk.attention_distance(lk.attention_map(left), lk.attention_map(right)).item() == pytest.approx(2)


def test_the_attention_distance_is_zero_for_maps_of_one_position(generator):
    one, other = (torch.randn(5, 7, 1, 1, generator=generator) for _ in range(2))
    assert lk.attention_distance(lk.attention_map(one), lk.attention_map(other)).item() == 0


def test_features_of_zero_have_a_distance_and_finite_gradients():
    features = torch.zeros(2, 3, 2, 2, requires_grad=True)
    distance = lk.attention_distance(lk.attention_map(features), lk.attention_map(torch.ones(2, 3, 2, 2)))
    distance.backward()
    assert distance.item() == pytest.approx(1)  # from a map of zeros to a unit vector
    assert features.grad.isfinite().all()


def test_distillation_works_out_by_hand():
    teacher, student = torch.tensor([[0.0, LN3]]), torch.tensor([[0.0, 0.0]])
    assert lk.distillation_loss(student, teacher, 1).item() == pytest.approx(KL)
    # logits twice as large at τ = 2 are the same probabilities; τ² = 4
    assert lk.distillation_loss(2 * student, 2 * teacher, 2).item() == pytest.approx(4 * KL)
    # a second sample that agrees halves the mean
    twice = torch.cat([student, student]), torch.cat([teacher, student])
    assert lk.distillation_loss(*twice, 1).item() == pytest.approx(KL / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_is_scipy_s_relative_entropy_and_torch_s_kldivloss(logits, temperature):
    student, teacher = logits
    loss = lk.distillation_loss(student, teacher, temperature).item()
    assert loss == pytest.approx(kl_by_scipy(teacher, student, temperature))
    log_student = torch.log(torch.softmax(student / temperature, 1))
    divergence = torch.nn.KLDivLoss(reduction="sum")(log_student, torch.softmax(teacher / temperature, 1)) / 6
    assert loss == pytest.approx(temperature**2 * divergence.item())


def test_distillation_is_zero_only_where_student_and_teacher_agree(logits):
    student, teacher = logits
    assert lk.distillation_loss(student + 5, student, 2.0).item() == pytest.approx(0, abs=1e-9)
    assert lk.distillation_loss(student, teacher, 2.0) > 0.1


def one_dimensional(*values):
    return torch.tensor(values)[:, None]


def test_class_scatter_works_out_by_hand():
    labels = torch.tensor([3, 3, 7, 7])
    # class means −1 and 1: S_B = 1; all values lie on their means, so S_T = 1 too
    assert lk.class_scatter(one_dimensional(-1.0, -1.0, 1.0, 1.0), labels, 1.0).item() == pytest.approx(1 / 2)
    # the same means, but S_T = (4 + 0 + 0 + 4) / 4 = 2
    assert lk.class_scatter(one_dimensional(-2.0, 0.0, 0.0, 2.0), labels, 2.0).item() == pytest.approx(1 / 4)
    # unequal classes: the mean of all is 0, S_B = ¼ · 3² + ¾ · 1² = 3 = S_T
    unequal = one_dimensional(3.0, -1.0, -1.0, -1.0)
    assert lk.class_scatter(unequal, torch.tensor([0, 1, 1, 1]), 1.0).item() == pytest.approx(3 / 4)


def test_class_scatter_is_0_where_all_class_means_are_equal_and_1_where_classes_are_points(generator):
    labels = torch.tensor([0, 1, 2]).repeat(20)
    equal = torch.randn(20, 1, 4, generator=generator).expand(-1, 3, -1).reshape(60, 4)  # each value once a class
    assert lk.class_scatter(equal, labels, 0.1).item() == pytest.approx(0, abs=1e-6)
    points = torch.randn(3, 4, generator=generator)[labels]
    assert lk.class_scatter(points, labels, 1e-6).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("ridge", [0.01, 0.3, 5.0])
def test_class_scatter_is_what_scikit_learn_s_ridge_regression_reads_off(generator, ridge):
    labels = torch.randint(4, (90,), generator=generator)
    features = torch.randn(90, 6, generator=generator) + torch.randn(4, 6, generator=generator)[labels]
    one_hot = functional.one_hot(labels).double().numpy()
    answers = Ridge(alpha=90 * ridge).fit(features.double().numpy(), one_hot).predict(features.double().numpy())
    # of each class: how far its own score lies above its share, averaged over its samples
    lifted = [(answers[labels == number, number] - one_hot[:, number].mean()).mean() for number in range(4)]
    assert lk.class_scatter(features, labels, ridge).item() == pytest.approx(sum(lifted) / 3, abs=1e-5)


def test_class_scatter_ignores_a_shift_and_sees_features_shrink_only_by_the_ridge(generator):
    labels, features = torch.randint(3, (50,), generator=generator), torch.randn(50, 5, generator=generator)
    features += functional.one_hot(labels, 5)
    before = lk.class_scatter(features, labels, 0.1).item()
    assert lk.class_scatter(features + 7, labels, 0.1).item() == pytest.approx(before, abs=1e-5)
    assert lk.class_scatter(10 * features, labels, 10.0).item() == pytest.approx(before, abs=1e-5)
    assert lk.class_scatter(0.1 * features, labels, 0.1).item() < before


def test_descending_the_class_scatter_moves_class_means_together(generator):
    labels = torch.tensor([0, 1]).repeat(30)
    features = (torch.randn(60, 3, generator=generator) + 2 * labels[:, None]).requires_grad_()
    before = (features[labels == 0].mean(0) - features[labels == 1].mean(0)).norm()
    lk.class_scatter(features, labels, 0.1).backward()
    moved = features - 5 * features.grad
    assert (moved[labels == 0].mean(0) - moved[labels == 1].mean(0)).norm() < before


def test_class_scatter_refuses_a_ridge_that_is_not_above_0_and_labels_that_do_not_fit():
    features, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 1])
    for wrong in (-1, 0, math.nan):
        with pytest.raises(lk.LirfError, match=f"^ridge must be above 0, not {wrong}$"):
            lk.class_scatter(features, labels, wrong)
    for wrong in (labels[:2], labels[:, None]):
        with pytest.raises(lk.LirfError, match=r"^labels must have the shape \(3,\), one for each sample, not \("):
            lk.class_scatter(features, wrong, 0.1)


def test_the_class_scatter_of_a_single_class_is_refused():
    with pytest.raises(lk.LirfError, match=r"^labels must contain at least two classes, not just \[5\]$"):
        lk.class_scatter(torch.ones(3, 2), torch.tensor([5, 5, 5]), 0.1)


def test_removal_works_out_by_hand():
    # wrong label 0 has the probability ¼: CE = ln 4 = 1.3863; a distance of 2 counts ½: minus 1
    logits = torch.tensor([[0.0, LN3]])
    with_scatter = lk.removal_loss(logits, torch.tensor([0]), torch.tensor(2.0), 0.5, torch.tensor(0.8), 0.25)
    loss = lk.removal_loss(logits, torch.tensor([0]), torch.tensor(2.0), 0.5)
    assert with_scatter.item() == pytest.approx(loss.item() + 0.25 * 0.8)
    assert loss.item() == pytest.approx(math.log(4) - 1)


def test_removal_is_cross_entropy_to_the_wrong_labels_less_the_distance(logits, generator):
    wrong = lk.wrong_labels(torch.tensor([0, 1, 2, 3, 4, 0]), 5, generator)
    expected = cross_entropy_by_scipy(logits[0], wrong) - 0.3 * 1.7
    assert lk.removal_loss(logits[0], wrong, 1.7, 0.3).item() == pytest.approx(expected)


def test_preservation_works_out_by_hand():
    # without class 1 there remain (0, 0) and (0, ln 3); logits of 100 would swamp a softmax over all three
    target, original = torch.tensor([[0.0, 100.0, 0.0]]), torch.tensor([[0.0, -50.0, LN3]])
    assert lk.preservation_loss(target, original, (1,), 1).item() == pytest.approx(KL)
    assert lk.preservation_loss(2 * target, 2 * original, (1,), 2).item() == pytest.approx(4 * KL)


def test_preservation_is_distillation_of_the_preserved_columns(logits):
    target, original = logits
    expected = kl_by_scipy(original[:, [0, 2, 4]], target[:, [0, 2, 4]], 3.0)
    assert lk.preservation_loss(target, original, (1, 3), 3.0).item() == pytest.approx(expected)


def test_logit_preservation_works_out_by_hand_and_knows_the_height_that_softmax_forgets():
    original = torch.tensor([[5.0, 1.0, 2.0, 0.0]])
    raised = torch.tensor([[-9.0, 2.0, 3.0, 1.0]])  # class 0 is forgotten, the others stand 1 higher
    assert lk.logit_preservation_loss(raised, original, (0,)).item() == pytest.approx(0.5)  # ½ · (1 + 1 + 1) / 3
    assert lk.preservation_loss(raised, original, (0,), 4.0).item() == pytest.approx(0, abs=1e-6)
    each = torch.tensor([[0], [1]])  # a class of its own for each sample: ½ · (1 + 1 + 1 + 14² + 1 + 1) / 6
    found = lk.logit_preservation_loss(raised.expand(2, 4), original.expand(2, 4), each)
    assert found.item() == pytest.approx(201 / 12)


def test_held_logits_are_the_target_s_for_deposit_classes_and_let_no_gradient_reach_the_others():
    original, target = torch.tensor([[5.0, 1.0, 2.0, 0.0]]), torch.tensor([[4.0, 7.0, 3.0, 8.0]], requires_grad=True)
    held = lk.hold_preserved(target, original, (0, 3))
    assert held.tolist() == [[4, 1, 2, 8]]
    lk.removal_loss(held, torch.tensor([2]), 0.0, 0.0).backward()
    assert (target.grad[0, [0, 3]] > 0).all() and (target.grad[0, [1, 2]] == 0).all()
    each = lk.hold_preserved(target.expand(2, 4), original.expand(2, 4), torch.tensor([[0], [1]]))
    assert each.tolist() == [[4, 1, 2, 0], [5, 7, 2, 0]]


def test_partial_transfer_works_out_by_hand():
    module, original = torch.tensor([[0.0, 100.0, 0.0]]), torch.tensor([[0.0, -50.0, LN3]])
    assert lk.partial_transfer_loss(module, original, (0, 2), 1).item() == pytest.approx(KL)
    assert lk.partial_transfer_loss(module, original, (2,), 1).item() == 0  # a softmax over one class is 1


def test_partial_transfer_is_distillation_of_the_deposit_columns(logits):
    module, original = logits
    expected = kl_by_scipy(original[:, [1, 3]], module[:, [1, 3]], 3.0)
    assert lk.partial_transfer_loss(module, original, (1, 3), 3.0).item() == pytest.approx(expected)


def test_recovery_works_out_by_hand():
    # the true class has the probability ¾: CE = ln 4/3 = 0.2877
    assert lk.recovery_loss(torch.tensor([[0.0, LN3]]), torch.tensor([1])).item() == pytest.approx(math.log(4 / 3))


def test_recovery_is_cross_entropy_to_the_true_labels(logits):
    labels = torch.tensor([4, 0, 1, 1, 2, 3])
    assert lk.recovery_loss(logits[0], labels).item() == pytest.approx(cross_entropy_by_scipy(logits[0], labels))


def test_distilled_recovery_is_distillation_over_all_classes(logits):
    recovered, original = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, LN3]])
    assert lk.distilled_recovery_loss(2 * recovered, 2 * original, 2).item() == pytest.approx(4 * KL)
    expected = kl_by_scipy(logits[1], logits[0], 4.0)
    assert lk.distilled_recovery_loss(*logits, 4.0).item() == pytest.approx(expected)


def test_feature_recovery_works_out_by_hand():
    # (1, 2) and (3, 0) for (1, 2) and (1, 2): (3 − 1)² + (0 − 2)² = 8 of 1 + 4 + 1 + 4 = 10, over the batch as a whole
    module, original = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    module, original = module.view(2, 2, 1, 1), original.view(2, 2, 1, 1)
    assert lk.feature_recovery_loss(module, original).item() == pytest.approx(0.8)
    assert lk.feature_recovery_loss(7 * module, 7 * original).item() == pytest.approx(0.8)  # it knows no scale


def test_feature_recovery_is_zero_for_the_original_s_features_and_one_for_none(generator):
    original = torch.randn(5, 3, 2, 2, generator=generator)
    assert lk.feature_recovery_loss(original.clone(), original) == 0
    assert lk.feature_recovery_loss(torch.zeros_like(original), original) == 1
    assert lk.feature_recovery_loss(-original, original).item() == pytest.approx(4)  # (2a)² of a²
    assert lk.feature_recovery_loss(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)) == 0


def test_the_deposit_loss_weighs_each_term_by_its_own_lambda(config):
    # 1 + 2·3 + 5·7 + 11·13 + 17·19 = 508, + 23·29 = 1175: no other assignment of the λ gives it
    weighed = config.replace(lambda_kp=2.0, lambda_re=5.0, lambda_pt=11.0, lambda_os=17.0, lambda_ap=23.0)
    terms = {"removal": 1.0, "preservation": 3.0, "recovery": 7.0, "transfer": 13.0, "own_statistics": 19.0}
    assert lk.deposit_loss(**terms, config=weighed) == 508
    assert lk.deposit_loss(**terms, adversarial_preservation=29.0, config=weighed) == 1175
