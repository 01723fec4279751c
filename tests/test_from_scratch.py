"""Notebook 11 writes the method again in plain PyTorch: here its numbers are held to the package's."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lirf_kit as lk

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "11_from_scratch.ipynb"
WEIGHTS = ("lambda_at", "lambda_cs", "lambda_kp", "lambda_os", "lambda_re", "lambda_pt")
KNOBS = (*WEIGHTS, "ridge", "widths", "epochs", "batch_size")


def code_cells(tag=None):
    """The source of the code cells, without IPython's own lines: those with a tag, or all that are the method."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        wanted = tag in tags if tag else not {"prediction", "remove-cell"} & set(tags)
        if cell["cell_type"] == "code" and wanted:
            yield "".join(line for line in cell["source"] if not line.startswith("%"))


@pytest.fixture(scope="module")
def scratch():
    """What the notebook's defining cells define; the cells that run and show something are left out."""
    names, threads = {}, torch.get_num_threads()
    for source in code_cells("definition"):
        exec(source, names)  # noqa: S102
    torch.set_num_threads(threads)
    return SimpleNamespace(**names)


def plain(state):
    """The package's weights under the notebook's names."""
    renamed = {re.sub(r"^(\d)\.0\.(?=conv|bn|downsample)", r"\1.", name): value for name, value in state.items()}
    return {name.replace("downsample", "shortcut"): value for name, value in renamed.items()}


def loaded(scratch, lower):
    """The notebook's lower blocks with the weights of the package's."""
    ours = scratch.lower_blocks(scratch.data.train.images, [stage[0].conv1.out_channels for stage in lower[2:]])
    weights = plain(lower.state_dict())
    ours.load_state_dict({name: value.view_as(ours.state_dict()[name]) for name, value in weights.items()})
    return ours.eval()


def test_the_notebook_has_at_most_200_lines_of_code():
    lines = [line for source in code_cells() for line in source.splitlines() if line.strip()] + ["%matplotlib inline"]
    assert 100 < len(lines) <= 200
    assert max(map(len, lines)) <= 120


def test_the_notebook_takes_only_the_data_from_the_package():
    method = set("\n".join(code_cells()).splitlines()) - set("\n".join(code_cells("comparison")).splitlines())
    tree = ast.parse("\n".join(code_cells()))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"copy", "torch", "torch.nn", "matplotlib.figure", "lirf_kit"}
    assert set(re.findall(r"\blk\.(\w+)", "\n".join(method))) == {"load_dataset", "preset", "split_by_class"}


def test_the_notebook_s_numbers_are_the_preset_s(scratch, config):
    for knob in KNOBS:
        assert getattr(scratch, knob) == getattr(config, knob), knob
    assert (scratch.deposit_epochs, scratch.tau) == (config.deposit_epochs, config.temperature)
    assert tuple(scratch.forgotten) == config.deposit_classes
    assert sorted(scratch.forgotten + scratch.preserved) == list(range(10))
    assert (config.split_after, config.keep, config.deposit_batch_size) == (3, 0.5, scratch.batch_size)
    written = {"container": "pruned", "relabel": "best_preserved", "recovery": "features", "preservation": "paper"}
    assert config.stages("deposit").items() >= (written | {"batch_statistics": "frozen"}).items()


def test_pruning_leaves_the_same_weights(scratch, original, config):
    theirs = plain(lk.prune_lower(original.lower, config.keep).state_dict())
    ours = scratch.pruned(loaded(scratch, original.lower)).state_dict()
    assert sorted(ours) == sorted(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name].view_as(value), msg=name)


@pytest.mark.parametrize("moment", ["at the start", "at the end"])
def test_every_term_and_the_gradient_are_the_package_s(moment, scratch, original, deposited, parts, config):
    target, module = deposited if moment == "at the end" else lk.start_deposit(original, parts.deposit_set, config)
    batch = parts.deposit_set.select(slice(50), parts.deposit_set.deposit_classes)
    reference = lk.original_reference(original, batch.images, config)
    theirs = lk.deposit_terms(target, module, batch, reference, torch.Generator(), config)
    ours_target, ours_module = loaded(scratch, target.lower), loaded(scratch, module.lower)
    ours = scratch.deposit_terms(ours_target, ours_module, target.upper, batch.images, batch.labels, *reference)
    assert sorted(ours) == sorted(theirs)
    for name, term in theirs.items():
        assert ours[name].item() == pytest.approx(term.item(), rel=1e-4, abs=1e-5), name
    for ours_lower, lower in ((ours_target, target.lower), (ours_module, module.lower)):
        gradients = torch.autograd.grad(theirs["loss"], list(lower.parameters()), retain_graph=True)
        expected = dict(zip(plain(dict(lower.named_parameters())), gradients))
        named = dict(ours_lower.named_parameters())
        found = dict(zip(named, torch.autograd.grad(ours["loss"], list(named.values()), retain_graph=True)))
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-3, msg=name)


def test_withdrawal_merges_as_the_package_does(scratch, deposited, recovered, parts):
    target, module = deposited
    ours = scratch.withdraw((target.lower, target.upper), module)
    with torch.no_grad():
        assert torch.equal(ours(parts.validation.images), recovered(parts.validation.images))


def test_a_whole_run_ends_where_the_package_s_does(scratch, data, parts, networks):
    lower, upper = scratch.train(data.train)
    target, module, history = scratch.deposit(lower, upper, parts.deposit_set)
    ours = {"original": torch.nn.Sequential(lower, upper), "target": torch.nn.Sequential(*target)}
    ours["recovered"] = scratch.withdraw(target, module)
    assert len(history) == 160
    ends = {name: sum(terms[name] for terms in history[-10:]) / 10 for name in history[0]}  # as the notebook reads them
    assert (
        0.7 < ends["attention_distance"] < 1.2
        and 0.02 < ends["class_scatter"] < 0.4 < 0.8 < history[0]["class_scatter"]
    )
    assert ends["recovery"] == pytest.approx(0.02, abs=0.01) and 1 < ends["removal"] < 2 < 4 < history[0]["removal"]
    for name, network in ours.items():
        for part in (parts.preservation_test, parts.deposit_test):
            assert scratch.accuracy(network, part) == pytest.approx(lk.accuracy(networks[name], part), abs=1.5), name
