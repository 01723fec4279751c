"""What the notebooks' small widgets compute, without a widget."""

import io

import numpy
import pandas
import torch
from PIL import Image

from lirf_kit.data.partition import check_deposit_classes
from lirf_kit.method.losses import distillation_loss, select_deposited, select_preserved
from lirf_kit.method.networks import evaluation_mode, split
from lirf_kit.method.pruning import count_parameters, prune_lower

FORGOTTEN = -9.0  # a toy student's logit of a class that it has forgotten


def part_counts(data, deposit_classes):
    """Count how many images of each part `split_by_class` would deposit, and how many it would preserve.

    Parameters
    ----------
    data : Dataset
    deposit_classes : iterable of int

    Returns
    -------
    pandas.DataFrame
        The rows train, validation, test; the columns deposited and preserved.

    Raises
    ------
    LirfError
        If the classes can't be deposited.
    """
    chosen = torch.tensor(check_deposit_classes(deposit_classes, len(data.class_names)), device=data.labels.device)
    places = {"train": data.train_indices, "validation": data.validation_indices, "test": data.test_indices}
    deposited = {name: int(torch.isin(data.labels[indices], chosen).sum()) for name, indices in places.items()}
    preserved = {name: len(indices) - deposited[name] for name, indices in places.items()}
    return pandas.DataFrame({"deposited": deposited, "preserved": preserved})


def image_pixels(image):
    """Return one image, uint8 (C, H, W), as an array to draw: (H, W) or (H, W, C)."""
    return image.cpu().permute(1, 2, 0).numpy().squeeze()


def image_png(image, side):
    """Return one image, uint8 (C, H, W), enlarged to a square without smoothing, as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(image_pixels(image)).resize((side, side), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def cut_table(network, image, split_after, keep):
    """Return what a deposit does with each block of a network if the cut comes after a certain stage.

    Parameters
    ----------
    network : SplitNetwork
        The original; it can be cut after any stage.
    image : torch.Tensor
        uint8, (1, C, H, W), used to measure the shapes.
    split_after : int
        n, the last stage of the lower blocks.
    keep : float
        The share of the lower blocks' parameters that the pruned module may keep.

    Returns
    -------
    pandas.DataFrame
        One row a block. Columns: "shape" of the block's output for the image, as (C, H, W) or (D,); "parameters";
        "target", which is "learns" or "frozen"; "module", the number of parameters in the module's pruned copy of the
        block, or 0 for the blocks that the module shares with the target.

    Raises
    ------
    LirfError
        If the network has no such stage, or `keep` is too small for these lower blocks.
    """
    lower = split(network, split_after).lower
    layers = network.layers
    blocks = [*layers[:-3], layers[-3:-1], layers[-1]]  # pooling is followed by a layer that only flattens
    stages = [f"stage {number}" for number in range(1, len(blocks) - 3)]
    names = ["normalise", "stem", *stages, "pooling", "classifier"]
    shapes, passed = [], image
    with torch.no_grad(), evaluation_mode(network):
        for block in blocks:
            passed = block(passed)
            shapes.append(tuple(passed.shape[1:]))
    kept = [count_parameters(block) for block in prune_lower(lower, keep)]
    above = len(blocks) - len(lower)
    columns = {
        "shape": shapes,
        "parameters": [count_parameters(block) for block in blocks],
        "target": ["learns"] * len(lower) + ["frozen"] * above,
        "module": kept + [0] * above,
    }
    return pandas.DataFrame(columns, names)


def softened(logits, deposit_classes, temperature):
    """Return the softmax of one image's logits at a temperature τ, over all classes, over g's and over ḡ's.

    Parameters
    ----------
    logits : torch.Tensor of shape (K,)
    deposit_classes : sequence of int
    temperature : float

    Returns
    -------
    pandas.DataFrame
        One row a class, by number; the columns "all", "g" and "ḡ". NaN for classes that g or ḡ drops.
    """
    cool, classes = logits[None].double() / temperature, list(deposit_classes)
    numbers = torch.arange(len(logits))[None]
    table = pandas.DataFrame({"all": cool.softmax(1)[0].numpy(), "g": numpy.nan, "ḡ": numpy.nan})
    for name, select in (("g", select_preserved), ("ḡ", select_deposited)):
        table.loc[select(numbers, classes)[0].tolist(), name] = select(cool, classes).softmax(1)[0].numpy()
    return table


def distillations(student, teacher, deposit_classes, temperature):
    """Return how far one image's student logits are from the teacher's: KD at τ over all classes, g's and ḡ's.

    Parameters
    ----------
    student, teacher : torch.Tensor of shape (K,)
    deposit_classes : sequence of int
    temperature : float

    Returns
    -------
    dict of str to float
        "all": KD over all classes, the distilled L_re; "g": L_kp; "ḡ": L_pt.
    """
    pair, classes = (student[None].double(), teacher[None].double()), list(deposit_classes)
    pairs = {
        "all": pair,
        "g": [select_preserved(logits, classes) for logits in pair],
        "ḡ": [select_deposited(logits, classes) for logits in pair],
    }
    return {name: float(distillation_loss(*both, temperature)) for name, both in pairs.items()}


def toy_students(logits, deposit_classes):
    """Return the logits, (K,), of three students to compare with a teacher's, by what each student is like."""
    forgot = logits.clone()
    forgot[list(deposit_classes)] = FORGOTTEN
    return {"knows nothing": torch.zeros_like(logits), "has forgotten": forgot, "is the original": logits}


def point_table(embeddings, part, probabilities, place, neighbours=10):
    """Return what each network answers for one image, and how many of its neighbours in each panel are of its class.

    Parameters
    ----------
    embeddings : dict of str to numpy.ndarray
        (N, 2) for each panel's name.
    part : ImageData
        The N images.
    probabilities : dict of str to numpy.ndarray
        (N, K), each network's softmax, by the same names.
    place : int
        Which image of the part.
    neighbours : int
        The number of nearest points that are looked at.

    Returns
    -------
    pandas.DataFrame
        One row a network: "answer", the most probable class's name; its "probability" in percent; "neighbours", the
        number of nearest points in the panel that belong to the image's own class.
    """
    labels, rows = part.labels.cpu().numpy(), {}
    for name, points in embeddings.items():
        distances = numpy.linalg.norm(points - points[place], axis=1)
        distances[place] = numpy.inf
        nearest = distances.argsort(kind="stable")[:neighbours]
        best = int(probabilities[name][place].argmax())
        rows[name] = {
            "answer": part.class_names[best],
            "probability": 100 * float(probabilities[name][place][best]),
            "neighbours": int((labels[nearest] == labels[place]).sum()),
        }
    return pandas.DataFrame.from_dict(rows, orient="index")
