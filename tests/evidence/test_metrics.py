import math

import numpy
import pytest
import torch
from scipy import special
from scipy.spatial import distance
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

import lirf_kit as lk
from lirf_kit.classroom import toys


class Answers(torch.nn.Module):
    """Answers the image whose pixel is i with the class answers[i]."""

    def __init__(self, *answers):
        super().__init__()
        self.logits = torch.nn.functional.one_hot(torch.tensor(answers), 3).float()

    def forward(self, images):
        return self.logits[images.flatten().long()]


@pytest.fixture
def toy():
    """Nine images of three classes, of which class 2 is deposited: the pixel is the image's number."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2, 2])
    images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1)
    whole = lk.ImageData(images, labels, torch.arange(9), ("a", "b", "c"), (2,))
    deposit, preserved = whole.select(labels == 2, (2,)), whole.select(labels != 2, (2,))
    return lk.Partition(deposit, preserved, deposit, preserved, whole, deposit, preserved, whole)


def test_the_table_works_out_by_hand(toy):
    # original:  0 0 1 2 | 2 2 2 2 0   Pre 3/4 (a 2 counts, as wrong, over all classes), Dep 4/5, Avg 7/9
    # target:    0 0 1 1 | 0 1 1 0 2   Pre 4/4, Dep 1/5, Avg 5/9, F = 80 − 20 = 60, H = 2·100·60/160 = 75
    # recovered: 0 0 1 1 | 2 2 2 2 2   Pre 4/4, Dep 5/5, Avg 9/9, F = 80 − 100 = −20, so H = 0
    networks = {
        "original": Answers(0, 0, 1, 2, 2, 2, 2, 2, 0),
        "target": Answers(0, 0, 1, 1, 0, 1, 1, 0, 2),
        "recovered": Answers(0, 0, 1, 1, 2, 2, 2, 2, 2),
    }
    table = lk.results_table(networks, toy)
    assert list(table.columns) == ["Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean", "L_at"]
    assert list(table.index) == ["original", "target", "recovered"]
    assert table["L_at"].isna().all()  # they have no lower blocks
    table = table.drop(columns="L_at")
    assert table.loc["original"].tolist() == [75.0, 80.0, 77.78, 0.0, 0.0]
    assert table.loc["target"].tolist() == [100.0, 20.0, 55.56, 60.0, 75.0]
    assert table.loc["recovered"].tolist() == [100.0, 100.0, 100.0, -20.0, 0.0]


def test_accuracy_among_a_part_s_own_classes_works_out_by_hand(toy, logits_network):
    # the preserved images, of the classes 0 and 1; the last one is a 1 that looks most like a 2
    network = logits_network([2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 2.0])
    part = toy.preservation_test
    assert lk.accuracy(network, part) == lk.accuracy(network, part, among="all") == 50.0  # right, wrong, right, wrong
    assert lk.accuracy(network, part, among="part") == 75.0  # of 0 and 1 it says 1
    assert lk.accuracy(Answers(*[0] * 9), toy.deposit_test, among="part") == 100.0  # there is but one answer
    nothing = logits_network(*[[0.0, 0.0, -torch.inf]] * 9)  # as a head-masked network for a deposit image
    assert lk.answers(nothing, toy.deposit_test.select(slice(0, 1)), among="part").tolist() == [-1]
    assert lk.accuracy(nothing, toy.deposit_test.select(slice(0, 1)), among="part") == 0.0
    with pytest.raises(lk.LirfError, match="^among must be all or part, not 'own'"):
        lk.accuracy(network, part, among="own")


def test_the_table_says_what_the_arg_max_runs_over(toy):
    networks = {"original": Answers(0, 0, 1, 2, 2, 2, 2, 2, 0), "target": Answers(0, 0, 1, 1, 0, 1, 1, 0, 2)}
    table = lk.results_table(networks, toy, among="part")
    assert table["Dep Acc"].tolist() == [100.0, 100.0] and table["F"].tolist() == [0.0, 0.0]  # nothing is forgotten
    assert table.index.name == "test part, own part's classes"
    assert lk.results_table(networks, toy).index.name == "test part, all classes"


def test_the_row_of_two_independent_networks_works_out_by_hand(toy):
    # of 0 and 1 the first says 0 0 1 0, as a 2 is none of its answers: Pre 3/4; Dep 5/5; Avg 8/9
    pair = Answers(0, 0, 1, 2, 0, 0, 0, 0, 0), Answers(2, 2, 2, 2, 0, 0, 0, 0, 0)
    table = lk.results_table({"original": Answers(*[2] * 9), "independent": pair}, toy)
    assert table.loc["independent"].tolist()[:3] == [75.0, 100.0, 88.89]
    assert table.loc["independent", ["F", "H Mean", "L_at"]].isna().all()
    assert table.loc["original"].tolist()[:4] == [0.0, 100.0, 55.56, 0.0]  # among all classes


def test_a_recovered_network_has_nothing_to_forget_and_only_a_target_has_drifted(networks, parts):
    table = lk.results_table(networks, parts)
    assert table.loc["recovered", ["F", "H Mean", "L_at"]].isna().all()
    assert table.loc["original", ["F", "L_at"]].tolist() == [0, 0]
    with torch.no_grad():
        maps = [lk.attention_map(networks[name].lower(parts.deposit_test.images)) for name in ("target", "original")]
    expected = ((maps[0] - maps[1]) ** 2).sum(1).mean().item()
    assert table.loc["target", "L_at"] == pytest.approx(expected, abs=0.005) and 0.05 < expected <= 2


def test_drift_is_measured_where_the_network_is_cut(tiny_original, tiny_deposited, tiny_parts):
    part, target = tiny_parts.deposit_test, lk.split(tiny_deposited[0], 1)
    with torch.no_grad():
        maps = [lk.attention_map(lk.split(network, 1).lower(part.images)) for network in (target, tiny_original)]
    assert lk.attention_drift(target, tiny_original, part) == pytest.approx(lk.attention_distance(*maps).item())
    assert lk.attention_drift(target, tiny_original, part) != lk.attention_drift(tiny_deposited[0], tiny_original, part)


def test_the_average_is_the_accuracy_on_the_whole_part(networks, parts):
    table = lk.results_table(networks, parts)
    for name, network in networks.items():
        assert table.loc[name, "Avg Acc"] == pytest.approx(lk.accuracy(network, parts.test), abs=0.005)


def test_the_table_reads_the_part_that_is_asked_for(networks, parts):
    table = lk.results_table(networks, parts, on="validation")
    expected = lk.accuracy(networks["target"], parts.preservation_validation)
    assert table.loc["target", "Pre Acc"] == pytest.approx(expected, abs=0.005)
    assert "validation" in table.index.name and "test" in lk.results_table(networks, parts).index.name
    with pytest.raises(lk.LirfError, match="^on must be test or validation, not 'train'"):
        lk.results_table(networks, parts, on="train")


def test_accuracy_is_scikit_learn_s(networks, parts):
    for network in networks.values():
        for part in (parts.test, parts.deposit_test, parts.preservation_test):
            with torch.no_grad():
                answers = network(part.images).argmax(1)
            assert lk.accuracy(network, part) == pytest.approx(100 * accuracy_score(part.labels, answers))


def test_accuracy_reads_in_evaluation_mode_and_leaves_the_mode_as_it_was(tiny_original, tiny_data):
    expected = lk.accuracy(tiny_original, tiny_data.test)
    before = {name: value.clone() for name, value in tiny_original.state_dict().items()}
    tiny_original.train()
    assert lk.accuracy(tiny_original, tiny_data.test) == expected
    assert tiny_original.training
    tiny_original.eval()
    assert all(torch.equal(value, before[name]) for name, value in tiny_original.state_dict().items())


def test_the_harmonic_mean_works_out_by_hand():
    for given, expected in toys.HARMONIC_MEAN:
        assert lk.harmonic_mean(*given) == expected
    assert lk.harmonic_mean(90.0, 60.0) == 72.0  # 2 · 90 · 60 / 150
    assert lk.harmonic_mean(93.41, 79.60) == pytest.approx(85.95, abs=0.01)  # the paper's CIFAR-10 row
    assert lk.harmonic_mean(51.64, 47.42) == pytest.approx(49.44, abs=0.01)  # and its CUB-200-2011 row


def test_the_harmonic_mean_is_zero_where_nothing_is_forgotten():
    assert lk.harmonic_mean(99.0, 0.0) == lk.harmonic_mean(99.0, -5.0) == lk.harmonic_mean(0.0, 0.0) == 0


def test_forgetting_is_what_the_deposit_part_lost():
    assert lk.forgetting(94.60, 15.00) == pytest.approx(79.60)  # the paper's CIFAR-10 row


def test_an_empty_part_is_refused(toy):
    with pytest.raises(lk.LirfError, match="at least one image, not an empty one"):
        lk.accuracy(Answers(0), toy.test.select(slice(0)))
    for measure in (lk.activation_distance, lk.js_divergence):
        with pytest.raises(lk.LirfError, match=f"^{measure.__name__} needs a part with at least one image"):
            measure(Answers(0), Answers(0), toy.test.select(slice(0)))


def test_a_table_without_the_original_is_refused(toy):
    with pytest.raises(lk.LirfError, match=r"^networks must include 'original', not only \['target'\]"):
        lk.results_table({"target": Answers(0)}, toy)


def without_class(parts, number):
    """The same parts, but the test part has no image of a class."""
    kept = [parts.deposit_test, parts.preservation_test]
    kept = [part.select(part.labels != number, part.deposit_classes) for part in kept]
    return lk.Partition(**vars(parts) | {"deposit_test": kept[0], "preservation_test": kept[1]})


def test_parts_that_lack_a_class_are_refused(toy):
    networks = {"original": Answers(*[0] * 9)}
    for ask in (
        lambda parts: lk.results_table(networks, parts),
        lambda parts: lk.distance_table({}, Answers(0), parts),
    ):
        with pytest.raises(
            lk.LirfError, match="^parts must have test images of every class, but there are none of 'b'$"
        ):
            ask(without_class(toy, 1))
        with pytest.raises(lk.LirfError, match="^parts must have preserved and deposited test images, not 4 and 0"):
            ask(without_class(toy, 2))
    lk.results_table(networks, without_class(toy, 1), on="validation")  # the part that is read has all of them


def test_a_split_by_samples_is_referred_to_its_own_table(tiny_original, tiny_data):
    with pytest.raises(lk.LirfError, match="not 180 and 0; for a split by samples, .* use sample_table$"):
        lk.results_table({"original": tiny_original}, lk.split_by_sample(tiny_data, 0.1))


def samples(toy, deposited, preserved, unseen):
    """Parts of a split by samples, of the images with these numbers."""
    parts = [toy.test.select(torch.tensor(places, dtype=torch.long)) for places in (deposited, preserved, unseen)]
    none = parts[2].select(slice(0))
    return lk.Partition(parts[0], parts[1], none, parts[2], parts[2], none, parts[2], parts[2])


def test_the_table_of_deposited_samples_works_out_by_hand(toy):
    # deposited: 4, 5, 6, of class 2; preserved: 0, 2, 7, of which 7 is of this class
    # unseen: 1, 3, 8, of which 8 is of this class; the network is wrong about the images 0, 3, 4 and 5
    parts = samples(toy, [4, 5, 6], [0, 2, 7], [1, 3, 8])
    table = lk.sample_table({"target": Answers(1, 0, 1, 0, 1, 1, 2, 2, 2)}, parts)
    assert table.loc["target"].to_dict() == {
        "deposited samples": 33.33, "preserved samples": 100.0, "test, same classes": 100.0,
        "test, all classes": 66.67, "gap": -66.67,
    }  # fmt: skip
    assert "validation, same classes" in lk.sample_table({"target": Answers(*[0] * 9)}, parts, on="validation")
    with pytest.raises(lk.LirfError, match="^on must be test or validation, not 'train'"):
        lk.sample_table({}, parts, on="train")


@pytest.mark.parametrize(
    "images, sentence",
    [
        (
            ([0, 4], [2, 5], [1, 6]),
            "preserved training .*, but there are none of 'a'; for classes .* use split_by_class and results_table$",
        ),
        (
            ([0, 4], [2], [1, 6]),
            "preserved training images of every class of the deposit set, but there are none of 'a' or 'c'",
        ),
        (([0, 4], [1, 5], [2, 6]), "test images of every class of the deposit set, but there are none of 'a'$"),
    ],
)
def test_samples_that_have_none_of_their_class_beside_them_are_refused(toy, images, sentence):
    with pytest.raises(lk.LirfError, match=f"^parts must have {sentence}"):
        lk.sample_table({"target": Answers(*[0] * 9)}, samples(toy, *images))


def test_a_table_of_no_deposited_samples_is_refused(toy):
    with pytest.raises(lk.LirfError, match="^sample_table needs a part with at least one image, not an empty one$"):
        lk.sample_table({"target": Answers(*[0] * 9)}, samples(toy, [], [1], [2]))


def test_class_accuracies_and_confusions_work_out_by_hand(toy):
    network = Answers(0, 0, 1, 2, 2, 2, 2, 0, 0)  # of 2, 2 and 5 images of a, b and c
    assert lk.confusion(network, toy.test).to_numpy().tolist() == [[2, 0, 0], [0, 1, 1], [2, 0, 3]]
    table = lk.class_accuracies({"target": network}, toy.test)
    assert table["target"].to_dict() == {"a": 100.0, "b": 50.0, "c": 60.0}
    preserved = lk.class_accuracies({"target": network}, toy.preservation_test)["target"]
    assert preserved.tolist()[:2] == [100.0, 50.0] and math.isnan(preserved["c"])  # of which there is no image
    assert lk.confusion(network, toy.preservation_test).loc["c"].sum() == 0


def test_class_accuracies_and_confusions_are_scikit_learn_s(networks, parts):
    table = lk.class_accuracies(networks, parts.test)
    assert list(table.columns) == list(networks) and list(table.index) == list(parts.test.class_names)
    for name, network in networks.items():
        with torch.no_grad():
            answers = network(parts.test.images).argmax(1)
        counts = lk.confusion(network, parts.test)
        assert numpy.array_equal(counts, confusion_matrix(parts.test.labels, answers))
        assert list(counts.index) == list(counts.columns) == list(parts.test.class_names)
        numpy.testing.assert_allclose(table[name], 100 * recall_score(parts.test.labels, answers, average=None))


def test_distances_between_answers_work_out_by_hand(toy, logits_network):
    # (½, ½, 0) and (½, 0, ½): the difference (0, ½, −½) has the length √½; m = (½, ¼, ¼), so either KL is ½ ln 2
    log = [[math.log(share) if share else -math.inf for share in row] for row in ([0.5, 0.5, 0], [0.5, 0, 0.5])]
    one, other = logits_network(log[0], log[0]), logits_network(log[1], log[0])  # the second image is answered alike
    two = toy.test.select(slice(0, 2))
    assert lk.activation_distance(one, other, two) == pytest.approx(math.sqrt(0.5) / 2)
    assert lk.js_divergence(one, other, two) == pytest.approx(math.log(2) / 4)


def test_answers_that_share_nothing_are_as_far_apart_as_can_be(toy, logits_network):
    sure = logits_network(*[[0.0, -math.inf, -math.inf]] * 9), logits_network(*[[-math.inf, 0.0, -math.inf]] * 9)
    assert lk.activation_distance(*sure, toy.test) == pytest.approx(math.sqrt(2))
    assert lk.js_divergence(*sure, toy.test) == pytest.approx(math.log(2))


def probabilities(network, part):
    with torch.no_grad():
        return special.softmax(network(part.images).double().numpy(), axis=1)


def test_the_js_divergence_is_scipy_s(networks, parts):
    masked = {"head masking": lk.mask_head(networks["original"], (0, 1, 2))}
    for network in (networks | masked).values():
        shares = [probabilities(each, parts.test) for each in (network, networks["original"])]
        expected = (distance.jensenshannon(*shares, axis=1) ** 2).mean()  # SciPy's is the root, in nats
        assert lk.js_divergence(network, networks["original"], parts.test) == pytest.approx(expected, abs=1e-9)
        expected = numpy.linalg.norm(shares[0] - shares[1], axis=1).mean()
        assert lk.activation_distance(network, networks["original"], parts.test) == pytest.approx(expected, abs=1e-9)


def test_a_network_is_no_distance_from_itself_and_either_is_as_far_from_the_other(networks, parts):
    for measure in (lk.activation_distance, lk.js_divergence):
        assert measure(networks["target"], networks["target"], parts.test) == 0
        there = measure(networks["target"], networks["original"], parts.test)
        assert there == pytest.approx(measure(networks["original"], networks["target"], parts.test)) and there > 0


def test_the_distance_table_has_both_distances_on_both_parts(networks, parts):
    table = lk.distance_table(networks, networks["original"], parts, on="validation")
    assert list(table.index) == list(networks)
    assert (table.loc["original"] == 0).all()
    for measure, function in (("activation distance", lk.activation_distance), ("JS divergence", lk.js_divergence)):
        for where, part in (("preserved", parts.preservation_validation), ("deposited", parts.deposit_validation)):
            expected = function(networks["target"], networks["original"], part)
            assert table.loc["target", f"{measure}, {where}"] == pytest.approx(expected, abs=0.0005)
    assert table.loc["target", "JS divergence, deposited"] > table.loc["recovered", "JS divergence, deposited"]
