import dataclasses

import pytest

import lirf_kit as lk


@pytest.mark.parametrize(
    "knob, value, sentence",
    [
        ("lambda_at", -0.1, "lambda_at must be a number at least 0, not -0.1"),
        ("lambda_kp", -1, "lambda_kp must be a number at least 0, not -1"),
        ("lambda_re", -1.0, "lambda_re must be a number at least 0, not -1.0"),
        ("lambda_pt", -1e-9, "lambda_pt must be a number at least 0, not -1e-09"),
        ("temperature", 0, "temperature must be a number above 0, not 0"),
        ("temperature", -4.0, "temperature must be a number above 0, not -4.0"),
        ("temperature", float("nan"), "temperature must be a number above 0, not nan"),
        ("temperature", float("inf"), "temperature must be a number above 0, not inf"),
        ("lambda_kp", "20", "lambda_kp must be a number at least 0, not '20'"),
        ("test_fraction", 0, "test_fraction must be a number above 0 and below 1, not 0"),
        ("test_fraction", 1.0, "test_fraction must be a number above 0 and below 1, not 1.0"),
        ("validation_fraction", 1.5, "validation_fraction must be a number above 0 and below 1, not 1.5"),
        ("epochs", 0, "epochs must be a whole number at least 1, not 0"),
        ("epochs", 2.5, "epochs must be a whole number at least 1, not 2.5"),
        ("epochs", True, "epochs must be a whole number at least 1, not True"),
        ("seed", -1, "seed must be a whole number at least 0"),
        ("seed", 2**32, "seed must be a whole number at least 0"),  # scikit-learn takes no larger one
        ("flip", 1, "flip must be True or False, not 1"),
        ("widths", (), r"widths must be whole numbers at least 1, not \(\)"),
        ("widths", (16, 0), r"widths must be whole numbers at least 1, not \(16, 0\)"),
        ("split_after", 0, "split_after must be a whole number at least 1, not 0"),
        ("split_after", 4, "split_after must be 1, 2 or 3, not 4"),
        ("keep", 0, "keep must be a number above 0 and at most 1, not 0"),
        ("keep", 1.1, "keep must be a number above 0 and at most 1, not 1.1"),
        ("keep", float("nan"), "keep must be a number above 0 and at most 1, not nan"),
        ("keep", True, "keep must be a number above 0 and at most 1, not True"),
        ("keep", "half", "keep must be a number above 0 and at most 1, not 'half'"),
        ("relabel", "worst", "relabel must be random or best_preserved, not 'worst'"),
        ("recovery", "papers", "recovery must be paper, distilled or features, not 'papers'"),
        ("preservation", "softmax", "preservation must be paper or logits, not 'softmax'"),
        ("device", "gpu", "device must be auto, cpu, cuda or mps, not 'gpu'"),
        ("dataset", "mnist", "dataset must be digits, cifar10, cifar100, cub200 or folder, not 'mnist'"),
        ("image_size", 3, "image_size must be a whole number at least 4, not 3"),
        ("folder", None, "folder must be a text, not None"),
        ("images_on", "gpu", "images_on must be auto, device or host, not 'gpu'"),
        ("precision", "half", "precision must be auto, float32 or bfloat16, not 'half'"),
        ("compile", 1, "compile must be True or False, not 1"),
        ("tsne_engine", "umap", "tsne_engine must be auto, sklearn or torchdr, not 'umap'"),
        ("perplexity", 1, "perplexity must be a number above 1, not 1"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(config, knob, value, sentence):
    with pytest.raises(lk.LirfError, match=f"^{sentence}"):
        config.replace(**{knob: value})


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(lk.LirfError, match="^preset must be .*digits.*, not 'digit'$"):
        lk.preset("digit")


def test_an_unknown_field_is_answered_with_the_nearest_one(config):
    with pytest.raises(lk.LirfError, match="^Config has no field 'lamda_at'; did you mean 'lambda_at'"):
        config.replace(lamda_at=1)


def test_a_field_that_resembles_none_is_answered_with_all_of_them(config):
    with pytest.raises(lk.LirfError, match="no field 'xyz'; the fields are dataset, .*temperature"):
        config.replace(xyz=1)


def test_a_config_never_changes(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.temperature = 1.0


def test_replace_turns_the_knob_in_a_copy_only(config):
    assert config.replace(lambda_at=0.5).lambda_at == 0.5
    assert config.lambda_at != 0.5
    assert config.replace(lambda_at=config.lambda_at) == config


def test_a_list_of_numbers_is_kept_as_a_tuple(config):
    assert config.replace(deposit_classes=[3, 4]).deposit_classes == (3, 4)


def test_every_knob_belongs_to_one_stage_and_has_a_meaning(config):
    table = lk.knobs(config)
    assert list(table.index) == [knob.name for knob in dataclasses.fields(config)]
    assert table["meaning"].str.len().min() > 0 and table["allowed"].str.len().min() > 0
    of_stages = [name for stage in table["stage"].unique() for name in config.stages(stage)]
    assert sorted(of_stages) == sorted(table.index)


@pytest.mark.parametrize("name", ["digits", "cifar10-small", "cifar10", "cifar100", "cub200"])
def test_every_preset_prunes_to_half_at_most_and_uses_every_term(name):
    config = lk.preset(name)
    assert config.keep <= 0.5
    assert min(config.lambda_at, config.lambda_kp, config.lambda_re, config.lambda_pt) > 0


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(lk.LirfError, match="^device must be one that this machine has, not 'cuda'"):
        lk.resolve_device("cuda")
    assert lk.resolve_device("auto").type == "cpu"
