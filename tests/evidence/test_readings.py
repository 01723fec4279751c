import numpy
import pytest
import torch

import lirf_kit as lk
from lirf_kit.evidence.readings import (
    COLUMNS,
    check_parts,
    pooled_features,
    read_features,
    tidy,
    training_images,
    untrained_network,
)


def test_pooled_features_of_the_last_stage_are_what_the_classifier_sees(original, parts):
    stages = pooled_features(original, parts.validation, 3)
    assert [stage.shape for stage in stages] == [(189, 16), (189, 32), (189, 64)]
    assert numpy.allclose(stages[-1], lk.extract_features(original, parts.validation), atol=1e-5)
    with torch.no_grad():
        first = original.layers[:3](parts.validation.images).mean(dim=(2, 3))
    assert numpy.allclose(stages[0], first, atol=1e-5)
    assert stages[0].dtype == numpy.float32


def test_a_recovered_network_gives_target_and_module_side_by_side(recovered, deposited, parts):
    both, target = (pooled_features(network, parts.validation, 3) for network in (recovered, deposited[0]))
    assert [stage.shape[1] for stage in both] == [32, 64, 128]
    for together, alone in zip(both, target):
        assert numpy.array_equal(together[:, : alone.shape[1]], alone)
    assert numpy.allclose(both[-1], lk.extract_features(recovered, parts.validation), atol=1e-5)


def test_a_module_goes_on_through_the_shared_upper_blocks(tiny_original, tiny_parts, tiny):
    config = tiny.replace(split_after=1)
    recovered = lk.withdraw(*lk.deposit(tiny_original, tiny_parts.deposit_set, config))
    stages = pooled_features(recovered, tiny_parts.validation, 2)
    assert numpy.allclose(stages[-1], lk.extract_features(recovered, tiny_parts.validation), atol=1e-5)


def test_head_masking_changes_no_features(original, parts):
    masked = pooled_features(lk.mask_head(original, (0, 1)), parts.validation, 3)
    assert all(map(numpy.array_equal, masked, pooled_features(original, parts.validation, 3)))


def test_a_stage_that_is_not_there_is_one_sentence(tiny_original, tiny_parts):
    for stages in (0, 3):
        with pytest.raises(lk.LirfError, match=f"^stages must be a whole number from 1 to 2, not {stages}"):
            pooled_features(tiny_original, tiny_parts.validation, stages)


def test_reading_leaves_every_layer_in_its_mode(tiny_original, tiny_parts):
    tiny_original.train()
    tiny_original.lower[1].eval()
    before = [module.training for module in tiny_original.modules()]
    pooled_features(tiny_original, tiny_parts.validation, 2)
    assert [module.training for module in tiny_original.modules()] == before
    tiny_original.eval()


def test_every_network_is_read_on_the_same_images(tiny_original, tiny_deposited, tiny_parts, tiny):
    networks = {"original": tiny_original, "target": tiny_deposited[0]}
    readings = read_features(networks, tiny_parts, tiny, per_class=20)
    assert len(readings.train) == 200 and len(readings.evaluated) == len(tiny_parts.validation)
    assert list(readings.features) == ["original", "target"]
    for stages in readings.features.values():
        assert [(train.shape, seen.shape[1]) for train, seen in stages] == [((200, 4), 4), ((200, 8), 8)]
    on_test = read_features(networks, tiny_parts, tiny, on="test", per_class=20)
    assert len(on_test.evaluated) == len(tiny_parts.test)


def test_training_images_are_drawn_by_class_and_seed(parts):
    everything, some, again, others = (
        training_images(parts, seed, count) for seed, count in ((0, None), (0, 5), (0, 5), (1, 5))
    )
    assert len(everything) == len(parts.deposit_set) + len(parts.preservation_set)
    assert len(set(everything.indices.tolist())) == len(everything)
    assert some.labels.bincount().tolist() == [5] * 10 and some.deposit_classes == (0, 1, 2)
    assert torch.equal(some.indices, again.indices) and not torch.equal(some.indices, others.indices)
    assert len(training_images(parts, 0, 10**6)) == len(everything)  # no more than there are


def test_an_untrained_network_knows_the_normalisation_and_nothing_else(parts, config, data):
    untrained, fresh = untrained_network(parts, config), lk.build_network(config, 1, 10)
    assert torch.equal(untrained.upper[-1].weight, fresh.upper[-1].weight) and not untrained.training
    fresh.lower[0].fit(data.train.images)
    assert torch.allclose(untrained.lower[0].mean, fresh.lower[0].mean)
    assert torch.allclose(untrained.lower[0].std, fresh.lower[0].std)


def test_a_network_without_lower_blocks_is_one_sentence(tiny_parts, tiny):
    with pytest.raises(lk.LirfError, match="^mine must be a network with lower blocks, .* not a Linear$"):
        read_features({"mine": torch.nn.Linear(2, 2)}, tiny_parts, tiny)
    with pytest.raises(lk.LirfError, match="^networks must hold at least one, not none"):
        read_features({}, tiny_parts, tiny)


def test_a_class_without_images_is_one_sentence(tiny_data, tiny_parts, tiny):
    lacking = tiny_data.train_indices[tiny_data.labels[tiny_data.train_indices] != 4]
    whole = lk.Dataset(tiny_data.everything, lacking, tiny_data.validation_indices, tiny_data.test_indices)
    with pytest.raises(lk.LirfError, match="^parts must have training images of every class, but '4' has none$"):
        check_parts(lk.split_by_class(whole, (0, 1)), "validation")
    unseen = tiny_data.validation_indices[tiny_data.labels[tiny_data.validation_indices] != 1]
    whole = lk.Dataset(tiny_data.everything, tiny_data.train_indices, unseen, tiny_data.test_indices)
    with pytest.raises(lk.LirfError, match="^parts must have validation images of every class, but '1' has none$"):
        check_parts(lk.split_by_class(whole, (0, 1)), "validation")
    with pytest.raises(lk.LirfError, match="^on must be validation or test, not 'train'"):
        check_parts(tiny_parts, "train")


def test_a_split_by_samples_is_one_sentence(tiny_data):
    with pytest.raises(lk.LirfError, match="^parts must come from split_by_class; for a split by samples, see"):
        check_parts(lk.split_by_sample(tiny_data, 0.1), "validation")


def test_a_tidy_table_has_a_row_a_network():
    table = tidy("kNN", "all classes", {"one": 1.0, "two": 2.0}, "%", "more", {"two": "odd"})
    assert tuple(table.columns) == COLUMNS
    assert table.values.tolist() == [
        ["kNN", "all classes", "one", 1.0, "%", "more", ""],
        ["kNN", "all classes", "two", 2.0, "%", "more", "odd"],
    ]
