"""Every knob of the kit: its default, what it may be, and what it does, in one frozen dataclass.

Every knob belongs to a stage of the path. What was computed at one stage stays valid while only a later stage's knob
turns; `experiments` relies on that to find earlier runs again.
"""

import dataclasses
import difflib
import math
import numbers
from dataclasses import dataclass, field


class LirfError(ValueError):
    """Wrong input, or a run that cannot go on: one sentence that says what to change."""


def _knob(default, stage, help, *, minimum=None, above=None, maximum=None, below=None, choices=None, symbol=None):
    """Return a dataclass field that carries its own allowed range (see `_check`)."""
    metadata = {"stage": stage, "help": help, "minimum": minimum, "above": above, "maximum": maximum, "below": below}
    return field(default=default, metadata=metadata | {"choices": choices, "symbol": symbol})


@dataclass(frozen=True)
class Config:
    """Every knob, validated when it is set; `knobs` lists them with their meaning.

    A config never changes: ``config.replace(lambda_at=0.5)`` returns a new one.

    Raises
    ------
    LirfError
        If a value has the wrong type or lies outside its range; the sentence names the knob, what is allowed and
        what was given.
    """

    # data
    dataset: str = _knob(
        "digits", "data", "which images", choices=("digits", "cifar10", "cifar100", "cub200", "folder")
    )
    folder: str = _knob("", "data", "of your own images, for dataset='folder': train/<class>/*, perhaps test/<class>/*")
    image_size: int = _knob(32, "data", "height and width of the images of cub200 and folder", minimum=4)
    crop_to_box: bool = _knob(False, "data", "crop the birds of cub200 to their bounding boxes")
    skip_unreadable: bool = _knob(False, "data", "leave out files that are no images, instead of stopping")
    test_fraction: float = _knob(0.3, "data", "part held out for the final table", above=0, below=1)
    validation_fraction: float = _knob(0.15, "data", "part of the rest that choices are made on", above=0, below=1)
    seed: int = _knob(
        0, "seed", "of the validation split, the weights, the batches and t-SNE", minimum=0, maximum=2**32 - 1
    )
    # network
    widths: tuple[int, ...] = _knob((16, 32, 64), "network", "channels of each stage", minimum=1)
    blocks_per_stage: int = _knob(1, "network", "residual blocks in each stage", minimum=1)
    # training
    epochs: int = _knob(30, "training", "passes over the training part", minimum=1)
    batch_size: int = _knob(64, "training", "images in a training step", minimum=2)
    learning_rate: float = _knob(0.1, "training", "peak of the one-cycle schedule", above=0)
    momentum: float = _knob(0.9, "optimiser", "of SGD, with Nesterov's look-ahead", minimum=0, below=1)
    weight_decay: float = _knob(5e-4, "optimiser", "L2 penalty of SGD", minimum=0)
    label_smoothing: float = _knob(0.1, "training", "share of the label spread over all classes", minimum=0, below=1)
    crop_padding: int = _knob(1, "training", "pixels that a random crop may shift an image by", minimum=0)
    flip: bool = _knob(False, "training", "mirror half of the images, left to right")
    # deposit
    deposit_classes: tuple[int, ...] = _knob((0, 1, 2), "partition", "classes to forget, by number", minimum=0)
    split_after: int = _knob(3, "deposit", "the last stage of the lower blocks", minimum=1, symbol="n")
    keep: float = _knob(
        0.5, "deposit", "share of the lower blocks' parameters that the deposit module keeps", above=0, maximum=1
    )
    deposit_epochs: int = _knob(16, "deposit", "passes over the deposit set", minimum=1)
    deposit_batch_size: int = _knob(64, "deposit", "images in a deposit step", minimum=1)
    deposit_learning_rate: float = _knob(0.01, "deposit", "peak of the deposit's one-cycle schedule", above=0)
    max_gradient_norm: float = _knob(1.0, "deposit", "longer gradients are scaled down to this length", above=0)
    temperature: float = _knob(4.0, "deposit", "softens the logits before they are distilled", above=0, symbol="τ")
    lambda_at: float = _knob(0.3, "deposit", "weight of the attention distance, maximised", minimum=0, symbol="λ_at")
    lambda_kp: float = _knob(20.0, "deposit", "weight of knowledge preservation", minimum=0, symbol="λ_kp")
    lambda_re: float = _knob(100.0, "deposit", "weight of recovery", minimum=0, symbol="λ_re")
    lambda_pt: float = _knob(1.0, "deposit", "weight of partial transfer", minimum=0, symbol="λ_pt")
    relabel: str = _knob(
        "best_preserved",
        "deposit",
        "the wrong label of a deposit sample: any wrong class, redrawn each step (the paper's), or the preserved "
        "class that the original finds most likely",
        choices=("random", "best_preserved"),
        symbol="y_r",
    )
    recovery: str = _knob(
        "features",
        "deposit",
        "what makes withdrawal work: the recovered network learns the true labels (the paper's) or the original's "
        "logits (distilled), or the deposit module learns the original's features",
        choices=("paper", "distilled", "features"),
        symbol="L_re",
    )
    preservation: str = _knob(
        "paper",
        "deposit",
        "what is kept of the preserved classes on deposit samples: their softmax (the paper's), or their logits, and "
        "then removal moves the deposit logits alone",
        choices=("paper", "logits"),
        symbol="L_kp",
    )
    batch_statistics: str = _knob(
        "frozen",
        "deposit",
        "whether BatchNorm keeps the original's running statistics or follows the deposit set's",
        choices=("frozen", "updated"),
    )
    # picture
    perplexity: float = _knob(30.0, "picture", "neighbours that t-SNE lets each point feel", above=1)
    tsne_engine: str = _knob(
        "auto",
        "picture",
        "who computes t-SNE: scikit-learn, or TorchDR (the extra lirf-kit[gpu]); auto: TorchDR if it is there, on CUDA",
        choices=("auto", "sklearn", "torchdr"),
    )
    # machine
    data_root: str = _knob(
        "", "machine", "folder of downloads and decoded images; else LIRF_KIT_DATA or a cache folder"
    )
    images_on: str = _knob(
        "auto",
        "machine",
        "where the images live: on the device, or on the host and streamed; auto decides from free memory",
        choices=("auto", "device", "host"),
    )
    precision: str = _knob(
        "auto",
        "optimiser",
        "of the forward passes in training; auto: bfloat16 on a GPU that has it; weights and losses stay float32",
        choices=("auto", "float32", "bfloat16"),
    )
    compile: bool = _knob(False, "optimiser", "compile the training step, where a C++ compiler is there")
    threads: int = _knob(
        1,
        "optimiser",
        "of the CPU in training and deposit; 0 leaves it to PyTorch; a second one gains little on small networks",
        minimum=0,
    )
    device: str = _knob("auto", "machine", "where tensors live", choices=("auto", "cpu", "cuda", "mps"))

    def __post_init__(self):
        for knob in dataclasses.fields(self):
            value = _plain(getattr(self, knob.name), type(knob.default))
            object.__setattr__(self, knob.name, value)
            _check(knob, value)
        stages = len(self.widths)
        if self.split_after > stages:
            allowed = _join(range(1, stages + 1))
            raise LirfError(f"split_after must be {allowed}, not {self.split_after}: widths has {stages} stages")

    def replace(self, **changes):
        """Return a copy with some knobs turned; an unknown knob raises `LirfError`."""
        names = [knob.name for knob in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; the fields are {', '.join(names)}"
                raise LirfError(f"Config has no field {name!r}{hint}")
        return dataclasses.replace(self, **changes)

    def stages(self, *stages):
        """Return the knobs of some stages as a dict of plain values, ready for JSON."""
        chosen = [knob.name for knob in dataclasses.fields(self) if knob.metadata["stage"] in stages]
        values = {name: getattr(self, name) for name in chosen}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def knobs(config):
    """Return one row a knob: its value, the paper's symbol, its stage, what is allowed and what it does.

    Returns
    -------
    pandas.DataFrame
        Indexed by the knob's name.
    """
    import pandas

    rows = [
        {
            "knob": knob.name,
            "value": getattr(config, knob.name),
            "symbol": knob.metadata["symbol"] or "",
            "stage": knob.metadata["stage"],
            "allowed": _allowed(knob),
            "meaning": knob.metadata["help"],
        }
        for knob in dataclasses.fields(config)
    ]
    return pandas.DataFrame(rows).set_index("knob")


def check_choice(name, value, choices):
    """Raise a `LirfError` unless `value` is one of `choices`."""
    if value not in choices:
        raise LirfError(f"{name} must be {_join(choices)}, not {value!r}")


_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", tuple: "whole numbers"}


def _plain(value, kind):
    """Turn lists into tuples, and NumPy's numbers into Python's, where the knob's kind is that."""
    if kind is tuple and isinstance(value, (list, range)):
        return tuple(_plain(number, int) for number in value)
    number = {int: numbers.Integral, float: numbers.Real}.get(kind)
    if number is not None and isinstance(value, number) and not isinstance(value, bool):
        return kind(value)
    return value


def _check(knob, value):
    """Raise a `LirfError` unless `value` has the type of the knob's default and lies in its range."""
    kind = type(knob.default)
    if knob.metadata["choices"]:
        return check_choice(knob.name, value, knob.metadata["choices"])
    members = value if kind is tuple else (value,)
    if kind is tuple:
        fits = isinstance(value, tuple) and len(value) > 0 and all(type(number) is int for number in value)
    elif kind is float:
        fits = type(value) is float and math.isfinite(value)
    else:
        fits = type(value) is kind
    if not fits or any(_outside(knob.metadata, number) for number in members):
        raise LirfError(f"{knob.name} must be {_allowed(knob)}, not {value!r}")


def _outside(limits, number):
    """Whether a number breaks one of a knob's limits (a limit of None is none)."""
    return (
        (limits["minimum"] is not None and number < limits["minimum"])
        or (limits["above"] is not None and number <= limits["above"])
        or (limits["maximum"] is not None and number > limits["maximum"])
        or (limits["below"] is not None and number >= limits["below"])
    )


def _allowed(knob):
    """Say in words what a knob may be."""
    limits = knob.metadata
    if limits["choices"]:
        return _join(limits["choices"])
    words = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}
    said = [f"{word} {limits[limit]}" for limit, word in words.items() if limits[limit] is not None]
    return " ".join([_KINDS[type(knob.default)], " and ".join(said)]).strip()


