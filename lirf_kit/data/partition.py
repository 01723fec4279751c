"""Which samples are deposited, by class or one by one; chosen by labels and masks, never by file order."""

import operator
from dataclasses import dataclass

import numpy
import torch
from sklearn.model_selection import train_test_split

from lirf_kit.config import LirfError
from lirf_kit.data.images import ImageData


@dataclass(frozen=True)
class Partition:
    """A data set divided into what is deposited and what is preserved.

    A split by samples divides only the training part: it deposits nothing of the validation and test parts.

    Attributes
    ----------
    deposit_set, preservation_set : ImageData
        The deposited and the preserved images of the training part, D_r and D̄_r.
    deposit_validation, preservation_validation, validation : ImageData
        The same of the validation part, and all of it.
    deposit_test, preservation_test, test : ImageData
        The same of the test part, and all of it.
    """

    deposit_set: ImageData
    preservation_set: ImageData
    deposit_validation: ImageData
    preservation_validation: ImageData
    validation: ImageData
    deposit_test: ImageData
    preservation_test: ImageData
    test: ImageData


def split_by_class(data, deposit_classes):
    """Deposit every sample of some classes.

    Parameters
    ----------
    data : Dataset
    deposit_classes : iterable of int
        The numbers of the classes to deposit: at least one, not all of them, and none twice.

    Returns
    -------
    Partition

    Raises
    ------
    LirfError
        If a class doesn't exist or is named twice, or if nothing would be deposited or nothing preserved.
    """
    chosen = check_deposit_classes(deposit_classes, len(data.class_names))
    table = torch.zeros(len(data.class_names), dtype=torch.bool, device=data.labels.device)
    table[list(chosen)] = True
    return _partition(data, table[data.labels], chosen, whole_evaluation=False)


def check_deposit_classes(deposit_classes, num_classes):
    """Return the deposit classes as a sorted tuple, or raise a `LirfError` if `split_by_class` can't use them."""
    try:
        chosen = sorted(operator.index(number) for number in deposit_classes)
    except TypeError:
        raise LirfError(f"deposit_classes must be a list of whole class numbers, not {deposit_classes!r}") from None
    last = num_classes - 1
    for number in chosen:
        if not 0 <= number <= last:
            raise LirfError(f"deposit_classes must be class numbers from 0 to {last}, not {number}")
        if chosen.count(number) > 1:
            raise LirfError(f"deposit_classes must name each class once, not {number} twice")
    if not chosen:
        raise LirfError("deposit_classes must name at least one class, not none")
    if len(chosen) == num_classes:
        raise LirfError(f"deposit_classes must leave at least one class preserved, not name all {num_classes}")
    return tuple(chosen)


def split_by_sample(data, fraction=None, indices=None, seed=0):
    """Deposit some samples of the training part, regardless of their class.

    Parameters
    ----------
    data : Dataset
    fraction : float, optional
        The share of the training part to deposit, in (0, 1), drawn at random with every class in proportion.
    indices : sequence of int, optional
        Instead of `fraction`, the positions in the data set of the samples to deposit (see `ImageData.indices`).
    seed : int
        Seeds the random draw.

    Returns
    -------
    Partition

    Raises
    ------
    LirfError
        If neither or both of `fraction` and `indices` are given, or they select nothing, everything, or a sample
        outside the training part.
    """
    if (fraction is None) == (indices is None):
        raise LirfError("split_by_sample takes either fraction or indices, and needs one of them")
    train = data.train_indices.cpu().numpy()
    if fraction is not None:
        indices = _draw(train, data.labels.cpu().numpy()[train], fraction, seed)
    indices = numpy.asarray(indices.cpu() if isinstance(indices, torch.Tensor) else indices)
    if indices.ndim != 1 or not numpy.issubdtype(indices.dtype, numpy.integer) or not len(indices):
        raise LirfError("indices must be a list of at least one whole number")
    if len(numpy.unique(indices)) != len(indices):
        raise LirfError("indices must name each sample once")
    outside = indices[~numpy.isin(indices, train)]
    if len(outside):
        raise LirfError(f"indices must be positions of training samples, not {outside[0]}")
    if len(indices) == len(train):
        raise LirfError("indices must leave at least one training sample preserved, not name all")
    deposited = torch.zeros(len(data.labels), dtype=torch.bool, device=data.labels.device)
    deposited[torch.from_numpy(indices).to(data.labels.device)] = True
    return _partition(data, deposited, None, whole_evaluation=True)


def _draw(train, labels, fraction, seed):
    """Draw a stratified share of the training part."""
    if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise LirfError(f"fraction must be a number above 0 and below 1, not {fraction!r}")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise LirfError(f"seed must be a whole number at least 0 and below 2**32, not {seed!r}")
    try:
        return train_test_split(train, train_size=fraction, random_state=seed, stratify=labels)[0]
    except ValueError:
        raise LirfError(
            f"fraction must leave samples of each class in both parts, but {fraction} of {len(train)} samples doesn't"
        ) from None


def _partition(data, deposited, deposit_classes, whole_evaluation):
    """Divide each part by one mask over the whole data set."""

    def part(indices, mask=None):
        chosen = indices if mask is None else indices[mask[indices]]
        return data.everything.select(chosen, deposit_classes)

    evaluated = torch.zeros_like(deposited) if whole_evaluation else deposited
    return Partition(
        deposit_set=part(data.train_indices, deposited),
        preservation_set=part(data.train_indices, ~deposited),
        deposit_validation=part(data.validation_indices, evaluated),
        preservation_validation=part(data.validation_indices, ~evaluated),
        validation=part(data.validation_indices),
        deposit_test=part(data.test_indices, evaluated),
        preservation_test=part(data.test_indices, ~evaluated),
        test=part(data.test_indices),
    )
