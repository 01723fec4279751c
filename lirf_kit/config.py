"""Every knob of the kit: its default, what it may be, and what it does, in one frozen pydantic model.

Every knob belongs to a stage of the path. If you change a knob, whatever earlier stages computed is still valid;
`experiments` relies on that to find earlier runs again.
"""

import difflib
from functools import partial
from typing import Annotated, Literal

import numpy
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator


class LirfError(ValueError):
    """Wrong input, or a run that cannot go on: one sentence that says what to change."""


SIDES = {"digits": 8, "cifar10": 32, "cifar100": 32}  # height and width of the images; the others have image_size
LARGEST = {  # what PyTorch can still compute with, and this machine hold; the other knobs need no limit
    **{"image_size": 4096, "crop_padding": 1024, "widths": 4096, "blocks_per_stage": 1000, "threads": 1024},
    **dict.fromkeys(("batch_size", "deposit_batch_size"), 2**32),
    **dict.fromkeys(("epochs", "deposit_epochs"), 2**80),
    **dict.fromkeys(("learning_rate", "deposit_learning_rate", "temperature", "weight_decay"), 1e15),
    **{"deposit_classes": 2**31, "ridge": 1e15, "perplexity": 1e15, "max_gradient_norm": 1e15},
}
STAGES = (
    "data",
    "seed",
    "network",
    "training",
    "optimiser",
    "partition",
    "deposit",
    "picture",
    "machine",
)
# pydantic's `Field`, for the knobs of each stage; `title` is the knob's symbol in the paper
_data, _seed, _network, _training, _optimiser, _partition, _deposit, _picture, _machine = (
    partial(Field, json_schema_extra={"stage": stage}) for stage in STAGES
)


