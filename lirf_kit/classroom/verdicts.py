"""What is behind every check: it calls the student's function, compares the answers, and says one sentence."""

import ast
import contextlib
import inspect
import math
import textwrap
from dataclasses import dataclass

import numpy
import torch


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found; a notebook shows it as one sentence, and ``bool(verdict)`` says whether all is right."""

    passed: bool
    sentence: str

    def __bool__(self):
        return self.passed

    def __repr__(self):
        return f"{'✓' if self.passed else '✗'} {self.sentence}"


class Stop(Exception):
    """The check is over: the sentence says why."""


def check(function):
    """Turn a function into a check: it takes the student's, and returns what is right or raises `Stop` at a fault."""

    def checked(student_function):
        try:
            if not inspect.isroutine(student_function):
                given = "None" if student_function is None else kind_of(student_function)
                given = "a blank (…)" if student_function is Ellipsis else given
                raise Stop(
                    f"Give the check your function itself, without calling it: lk.check.{function.__name__}"
                    f"(your_function); it got {given}."
                )
            return Verdict(True, function(student_function))
        except Stop as stop:
            return Verdict(False, str(stop))
        except Exception:  # an answer so odd that it can't even be compared
            name = student_function.__name__
            return Verdict(False, f"{name} must return real numbers; what it returns can't be compared with numbers.")

    return _named_after(function, checked)


def compared(cases, right):
    """Turn a function that returns the likely mistakes into a check; all arguments are as for `compare`."""

    def decorate(mistakes):
        return check(_named_after(mistakes, lambda student: compare(student, cases, mistakes(), right)))

    return decorate


def _named_after(function, other):
    other.__name__, other.__doc__, other.__module__ = function.__name__, function.__doc__, function.__module__
    return other


def compare(student, cases, mistakes, right):
    """Compare the student's function with worked cases, and with functions that make likely mistakes.

    A case is a tuple of arguments and what must be returned; `mistakes` maps sentences to functions. Returns the
    sentence `right`. It stops with the sentence of the first mistake that gives the student's answers, or else with the
    first case that differs.
    """
    name = student.__name__
    answers = [_typed(name, answer_of(student, arguments), expected) for arguments, expected in cases]
    if all(_same(answer, expected, strictly=True) for answer, (_, expected) in zip(answers, cases)):
        return right
    for sentence, mistake in mistakes.items():
        try:
            wrong = [mistake(*map(_copied, arguments)) for arguments, _ in cases]
        except Exception:  # a mistake that can't even be made on these numbers is not this one
            continue
        if all(map(_same, answers, wrong)):
            raise Stop(f"{name}: {sentence}.")
    for answer, (arguments, expected) in zip(answers, cases):
        if isinstance(expected, torch.Tensor) and answer.shape != expected.shape:
            raise Stop(f"{name} must return the shape {tuple(expected.shape)} here, not {tuple(answer.shape)}.")
        if not _same(answer, expected):
            big = any(isinstance(each, numpy.ndarray) for each in arguments)  # too much to show
            given = "…" if big else ", ".join(_shown(x) if isinstance(x, torch.Tensor) else str(x) for x in arguments)
            raise Stop(f"{name}({given}) must be {_shown(expected)}, yours is {_shown(answer)}.")
    raise AssertionError("some answer differs")


def answer_of(student, arguments):
    """Return the answer of the student's function to copies; stop with a sentence if it raises or returns nothing."""
    name, given = student.__name__, [_copied(value) for value in arguments]
    answer = failure = None
    try:
        answer = student(*given)
    except Exception as error:
        failure = error
    if failure is None and answer is not None and answer is not Ellipsis:
        for before, after in zip(arguments, given):
            if isinstance(before, torch.Tensor) and not torch.equal(before, after):
                raise Stop(f"{name} changes a tensor that it was given: work on a copy, made with .clone().")
        return answer
    if _has_blank(student):
        raise Stop(f"{name} still has a blank: replace the … with your own lines, then run both cells again.")
    if failure is None:
        raise Stop(f"{name} returned nothing: end it with return and your result.")
    said = f"{type(failure).__name__}: {str(failure).strip()}".splitlines()[0].rstrip(": .")
    raise Stop(f"{name} stopped with {said}{_line(student, failure)}.")


