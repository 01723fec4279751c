"""What is promised to be installed, in pyproject.toml, environment.yml and requirements.lock; and the README's word."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import lirf_kit as lk

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def requirements(project):
    """The package's and the dev extra's direct dependencies: names and ranges."""
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return {requirement.name: requirement.specifier for requirement in map(Requirement, lines)}


@pytest.fixture(scope="module")
def with_all_extras(project, requirements):
    """The other extras' dependencies too, which the conda environment leaves out."""
    extras = project["optional-dependencies"]
    extra = map(Requirement, extras["browser"] + extras["gpu"] + extras["cluster"])
    return requirements | {requirement.name: requirement.specifier for requirement in extra}


def test_the_conda_environment_has_the_same_names_and_ranges(project, requirements):
    # a list entry of the file is "  - name>=range"; the deeper ones below "pip:" are pip's
    entries = re.findall(r"^  - ([^:\n]+)$", (ROOT / "environment.yml").read_text(encoding="utf-8"), re.MULTILINE)
    conda = {Requirement(entry).name: Requirement(entry).specifier for entry in entries if entry != "conda-forge"}
    assert conda.pop("pip") == ""
    assert conda.pop("python") == project["requires-python"]
    assert conda == {CONDA_NAMES.get(name, name): specifier for name, specifier in requirements.items()}


def test_the_conda_environment_comes_from_conda_forge_and_holds_the_kit():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert re.search(r"^channels:\n  - conda-forge\ndependencies:$", text, re.MULTILINE)
    assert re.search(r"^  - pip:\n      - -e \.$", text, re.MULTILINE)


def test_the_lock_pins_every_direct_dependency_and_nothing_else_within_its_range(with_all_extras):
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in lock.splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert sorted(pins) == sorted(with_all_extras)
    for name, version in pins.items():
        assert re.fullmatch(r"[0-9.]+", version)  # plain, without +cpu or the like: it also holds on a Mac
        assert Version(version) in with_all_extras[name], name


def test_the_ranges_are_as_promised(project, requirements):
    assert project["requires-python"] == ">=3.11"
    assert Version("2.11") in requirements["torch"]


def test_the_package_has_the_notebooks_tools_only_in_its_dev_extra(project):
    names = {Requirement(line).name for line in project["dependencies"]}
    assert not names & {"anywidget", "ipywidgets", "ipykernel", "jupyterlab", "nbconvert", "nbval", "pytest"}


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_cell_with_checked_outputs_shows_a_progress_bar(notebook):
    # the bar is there in a first run only, so a second run, which finds everything saved, would hide the fault
    calls = r"\b(load_or_\w+|deposit|train_original|retrain|\w+_over_seeds|sweep|relearning_table|distillation_table)\("
    slow = re.compile(calls)
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "nbval-check-output" in cell["metadata"].get("tags", []):
            assert not slow.search("".join(cell["source"]))


def test_every_notebook_is_on_the_readme_s_map():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{notebook.name})" in readme


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    missing = [link for link in links if not (ROOT / link).exists() and not link.startswith("notebooks/")]
    assert links and not missing


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def table_of(file):
    """Return the page's text that shows the table of a file of runs, and the table's lines from its header on."""
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "benchmarks/RESULTS.md")]
    (page,) = [page for page in pages if f"<!-- {file} -->" in page]
    _, _, rest = page.partition(f"<!-- {file} -->\n\n")
    return page, rest.partition("\n\n")[0].splitlines()


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("results-*-seeds.csv")), ids=lambda file: file.stem)
def test_the_shown_results_are_those_of_the_committed_runs(file):
    table = lk.summary(pandas.read_csv(file))
    page, (header, _, *rows) = table_of(file.name)
    assert f"over the {table['n'].iloc[0]} runs" in page.replace("\n", " ")
    assert [cells(row) for row in rows] == [[name, *table.loc[name, cells(header)[1:]]] for name in table.index]


@pytest.mark.parametrize("file", ["evidence-digits-5-seeds.csv", "evidence-cifar10-class-2-seeds.csv"])
def test_the_shown_evidence_is_that_of_the_committed_runs(file):
    runs = pandas.read_csv(ROOT / "benchmarks" / file)
    runs["network"] = runs["network"].str.replace("retrained, another seed", "retrained")
    values = runs[runs["task"] == "all classes"].groupby(["test", "network"])["value"]
    _, (header, _, *rows) = table_of(file)
    assert len(rows) == 6
    tests = {
        "linear probe": "linear probe, stage 3", "MLP": "MLP probe, stage 3", "kNN": "kNN (10)",
        "5 shots": "class means, 5 a class", "own answers": "own answers",
        "after new statistics": "own answers, new statistics",
    }  # fmt: skip
    for row in rows:
        name, *shown = cells(row)
        keys = [(tests[column], name) for column in cells(header)[1:]]
        assert shown == [f"{values.mean()[key]:.1f} ± {values.std()[key]:.1f}" for key in keys]


def test_everything_public_is_there_and_documented():
    for name in lk.__all__:
        assert getattr(lk, name).__doc__, name


def test_the_readme_s_speeds_are_those_of_the_committed_measurement():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    measured = json.loads((ROOT / "benchmarks" / "bench.json").read_text())
    assert f"{measured['input_path']['ratio']:.0f} times the images per second" in readme
    assert f"{100 * measured['training_step']['peak_share']:.0f} % of the machine's own matrix product" in readme
    assert f"a deposit step cost {measured['deposit_step']['ratio']:.1f} training steps" in readme


def test_an_unknown_public_name_is_answered_with_the_nearest_one():
    sentence = r"^module 'lirf_kit' has no attribute 'depositt'; did you mean 'deposit'\?$"
    with pytest.raises(AttributeError, match=sentence):
        _ = lk.depositt
    with pytest.raises(AttributeError, match="^module 'lirf_kit' has no attribute 'xyzzy'$"):
        _ = lk.xyzzy


def test_names_are_listed_without_importing_what_is_behind_them():
    asked = "import sys, lirf_kit as lk; print('deposit' in dir(lk), {'torch', 'pandas', 'sklearn'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() == "True set()", said.stderr
    assert sorted(lk.__all__) == sorted(dir(lk))


def test_every_public_name_is_there_on_a_machine_without_jupyter():
    hidden = "import sys; sys.modules |= dict.fromkeys(('ipywidgets', 'anywidget', 'IPython')); import lirf_kit as lk; "
    asked = hidden + "print(all(getattr(lk, name) is not None for name in lk.__all__))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=120)
    assert said.stdout.strip() == "True", said.stderr


def test_the_shown_banks_are_those_of_the_committed_runs():
    runs = pandas.read_csv(ROOT / "benchmarks/bank-digits-5-seeds.csv")
    first = runs.groupby(["sizes", "seed", "deposit classes"])["order"].transform("first") == runs["order"]
    _, (header, _, *rows) = table_of("bank-digits-5-seeds.csv")
    assert len(rows) == 14
    sizes = {"1, 1, 1": "1,1,1", "2, 2, 1": "2,2,1", "five of one": "1,1,1,1,1", "nine of one": "1,1,1,1,1,1,1,1,1"}
    columns = {"forgotten, mean": "forgotten", "highest": "most remembered"}
    for row in rows:
        deposits, state, *shown = cells(row)
        found = lk.bank_summary(runs[first & (runs["sizes"] == sizes[deposits])]).loc[state]
        for column, value in zip(cells(header)[2:], shown):
            number = found[columns.get(column, column)]
            signed = "" if column in columns else "+"
            assert value == ("–" if pandas.isna(number) else f"{number:{signed}.2f}")