class Config(BaseModel, frozen=True, strict=True, extra="forbid", allow_inf_nan=False):
    """Every knob, validated when it is set; `knobs` lists them with their meaning.

    A config never changes: ``config.replace(lambda_at=0.5)`` returns a new one. It is printed as the knobs that differ
    from their defaults. NumPy's numbers become Python's; lists, ranges and arrays become tuples.

    Raises
    ------
    LirfError
        If a knob doesn't exist, or if a value has the wrong type or lies outside its range. The sentence names the
        knob, what is allowed and what was given; several mistakes are separated by semicolons. Pydantic's own
        `model_validate` and `model_validate_json` raise its `ValidationError` with the same sentence inside.
    """

    # data
    dataset: Literal["digits", "cifar10", "cifar100", "cub200", "folder"] = _data("digits", description="which images")
    folder: str = _data(
        "", description="of your own images, for dataset='folder': train/<class>/*, perhaps test/<class>/*"
    )
    image_size: int = _data(32, ge=4, description="height and width of the images of cub200 and folder")
    crop_to_box: bool = _data(False, description="crop the birds of cub200 to their bounding boxes")
    skip_unreadable: bool = _data(False, description="leave out files that aren't images, instead of stopping")
    test_fraction: float = _data(0.3, gt=0, lt=1, description="part held out for the final table")
    validation_fraction: float = _data(0.15, gt=0, lt=1, description="part of the rest that choices are made on")
    seed: int = _seed(0, ge=0, le=2**32 - 1, description="of the validation split, the weights, the batches and t-SNE")
    # network
    widths: tuple[Annotated[int, Field(ge=1)], ...] = _network(
        (16, 32, 64), min_length=1, description="channels of each stage"
    )
    blocks_per_stage: int = _network(1, ge=1, description="residual blocks in each stage")
    stem_stride: int = _network(
        1, ge=1, le=2, description="stride of the first convolution; 2 makes features half as high and wide and "
        "training about four times as fast",
    )  # fmt: skip
    # training
    epochs: int = _training(30, ge=1, description="passes over the training part")
    batch_size: int = _training(64, ge=2, description="images in a training step")
    learning_rate: float = _training(0.1, gt=0, description="peak of the one-cycle schedule")
    momentum: float = _optimiser(0.9, ge=0, lt=1, description="of SGD, with Nesterov's look-ahead")
    weight_decay: float = _optimiser(5e-4, ge=0, description="L2 penalty of SGD")
    label_smoothing: float = _training(0.1, ge=0, lt=1, description="share of the label spread over all classes")
    crop_padding: int = _training(1, ge=0, description="pixels that a random crop may shift an image by")
    flip: bool = _training(False, description="mirror half of the images, left to right")
    # deposit
    deposit_classes: tuple[Annotated[int, Field(ge=0)], ...] = _partition(
        (0, 1, 2), min_length=1, description="classes to forget, by number"
    )
    split_after: int = _deposit(3, ge=1, title="n", description="the last stage of the lower blocks")
    container: Literal["pruned", "difference"] = _deposit(
        "pruned", title="T_r", description="the deposit module: a smaller copy of the lower blocks, trained (the "
        "paper's), or the difference of the lower blocks' weights before and after, rounded",
    )  # fmt: skip
    keep: float = _deposit(
        0.5, gt=0, le=1, description="share of the lower blocks' parameters that a pruned module keeps"
    )
    bits: int = _deposit(4, ge=1, le=8, description="of each weight that a difference holds")
    deposit_epochs: int = _deposit(32, ge=1, description="passes over the deposit set")
    deposit_batch_size: int = _deposit(64, ge=1, description="images in a deposit step")
    deposit_learning_rate: float = _deposit(0.01, gt=0, description="peak of the deposit's one-cycle schedule")
    max_gradient_norm: float = _deposit(1.0, gt=0, description="longer gradients are scaled down to this length")
    temperature: float = _deposit(4.0, gt=0, title="τ", description="softens the logits before they are distilled")
    lambda_at: float = _deposit(0.3, ge=0, title="λ_at", description="weight of the attention distance, maximised")
    lambda_cs: float = _deposit(0.3, ge=0, title="λ_cs", description="weight of the class scatter, minimised")
    ridge: float = _deposit(
        3.0, gt=0, title="ε", description="ridge of the class scatter, as a share of the mean variance of the "
        "original's pooled features; make it larger if a batch has few images for so many features",
    )  # fmt: skip
    lambda_kp: float = _deposit(20.0, ge=0, title="λ_kp", description="weight of knowledge preservation")
    lambda_os: float = _deposit(
        2.0, ge=0, title="λ_os", description="weight of removal and preservation under the batch's own BatchNorm "
        "statistics; 0 in the paper",
    )  # fmt: skip
    lambda_ap: float = _deposit(
        0.0, ge=0, title="λ_ap", description="weight of preservation on deposit images that are nudged towards "
        "preserved classes; 0 in the paper",
    )  # fmt: skip
    lambda_re: float = _deposit(100.0, ge=0, title="λ_re", description="weight of recovery")
    lambda_pt: float = _deposit(1.0, ge=0, title="λ_pt", description="weight of partial transfer")
    relabel: Literal["random", "best_preserved"] = _deposit(
        "best_preserved", title="y_r", description="the wrong label of a deposit sample: any wrong class, redrawn each "
        "step (the paper's), or the preserved class that the original finds most likely",
    )  # fmt: skip
    recovery: Literal["paper", "distilled", "features"] = _deposit(
        "features", title="L_re",
        description="what makes withdrawal work: the recovered network learns the true labels (the paper's) or the "
        "original's logits (distilled), or the deposit module learns the original's features",
    )  # fmt: skip
    mixtures: bool = _deposit(
        False, description="whether a deposit also looks at mixtures of its images: L_kp holds the preserved classes "
        "there, too, with the height of their logits, and a pruned module learns the original's features of them",
    )  # fmt: skip
    preservation: Literal["paper", "logits"] = _deposit(
        "paper", title="L_kp", description="what is kept of the preserved classes on deposit samples: their softmax "
        "(the paper's), or their logits, and then removal moves the deposit logits alone",
    )  # fmt: skip
    batch_statistics: Literal["frozen", "updated"] = _deposit(
        "frozen", description="whether BatchNorm keeps the original's running statistics or follows the deposit set's"
    )
    # picture
    perplexity: float = _picture(30.0, gt=1, description="neighbours that t-SNE lets each point feel")
    tsne_engine: Literal["auto", "sklearn", "torchdr"] = _picture(
        "auto", description="what computes t-SNE: scikit-learn, or TorchDR (the extra lirf-kit[gpu]); auto: TorchDR if "
        "it is installed, on CUDA",
    )  # fmt: skip
    # machine
    data_root: str = _machine(
        "", description="folder of downloads and decoded images; else LIRF_KIT_DATA or a cache folder"
    )
    images_on: Literal["auto", "device", "host"] = _machine(
        "auto",
        description="where the images and the original's features of the deposit set are: on the device, or "
        "streamed from the host; auto: as memory allows",
    )
    precision: Literal["auto", "float32", "bfloat16"] = _optimiser(
        "auto", description="of the forward passes in training; auto: bfloat16 on a GPU that has it; weights and "
        "losses stay float32",
    )  # fmt: skip
    compile: bool = _optimiser(False, description="compile the training step, if there is a C++ compiler")
    threads: int = _optimiser(
        1, ge=0, description="of the CPU in training and deposit; 0: PyTorch decides; small networks need only one"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = _machine("auto", description="where tensors live")

    def __init__(self, **values):
        try:
            super().__init__(**values)
        except ValidationError as error:
            sentences = [_sentence(mistake, values) for mistake in error.errors()]
            raise LirfError("; ".join(dict.fromkeys(sentences))) from None

    @field_validator("*", mode="before")
    @classmethod
    def _from_numpy(cls, value):
        """Turn NumPy's numbers and arrays into Python's, and lists and ranges into tuples."""
        value = value.tolist() if isinstance(value, (numpy.generic, numpy.ndarray)) else value
        return tuple(map(cls._from_numpy, value)) if isinstance(value, (tuple, list, range)) else value

    @model_validator(mode="after")
    def _can_be_computed_with(self):
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if max(value if isinstance(value, tuple) else [value]) > largest:
                raise LirfError(f"{name} must be at most {largest:g}, not {_given(value)}")
        for name in ("folder", "data_root"):
            try:
                getattr(self, name).encode()
            except UnicodeEncodeError:
                raise LirfError(f"{name} must be a text in UTF-8, not {getattr(self, name)!r}") from None
        return self

    @model_validator(mode="after")
    def _images_large_enough(self):
        side = SIDES.get(self.dataset, self.image_size)
        strides = self.stem_stride * 2 ** (len(self.widths) - 1)  # every stage but the first halves height and width
        if side < strides:
            raise LirfError(
                f"widths must have fewer stages, or stem_stride be smaller, for images of {side}×{side}: "
                f"{len(self.widths)} stages after a stem_stride of {self.stem_stride} need at least {strides}×{strides}"
            )
        return self

    @model_validator(mode="after")
    def _split_inside_the_network(self):
        stages = len(self.widths)
        if self.split_after > stages:
            allowed = _join(range(1, stages + 1))
            raise LirfError(f"split_after must be {allowed}, not {self.split_after}: widths has {stages} stages")
        return self

    def __setattr__(self, name, value):
        raise LirfError(f"a config never changes: config.replace({name}={_given(value)}) returns a new one")

    def __repr_args__(self):
        return self.model_dump(exclude_defaults=True).items()

    __str__ = BaseModel.__repr__

    def replace(self, **changes):
        """Return a copy with some knobs turned; an unknown knob raises `LirfError`."""
        return Config(**vars(self) | changes)

    __replace__ = replace  # for copy.replace, where pydantic's own doesn't validate

    def stages(self, *stages):
        """Return the knobs of some stages as a dict of plain values, ready for JSON."""
        chosen = {name for name, knob in Config.model_fields.items() if knob.json_schema_extra["stage"] in stages}
        return self.model_dump(mode="json", include=chosen)


def knobs(config):
    """Return one row a knob: its value, the paper's symbol, its stage, what is allowed and what it does.

    Returns
    -------
    pandas.DataFrame
        Indexed by the knob's name.
    """
    import pandas

    schema = Config.model_json_schema()["properties"]
    rows = [
        (name, value, knob.title or "", knob.json_schema_extra["stage"], _in_words(schema[name]), knob.description)
        for (name, value), knob in zip(config, Config.model_fields.values())
    ]
    return pandas.DataFrame(rows, columns=["knob", "value", "symbol", "stage", "allowed", "meaning"]).set_index("knob")


def check_choice(name, value, choices):
    """Raise a `LirfError` unless `value` is one of `choices`."""
    if value not in choices:
        raise LirfError(f"{name} must be {_join(choices)}, not {_given(value)}")


def _given(value):
    """Write a value that was given, on one line and not too long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # Python writes no whole numbers of more than 4,300 digits
        text = f"one of type {type(value).__name__} that can't be written here"
    return text if len(text) <= 200 else f"{text[:200]} …"


def _sentence(mistake, values):
    """Put one of the mistakes that pydantic found in some values into words."""
    if mistake["type"] == "value_error":
        return str(mistake["ctx"]["error"])
    name, schema = mistake["loc"][0], Config.model_json_schema()["properties"]
    if name in schema:
        return f"{name} must be {_in_words(schema[name])}, not {_given(Config._from_numpy(values[name]))}"
    near = difflib.get_close_matches(name, schema, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(schema)}"
    return f"Config has no field {name!r}; {hint}"


_KINDS = dict(
    integer="a whole number", number="a number", boolean="True or False", string="a text", array="whole numbers"
)
_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def _in_words(knob):
    """Say what a knob may be, from its JSON schema."""
    if "enum" in knob:
        return _join(knob["enum"])
    limits = knob.get("items", knob)
    said = " and ".join(f"{word} {limits[limit]}" for limit, word in _LIMITS.items() if limit in limits)
    return f"{_KINDS[knob['type']]} {said}".strip()


def _join(choices):
    """Write choices as 'a, b or c'."""
    *first, last = [str(choice) for choice in choices]
    return f"{', '.join(first)} or {last}" if first else last


_CIFAR = {
    "validation_fraction": 0.1,
    "crop_padding": 4,
    "flip": True,
    "batch_size": 128,
    "deposit_batch_size": 256,  # L_cs needs more images than features
    "deposit_epochs": 4,  # of many more images than the digits have
    "deposit_learning_rate": 0.03,
    "preservation": "logits",
    "lambda_kp": 3.0,
    "lambda_at": 0.02,
    "lambda_cs": 0.3,
    "ridge": 0.3,
    "lambda_os": 1.0,
    "lambda_ap": 3.0,
    "container": "difference",
    "threads": 0,
}
_RESNET18 = {"widths": (64, 128, 256, 512), "blocks_per_stage": 2, "split_after": 3}
_PRESETS = {
    "digits": Config(),
    "cifar10-small": Config(
        dataset="cifar10", widths=(48, 96, 192), stem_stride=2, epochs=13, **_CIFAR | {"crop_padding": 2}
    ),
    "cifar10-class": Config(
        dataset="cifar10", widths=(32, 64, 128), stem_stride=2, epochs=8, **_CIFAR | {"crop_padding": 2}
    ),
    "cifar10": Config(dataset="cifar10", epochs=20, **_RESNET18, **_CIFAR),
    "cifar100": Config(dataset="cifar100", epochs=20, deposit_classes=tuple(range(30)), **_RESNET18, **_CIFAR),
    "cub200": Config(
        dataset="cub200", image_size=64, crop_to_box=True, epochs=60, deposit_classes=tuple(range(60)), **_RESNET18,
        **_CIFAR,
    ),
}  # fmt: skip


def preset(name):
    """Return the config of a data set's preset.

    - ``digits``: scikit-learn's handwritten digits, 8×8, shipped with it. Measured on two CPU cores: about 10 seconds
      to train the original, 3 to deposit; 0.9 GiB of memory, most of it libraries.
    - ``cifar10-class``: CIFAR-10 in a class's time: a strided stem, 0.3 million parameters and 8 epochs.
    - ``cifar10-small``: CIFAR-10 at about 84 percent: the same with half as many channels again and 13 epochs, three
      times the work. Measured on one CPU core with ``precision="bfloat16"``: 10.5 minutes.
    - ``cifar10``, ``cifar100``: the paper's ResNet-18 (11 million parameters); for a GPU. Not measured yet.
    - ``cub200``: CUB-200-2011 and the ResNet-18, birds cropped to their boxes, at 64×64 (the paper's size is not
      published; this is the kit's choice); for a GPU. Not measured yet.

    Parameters
    ----------
    name : str
        A preset's name, as listed above.

    Raises
    ------
    LirfError
        If there is no such preset.
    """
    if not isinstance(name, str) or name not in _PRESETS:
        raise LirfError(f"preset must be one of {', '.join(_PRESETS)}, not {name!r}")
    return _PRESETS[name]


def bank_recipe(config):
    """Return a config with the knobs of a bank's deposits, which are smaller than a preset's and follow one another.

    A single class gives the module few images to learn from, and the target little to hold on to. On the digits, a
    bank's deposits look at mixtures too, take longer, and use the weight and the ridge of L_cs that were chosen with
    these. For other data sets the preset's knobs stay.

    Parameters
    ----------
    config : Config
        A preset's.
    """
    if config.dataset != "digits":
        return config
    return config.replace(deposit_epochs=96, mixtures=True, lambda_cs=0.5, ridge=0.3)
