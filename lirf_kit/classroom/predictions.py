"""Predictions on record: a student commits to a number or a choice before the next cell shows the result.

They stand in one JSON file beside the notebook. Nothing leaves the machine, and no name is stored.
"""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lirf_kit.artifacts import write_file
from lirf_kit.config import LirfError
from lirf_kit.pictures.figures import COOL, WARM

FILE = "my-predictions.json"
SKIP = "skip"


@dataclass(frozen=True)
class Prediction:
    """What a student predicted; None if nobody was asked or if the student skipped it."""

    question: str
    predicted: float | str | None
    unit: str = ""

    def beside(self, actual):
        """Print the result beside the prediction, and keep it in the file.

        Parameters
        ----------
        actual : float or str
            The result, in the unit of the question, or the right choice.
        """
        print(self.compared(actual))

    def compared(self, actual):
        """Return the sentence that `beside` prints, and keep the result in the file."""
        given = str(actual) if isinstance(self.predicted, str) or isinstance(actual, str) else float(actual)
        shown = given if isinstance(given, str) else _with_unit(given, self.unit)
        if self.predicted is None:
            return f"{self.question}: {shown}"
        _keep(self.question, actual=given)
        return f"{self.question}: you said {_with_unit(self.predicted, self.unit)}, it is {shown}"


def predict_first(question, unit="", choices=None):
    """Ask for a prediction, and wait for it: the cells below run only when it is given.

    The prediction is kept in ``my-predictions.json`` in the current folder. Where nobody can answer (nbconvert, nbval,
    ``LIRF_KIT_STATIC`` set) nothing is asked; set ``LIRF_KIT_PREDICT=0`` to run all cells without being asked.

    Parameters
    ----------
    question : str
        Also its name in the file: ask the same question again, and the newer answer counts.
    unit : str
        Shown after the number.
    choices : list of str, optional
        The answers to choose from, instead of a number.

    Returns
    -------
    Prediction
        Call `beside` on it with the result.
    """
    if os.environ.get("LIRF_KIT_STATIC") or os.environ.get("LIRF_KIT_PREDICT") == "0":
        return Prediction(question, None, unit)
    asked = f" ({' / '.join(choices)})" if choices else f" (a number{', in ' + unit if unit else ''})"
    while True:
        try:
            answer = input(f"Your prediction: {question}{asked}, or {SKIP}: ").strip()
        except (EOFError, OSError, NotImplementedError):  # no front end; Jupyter's own error is the last of the three
            return Prediction(question, None, unit)
        if answer.lower() == SKIP:
            return Prediction(question, None, unit)
        try:
            return kept(question, answer, unit, choices)
        except LirfError as error:
            print(error)


def kept(question, answer, unit="", choices=None):
    """Return the prediction that an answer gives, and keep it in the file; a `LirfError` if it is none."""
    predicted = _read(answer, unit, choices)
    _keep(question, predicted=predicted, unit=unit, choices=choices)
    return Prediction(question, predicted, unit)