def _has_blank(function):
    """Return whether the source of a function still has a `...` in it."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False  # no source at hand
    slices = [node.slice for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    indices = {node for each in slices for node in ast.walk(each)}  # the … in logits[..., 0] is no blank
    blanks = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value is Ellipsis]
    return any(node not in indices for node in blanks)


def _copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value.copy() if hasattr(value, "copy") else value


def _line(student, error):
    """Return " (in line 3 of your function)" for the line of the student's function that an error came through."""
    code, step, number = getattr(student, "__code__", None), error.__traceback__, None
    while step:
        if step.tb_frame.f_code is code:
            number = step.tb_lineno - code.co_firstlineno + 1
        step = step.tb_next
    return f" (in line {number} of your function)" if number else ""


def _same(answer, expected, strictly=False):
    """Return whether two answers have the same shape and values; strictly: and are both True and False, or numbers."""
    if not isinstance(expected, torch.Tensor):
        return abs(float(answer) - expected) < 1e-5 * max(1.0, abs(expected))
    if not isinstance(answer, torch.Tensor) or answer.shape != expected.shape:
        return False
    if strictly and expected.dtype == torch.bool and answer.dtype != torch.bool:
        return False
    return torch.allclose(answer.detach().double(), expected.detach().double(), rtol=1e-4, atol=1e-5)


def _shown(value):
    """Write an answer in a few characters."""
    if isinstance(value, torch.Tensor):
        whole = value.detach().flatten()
        numbers = [round(each, 3) for each in whole[:6].tolist()]
        return str(numbers[0]) if not value.ndim else f"{numbers}"[:-1] + (", …]" if len(whole) > 6 else "]")
    return f"{float(value):.4g}"


def _typed(name, answer, expected):
    """Return an answer as what it is compared with; stop if it is something else."""
    if isinstance(expected, torch.Tensor) and expected.ndim:
        return tensor_of(name, answer, tuple(expected.shape))
    number = _number(answer)
    if number is None:
        raise Stop(f"{name} must return a single real number, not {kind_of(answer)}.")
    return torch.tensor(number) if isinstance(expected, torch.Tensor) else number


def _number(answer):
    """Return an answer as a float, or None if it isn't one real number."""
    if isinstance(answer, torch.Tensor):
        real = answer.numel() == 1 and _is_plain(answer) and answer.dtype != torch.bool
    elif isinstance(answer, (numpy.ndarray, numpy.generic)):
        real = answer.size == 1 and answer.dtype.kind in "iuf"
    else:
        real = isinstance(answer, (int, float)) and not isinstance(answer, bool)
    try:
        return float(answer.item() if hasattr(answer, "item") else answer) if real else None
    except OverflowError:
        return math.inf  # an int that no float can hold


def tensor_of(name, answer, shape):
    """Return an answer, a list of numbers too, as a tensor; stop if it isn't one of real numbers."""
    if isinstance(answer, (tuple, list)) and answer and all(isinstance(each, (int, float)) for each in answer):
        with contextlib.suppress(OverflowError, RuntimeError, ValueError):  # an int that no tensor can hold
            answer = torch.tensor(answer)
    if not isinstance(answer, torch.Tensor) or not _is_plain(answer):
        raise Stop(f"{name} must return a tensor of real numbers, of shape {shape}, not {kind_of(answer)}.")
    return answer


def _is_plain(tensor):
    """Return whether a tensor has real numbers in memory: it isn't complex, sparse, nested or on no device."""
    dense = tensor.layout == torch.strided and tensor.device.type != "meta" and not tensor.is_nested
    return dense and not tensor.is_complex()


def kind_of(answer):
    """Say what an answer is, such as "a Tensor of shape (3,)", and what is odd about it."""
    kind = type(answer).__name__
    text = f"{'an' if kind[0].lower() in 'aeiou' or kind == 'ndarray' else 'a'} {kind}"
    if isinstance(answer, torch.Tensor) and not _is_plain(answer):
        return f"{text} of {answer.dtype}, {answer.layout}".replace("torch.", "")
    if isinstance(answer, (numpy.ndarray, numpy.generic)) and answer.dtype.kind not in "biuf":
        text += f" of dtype {answer.dtype}"
    return text + (f" of shape {tuple(answer.shape)}" if hasattr(answer, "shape") else "")
