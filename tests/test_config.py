import copy
import pickle

import numpy
import pydantic
import pytest

import lirf_kit as lk

PRESETS = ["digits", "cifar10-small", "cifar10-class", "cifar10", "cifar100", "cub200"]


@pytest.mark.parametrize(
    "knob, value, sentence",
    [
        ("lambda_at", -0.1, "lambda_at must be a number at least 0, not -0.1"),
        ("lambda_cs", -0.5, "lambda_cs must be a number at least 0, not -0.5"),
        ("stem_stride", 3, "stem_stride must be a whole number at least 1 and at most 2, not 3"),
        ("lambda_os", -2.0, "lambda_os must be a number at least 0, not -2.0"),
        ("bits", 0, "bits must be a whole number at least 1 and at most 8, not 0"),
        ("bits", 9, "bits must be a whole number at least 1 and at most 8, not 9"),
        ("bits", 4.0, "bits must be a whole number at least 1 and at most 8, not 4.0"),
        ("container", "delta", "container must be pruned or difference, not 'delta'"),
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
        pytest.param(
            "lambda_at", 10**400, "lambda_at must be a number at least 0, not 1000", id="too large for a float"
        ),
        ("lambda_at", numpy.float64(-0.5), "lambda_at must be a number at least 0, not -0.5"),
        ("epochs", "30", "epochs must be a whole number at least 1, not '30'"),
        ("epochs", 2.0, "epochs must be a whole number at least 1, not 2.0"),
        ("epochs", numpy.float64(2), "epochs must be a whole number at least 1, not 2.0"),
        ("epochs", numpy.True_, "epochs must be a whole number at least 1, not True"),
        ("flip", "yes", "flip must be True or False, not 'yes'"),
        ("widths", (16, True), r"widths must be whole numbers at least 1, not \(16, True\)"),
        ("widths", [16, 0, -1], r"widths must be whole numbers at least 1, not \(16, 0, -1\)$"),
        ("widths", numpy.array([16.0]), r"widths must be whole numbers at least 1, not \(16.0,\)$"),
        ("widths", 16, "widths must be whole numbers at least 1, not 16"),
        ("deposit_classes", {0, 1}, r"deposit_classes must be whole numbers at least 0, not \{0, 1\}"),
        ("dataset", ["digits"], "dataset must be digits, .* or folder, not "),
        ("stem_stride", 3, "stem_stride must be a whole number at least 1 and at most 2, not 3"),
        ("stem_stride", True, "stem_stride must be a whole number at least 1 and at most 2, not True"),
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


@pytest.mark.parametrize("make", [lk.Config, lk.preset("cifar10").replace])
def test_each_mistake_is_said_once_in_one_sentence_wherever_it_is_made(make):
    sentence = "Config has no field 'lamda_at'; did you mean 'lambda_at'?"
    with pytest.raises(lk.LirfError) as said:
        make(lamda_at=1)
    assert str(said.value) == sentence
    with pytest.raises(lk.LirfError) as said:
        make(lamda_at=1, keep=2, epochs="8")
    epochs = "epochs must be a whole number at least 1, not '8'"
    assert str(said.value) == f"{epochs}; keep must be a number above 0 and at most 1, not 2; {sentence}"


def test_a_config_never_changes(config):
    before = config.model_dump()
    with pytest.raises(lk.LirfError, match=r"^a config never changes: config.replace\(temperature=1.0\) returns a new"):
        config.temperature = 1.0
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        del config.temperature
    assert config.model_dump() == before


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_is_the_same_after_json_pickling_and_copying(name):
    config = lk.preset(name).replace(keep=1)
    again = [
        lk.Config.model_validate_json(config.model_dump_json()),
        lk.Config(**config.model_dump()),
        pickle.loads(pickle.dumps(config)),
        copy.copy(config),
        copy.deepcopy(config),
        config.replace(),
    ]
    assert all(one == config and hash(one) == hash(config) and repr(one) == repr(config) for one in again)
    assert len({config, *again, config.replace(keep=0.25)}) == 2


@pytest.mark.parametrize(
    "knob, given, kept",
    [
        ("lambda_at", 1, 1.0),
        ("lambda_at", 5e-324, 5e-324),
        ("lambda_at", 1.7976931348623157e308, 1.7976931348623157e308),
        ("lambda_at", numpy.float32(0.1), float(numpy.float32(0.1))),
        ("lambda_at", numpy.int64(3), 3.0),
        ("seed", numpy.uint32(2**32 - 1), 2**32 - 1),
        ("epochs", 2**70, 2**70),
        ("flip", numpy.True_, True),
        ("folder", numpy.str_("x"), "x"),
        ("folder", 'Zoë\'s "own"\n\\ 图片', 'Zoë\'s "own"\n\\ 图片'),
        ("relabel", numpy.str_("random"), "random"),
        ("deposit_classes", range(3, 5), (3, 4)),
        ("deposit_classes", numpy.array([3, 4]), (3, 4)),
        ("deposit_classes", [numpy.int8(3), 4], (3, 4)),
        ("stem_stride", numpy.int64(2), 2),
    ],
)
def test_a_value_is_kept_as_plain_python_and_as_json(config, knob, given, kept):
    turned = config.replace(**{knob: given})
    value = getattr(turned, knob)
    assert value == kept and type(value) is type(kept)
    assert not isinstance(value, tuple) or {type(number) for number in value} == {int}
    assert lk.Config.model_validate_json(turned.model_dump_json()) == turned


def test_json_with_a_mistake_is_refused_with_the_same_sentence():
    with pytest.raises(pydantic.ValidationError, match="epochs must be a whole number at least 1, not True"):
        lk.Config.model_validate_json('{"epochs": true}')


def test_only_the_knobs_that_differ_from_their_defaults_are_printed():
    assert repr(lk.Config()) == str(lk.Config()) == "Config()"
    turned = lk.Config(lambda_at=0.5, epochs=8, keep=0.5, relabel="random")
    assert repr(turned) == str(turned) == "Config(epochs=8, lambda_at=0.5, relabel='random')"
    assert eval(repr(turned), {"Config": lk.Config}) == turned


def test_replace_turns_the_knob_in_a_copy_only(config):
    assert config.replace(lambda_at=0.5).lambda_at == 0.5
    assert config.lambda_at != 0.5
    assert config.replace(lambda_at=config.lambda_at) == config


def test_a_list_of_numbers_is_kept_as_a_tuple(config):
    assert config.replace(deposit_classes=[3, 4]).deposit_classes == (3, 4)


def test_every_knob_belongs_to_one_stage_and_has_a_meaning(config):
    table = lk.knobs(config)
    assert list(table.index) == list(lk.Config.model_fields)
    assert table["meaning"].str.len().min() > 0 and table["allowed"].str.len().min() > 0
    of_stages = [name for stage in table["stage"].unique() for name in config.stages(stage)]
    assert sorted(of_stages) == sorted(table.index)
    said = {name: tuple(table.loc[name, ["symbol", "stage", "allowed"]]) for name in ("keep", "lambda_at", "recovery")}
    assert said["keep"] == ("", "deposit", "a number above 0 and at most 1")
    assert said["lambda_at"] == ("λ_at", "deposit", "a number at least 0")
    assert said["recovery"] == ("L_re", "deposit", "paper, distilled or features")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_prunes_to_half_at_most_and_uses_every_term(name):
    config = lk.preset(name)
    assert config.keep <= 0.5
    assert min(config.lambda_at, config.lambda_kp, config.lambda_re, config.lambda_pt) > 0


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(lk.LirfError, match="^device must be one that this machine has, not 'cuda'"):
        lk.resolve_device("cuda")
    assert lk.resolve_device("auto").type == "cpu"


def test_images_too_small_for_the_strides_are_refused(config):
    sentence = "for images of 8×8: 4 stages after a stem_stride of 2 need at least 16×16$"
    with pytest.raises(lk.LirfError, match=sentence):
        config.replace(widths=(4, 4, 4, 4), stem_stride=2)
    config.replace(widths=(4, 4, 4, 4)), config.replace(stem_stride=2)  # the last features are 1×1
    birds = lk.preset("cub200")
    with pytest.raises(lk.LirfError, match="images of 7×7"):
        birds.replace(image_size=7)
    assert birds.replace(image_size=8).image_size == 8