def _read(answer, unit, choices):
    """Return an answer as a number or as one of the choices; raise a `LirfError` if it is neither."""
    if choices:
        exact = [choice for choice in choices if choice.lower() == answer.lower()]
        meant = exact or [choice for choice in choices if choice.lower().startswith(answer.lower())]
        if len(meant) == 1:
            return meant[0]
        raise LirfError(f"The prediction must be one of {', '.join(choices)}, not {answer!r}.")
    text = answer.removesuffix(unit).strip().replace("−", "-")
    thousands = re.fullmatch(r"-?[1-9]\d{0,2}(,\d{3})+", text)  # 1,797 is a whole number, 2,5 is two and a half
    try:
        number = float(text.replace(",", "" if thousands else "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LirfError(f"The prediction must be a number, such as 12.5, not {answer!r}.")
    return number


def _with_unit(value, unit):
    return value if isinstance(value, str) else f"{value:.4g}{' ' + unit if unit else ''}"


def _load(path):
    """Return the entries of a file by question; a `LirfError` if it is damaged."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(entry["predicted"], (int, float, str)) for entry in entries.values()):
            raise ValueError
    except (ValueError, OSError, AttributeError, KeyError, TypeError):
        raise LirfError(f"{path} must hold predictions as predict_first writes them; it is damaged") from None
    return entries


def _load_or_set_aside():
    """Return the student's entries; a damaged file is renamed and named."""
    path = Path(FILE)
    if not path.exists():
        return {}
    try:
        return _load(path)
    except LirfError:
        aside = path.with_name(f"{path.stem}-damaged.json")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.stem}-damaged-{number}.json")
        path.rename(aside)
        print(f"{FILE} was damaged. It is kept as {aside.name}, and a new file begins.")
        return {}


def _keep(question, **fields):
    """Write some fields of a question into the file: a new prediction replaces the old one and its result."""
    entries = _load_or_set_aside()
    old = {} if "predicted" in fields else entries.get(question)
    if old is None:
        return
    entries[question] = old | fields
    try:
        write_file(Path(FILE), json.dumps(entries, indent=1, ensure_ascii=False).encode())
    except OSError as error:
        print(f"{FILE} can't be written in this folder ({error.strerror}), so this prediction isn't kept.")


def my_predictions():
    """Return your predictions beside the results, and print how good they were.

    Returns
    -------
    pandas.DataFrame
        One row per question: predicted, actual, unit, and off, which is predicted less actual, NaN for a choice. The
        result is missing where you haven't run the cell that shows it.
    """
    rows = _rows(_load_or_set_aside())
    numbers = rows["off"].dropna()
    chosen = rows[rows["actual"].map(lambda value: isinstance(value, str))]
    if len(chosen):
        print(f"choices: {(chosen['predicted'] == chosen['actual']).sum()} of {len(chosen)} right")
    if len(numbers):
        high, low = (numbers > 0).sum(), (numbers < 0).sum()
        half = numbers.abs().median()
        print(f"numbers: {high} of {len(numbers)} too high, {low} too low; half of them within {half:.3g}")
    if not len(rows):
        print("No predictions yet: a cell with lk.predict_first asks for one.")
    return rows


def _rows(entries):
    rows = []
    for question, entry in entries.items():
        predicted, actual = entry["predicted"], entry.get("actual")
        numbers = isinstance(predicted, (int, float)) and isinstance(actual, (int, float))
        off = predicted - actual if numbers else math.nan
        rows.append((question, predicted, actual, entry.get("unit", ""), off))
    table = pandas.DataFrame(rows, columns=["question", "predicted", "actual", "unit", "off"])
    return table.astype({"predicted": object, "actual": object, "off": float}).set_index("question")


def class_predictions(folder):
    """Return a histogram for each question over the prediction files of a class.

    Parameters
    ----------
    folder : str or Path
        Searched with its subfolders for files that end in ``.json``. A file that is damaged is named and left out.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per question; the dashed line is the result.

    Raises
    ------
    LirfError
        If the folder isn't there, or holds no prediction.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LirfError(f"folder must be a folder with the class's files, not {str(folder)!r}")
    tables = []
    for path in sorted(folder.rglob("*.json")):
        try:
            tables.append(_rows(_load(path)))
        except LirfError as error:
            print(f"left out: {error}")
    if not any(map(len, tables)):
        raise LirfError(f"folder must hold at least one prediction, such as {FILE}; {str(folder)!r} has none")
    questions = pandas.concat(tables).groupby("question", sort=False)
    figure = Figure(figsize=(7, 2.4 * len(questions)), layout="constrained")
    for axes, (question, rows) in zip(figure.subplots(len(questions), squeeze=False).flat, questions):
        _draw_answers(axes, rows)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=question, ylabel="students")
    return figure


def _draw_answers(axes, rows):
    """Draw a class's answers to one question: a histogram of numbers, or bars for choices, the result in orange."""
    answers, results = rows["predicted"].tolist(), rows["actual"].dropna().tolist()
    if all(isinstance(each, (int, float)) for each in answers):
        axes.hist(answers, bins=min(20, max(5, len(answers) // 2)), color=COOL[0], edgecolor="white")
        axes.set_xlabel(rows["unit"].iloc[-1])
        if results and isinstance(results[-1], (int, float)):
            axes.axvline(results[-1], color=WARM[0], linestyle="--")
    else:
        counts = rows["predicted"].astype(str).value_counts()
        result = str(results[-1]) if results else ""
        colours = [WARM[0] if name == result else COOL[0] for name in counts.index]
        marks = ["//" if name == result else "" for name in counts.index]
        axes.bar(counts.index, counts, color=colours, hatch=marks)