def _join(choices):
    """Write choices as 'a, b or c'."""
    *first, last = [str(choice) for choice in choices]
    return f"{', '.join(first)} or {last}" if first else last


_CIFAR = {
    "validation_fraction": 0.1,
    "crop_padding": 4,
    "flip": True,
    "batch_size": 128,
    "deposit_batch_size": 128,
    "deposit_epochs": 6,  # of many more images than the digits have
    "deposit_learning_rate": 0.03,
    "preservation": "logits",
    "lambda_kp": 3.0,
    "lambda_at": 0.02,
    "threads": 0,
}
_RESNET18 = {"widths": (64, 128, 256, 512), "blocks_per_stage": 2, "split_after": 3}
_PRESETS = {
    "digits": Config(),
    "cifar10-small": Config(dataset="cifar10", widths=(32, 64, 128), epochs=24, **_CIFAR | {"crop_padding": 2}),
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
      to train the original, 2 to deposit; 0.9 GiB of memory, most of it libraries.
    - ``cifar10-small``: CIFAR-10 and a network of 0.3 million parameters. Measured on one CPU core each, two trainings
      side by side, ``precision="bfloat16", compile=True``: at best 92 seconds for each of the 24 epochs; 2 GiB.
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
    if name not in _PRESETS:
        raise LirfError(f"preset must be one of {', '.join(_PRESETS)}, not {name!r}")
    return _PRESETS[name]
