"""The whole path over seeds, deposit sets and knobs, in parallel processes that save every finished run.

A run is one deposit set with one seed. All runs of a seed share its original, which is trained first. Each run's
results are saved to disk, so that an interrupted grid continues with the runs that are missing.
"""

import json
import math
import numbers
import os
import warnings
from collections.abc import Iterable

import joblib
import numpy
import pandas
import scipy.stats

from lirf_kit.artifacts import fingerprint, load_run, save_run, turn_to_make
from lirf_kit.config import LirfError, check_choice
from lirf_kit.data.images import load_dataset
from lirf_kit.data.partition import check_deposit_classes, split_by_class
from lirf_kit.devices import machine, progress_bar, resolve_device
from lirf_kit.evidence.metrics import results_table
from lirf_kit.evidence.references import REFERENCES, reference_networks
from lirf_kit.method.caching import load_or_deposit, load_or_train
from lirf_kit.method.containers import module_bytes, module_share
from lirf_kit.method.withdrawing import withdraw

DEPOSIT_SHARE = 0.3  # of the classes, as in the paper's tables
GRID_KNOBS = {"seed": "seeds", "deposit_classes": "deposit_sets"}  # and the argument that sets each of them
MOST_RUNS = 20_000  # in one grid; more would take weeks, and it would be long before the first one starts
METRICS = ("Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean", "L_at")
DIFFERENCES = {"ΔPre": "Pre Acc", "ΔDep": "Dep Acc", "ΔAvg": "Avg Acc"}  # from the original of the same run


def random_deposit_sets(num_classes, count, seed):
    """Draw distinct sets of deposit classes at random, each with three out of ten classes (the paper's share).

    Parameters
    ----------
    num_classes : int
        K.
    count : int
        How many sets to draw.
    seed : int

    Returns
    -------
    list of tuple of int

    Raises
    ------
    LirfError
        If `count` is below 1 or above the number of such sets.
    """
    size = max(1, round(DEPOSIT_SHARE * num_classes))
    if not 1 <= count <= math.comb(num_classes, size):
        raise LirfError(f"deposit_sets must be from 1 to {math.comb(num_classes, size)}, not {count}")
    if count > MOST_RUNS:
        raise LirfError(f"deposit_sets must be at most {MOST_RUNS}, not {count}")
    return draw_sets(num_classes, size, count, seed)


def draw_sets(num_classes, size, count, seed):
    """Draw distinct sets of classes at random, each of the same size: as many as asked, or as there are."""
    generator, drawn = numpy.random.default_rng(seed), {}
    while len(drawn) < min(count, math.comb(num_classes, size)):
        drawn[tuple(sorted(generator.choice(num_classes, size, replace=False).tolist()))] = None
    return list(drawn)


def results_over_seeds(config, seeds, deposit_sets=5, on="test", among="all", references=REFERENCES, jobs=None):
    """Repeat the whole path: for each seed one original, then a deposit and withdrawal for each of its deposit sets.

    Runs that are on disk are loaded. The others are computed in parallel by joblib; its ``parallel_config`` selects
    a different backend, such as a Dask or Ray cluster. A run that fails is named in a warning and left out.

    Parameters
    ----------
    config : Config
    seeds : int or sequence of int
        The seeds, or how many, counting up from the config's own.
    deposit_sets : int or sequence of sequences of int
        The sets of classes to deposit for each seed, each in a run of its own that starts from the original; or how
        many sets to draw at random for each seed.
    on : {"test", "validation"}
        Which part of the data to evaluate on.
    among : {"all", "part"}
        Which classes the arg max runs over, as for `accuracy`.
    references : sequence of str
        Which of `REFERENCES` to compute beside the original; "retrained" costs one training per run, "independent"
        two.
    jobs : int, optional
        The number of processes; by default one per core on the CPU, and a single one on a GPU.

    Returns
    -------
    pandas.DataFrame
        One row per run and network: seed, deposit classes, network, the columns of `results_table`, the bytes that the
        module takes on disk, and their share of what the lower blocks take.

    Raises
    ------
    LirfError
        If a seed or deposit set is invalid or named twice, or if every run failed.
    """
    check_choice("on", on, ("test", "validation"))
    check_choice("among", among, ("all", "part"))
    for name in references:
        check_choice("references", name, REFERENCES)
    return over_grid("result", _measure, (on, among, tuple(references)), config, seeds, deposit_sets, jobs)


def over_grid(kind, measure, asked, config, seeds, deposit_sets, jobs=None):
    """Make a run for every seed and deposit set, in parallel, once the original of each seed is there.

    `measure` takes the data, a config of the seed, the deposit classes, and what is asked, a tuple of plain values; it
    returns a list of dict, the rows of a run. `kind` is what a run is saved as (see `artifacts.MADE_BY`). The other
    parameters and the errors are as for `results_over_seeds`. Returns the rows of all runs, with seed and deposit
    classes; their `attrs` say how many runs failed, and on which machines the others were measured.
    """
    runs = [(config.replace(seed=seed), classes) for seed, classes in _grid(config, seeds, deposit_sets)]
    workers = _workers(config, len(runs), jobs)
    originals = {turned.seed: (turned,) for turned, _ in runs}
    failed = dict(zip(originals, _in_parallel(_keep_original, originals.values(), workers, "originals")))
    possible = [run for run in runs if failed[run[0].seed] is None]
    calls = [(kind, measure, *run, asked) for run in possible]
    outcomes = _in_parallel(_found_or_measured, calls, workers, "seeds × deposit sets")
    rows = [row for outcome in outcomes if isinstance(outcome, list) for row in outcome]
    reasons = [f"seed {seed}: {reason}" for seed, reason in failed.items() if reason is not None]
    reasons += [
        f"seed {turned.seed}, deposit classes {classes}: {outcome}"
        for (turned, classes), outcome in zip(possible, outcomes)
        if isinstance(outcome, str)
    ]
    _report("run", rows, reasons)
    results = pandas.DataFrame(rows).drop(columns="machine", errors="ignore")
    results.attrs = {"failed": len(reasons), "machines": _distinct(row.get("machine") for row in rows)}
    return results


def joined(tables):
    """Put the results of several grids below one another, and what their `attrs` say together."""
    results = pandas.concat(tables, ignore_index=True)
    machines = [each for table in tables for each in table.attrs["machines"]]
    results.attrs = {"failed": sum(table.attrs["failed"] for table in tables), "machines": _distinct(machines)}
    return results


def _distinct(machines):
    """Return each machine once, in order; what isn't known is left out."""
    return list({json.dumps(each): each for each in machines if each}.values())


def _report(what, found, reasons):
    """Warn of runs or variants that failed; raise a `LirfError` if nothing else was found."""
    if not found:
        raise LirfError(f"every {what} failed; {reasons[0]}")
    if reasons:
        warnings.warn(f"{len(reasons)} failed and are left out; {'; '.join(reasons)}", stacklevel=3)


def _grid(config, seeds, deposit_sets):
    """Return the seed and deposit classes of each run, checked before anything is computed."""
    for name, given in {"seeds": seeds, "deposit_sets": deposit_sets}.items():
        if not isinstance(given, (numbers.Integral, Iterable)):
            raise LirfError(f"{name} must be a whole number or a list, not {given!r}")
    if isinstance(seeds, numbers.Integral):
        if seeds < 1:
            raise LirfError(f"seeds must be at least 1, not {seeds}")
        if seeds > MOST_RUNS:
            raise LirfError(f"seeds must be at most {MOST_RUNS}, not {seeds}")
        seeds = range(config.seed, config.seed + seeds)
    seeds, num_classes = list(seeds), len(load_dataset(config).class_names)
    drawn = isinstance(deposit_sets, numbers.Integral)
    if drawn:
        named = random_deposit_sets(num_classes, deposit_sets, config.seed)
    else:
        named = [check_deposit_classes(classes, num_classes) for classes in deposit_sets]
    if len(seeds) * len(named) > MOST_RUNS:
        raise LirfError(f"seeds and deposit_sets must make at most {MOST_RUNS} runs, not {len(seeds) * len(named)}")
    seeds = [config.replace(seed=seed).seed for seed in seeds]
    for name, values in {"seeds": seeds, "deposit_sets": named}.items():
        if not values:
            raise LirfError(f"{name} must name at least one, not none")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise LirfError(f"{name} must name each one once, not {twice} twice")
    sets = {seed: random_deposit_sets(num_classes, deposit_sets, seed) if drawn else named for seed in seeds}
    return [(seed, classes) for seed in seeds for classes in sets[seed]]


def _workers(config, runs, jobs):
    """Return the number of processes to use."""
    if jobs is None:
        return min(runs, joblib.cpu_count()) if resolve_device(config.device).type == "cpu" else 1
    if not isinstance(jobs, int) or jobs < 1:
        raise LirfError(f"jobs must be a whole number at least 1, not {jobs!r}")
    return jobs


def _in_parallel(function, calls, workers, title):
    """Return the function's result for each call, or an error message if the call failed, with a progress bar.

    If the backend itself fails, for example because a worker process was killed, the unfinished calls are made again,
    one at a time, so that only the call that kills its worker gets the error.
    """
    calls = list(calls)
    environment = {name: value for name, value in os.environ.items() if name.startswith(("LIRF_KIT", "TQDM"))}
    jobs = [joblib.delayed(_guarded)(environment, function, call, place) for place, call in enumerate(calls)]
    backend, _ = joblib.parallel.get_active_backend()
    return_as = "generator_unordered" if getattr(backend, "supports_return_generator", False) else "list"
    found, reasons = {}, {}
    with progress_bar(total=len(calls), desc=title, unit="run") as progress:

        def run(places):
            try:
                for place, outcome in joblib.Parallel(workers, return_as=return_as, batch_size=1)(
                    jobs[place] for place in places
                ):
                    found[place] = outcome
                    progress.update()
            except Exception as error:
                reasons.update(dict.fromkeys(set(places) - found.keys(), _sentence(error)))

        run(range(len(calls)))
        for place in [place for place in range(len(calls)) if place not in found]:
            run([place])
    return [found[place] if place in found else reasons.get(place, "it was not run") for place in range(len(calls))]


def _guarded(environment, function, arguments, place):
    """Call a function and return the call's place and the result, or an error message in place of the result.

    The caller's environment variables are set first, because a reused worker may still have old ones.
    """
    os.environ.update(environment)
    try:
        return place, function(*arguments)
    except Exception as error:
        return place, _sentence(error)


def _sentence(error):
    """Return an error's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


def _keep_original(config):
    """Train a seed's original, unless it is on disk."""
    if load_or_train(load_dataset(config), config).checkpoint is not None:
        raise KeyboardInterrupt  # no run may use a half-trained network


def _found_or_measured(kind, measure, config, deposit_classes, asked):
    """Return one run's rows: loaded from disk if they are there, otherwise measured and saved.

    Each row says on which machine it was measured, even if it is loaded on another one.
    """
    data = load_dataset(config)
    made_from = {
        "config": config.stages("seed", "network", "optimiser", "training", "deposit"),
        "data": fingerprint(data.images, data.labels, data.train_indices, data.validation_indices, data.test_indices),
        "deposit_classes": list(deposit_classes),
        "asked": [list(each) if isinstance(each, tuple) else each for each in asked],
    }
    found = load_run(kind, made_from)
    if found is None:
        with turn_to_make(kind, made_from) as found:
            if found is None:
                rows = measure(data, config, deposit_classes, *asked)
                found = {}, {"rows": rows, "machine": machine(resolve_device(config.device))}
                save_run(kind, made_from, *found)
    run = {"seed": config.seed, "deposit classes": deposit_classes}
    return [run | row | {"machine": found[1]["machine"]} for row in found[1]["rows"]]


def _measure(data, config, deposit_classes, on, among, references):
    """Run the whole path once, and return a row for each network."""
    parts = split_by_class(data, deposit_classes)
    original = load_or_train(data, config)
    target, deposit_module = load_or_deposit(original, parts.deposit_set, config)
    networks = {"original": original, "target": target, "recovered": withdraw(target, deposit_module)}
    networks |= reference_networks(original, data, parts, config, references)
    table = results_table(networks, parts, on, among).rename_axis("network").reset_index()
    size = {"module bytes": module_bytes(deposit_module), "module share": module_share(deposit_module, target)}
    return table.assign(**size).to_dict("records")


def sweep(config, variants, seeds, deposit_sets=5, on="validation", jobs=None):
    """Repeat `results_over_seeds` for several variants of the config, without the references.

    A variant whose runs all fail is named in a warning and left out.

    Parameters
    ----------
    config : Config
    variants : dict of str to dict
        For each variant's name, the knobs that it turns: ``{"no pruning": {"keep": 1.0}}``.
    seeds, deposit_sets, on, jobs
        As for `results_over_seeds`.

    Returns
    -------
    pandas.DataFrame
        As returned by `results_over_seeds`, with "variant" as an additional first column.

    Raises
    ------
    LirfError
        Before anything runs, if a knob's value is invalid or the grid sets the knob itself; or if every variant failed.
    """
    if not variants:
        raise LirfError("variants must name at least one, not none")
    turned = {name: _turned(config, name, changes) for name, changes in variants.items()}  # all valid, or none runs
    results, reasons = [], []
    for name, variant in turned.items():
        try:
            found = results_over_seeds(variant, seeds, deposit_sets, on, references=(), jobs=jobs)
            results.append(found.assign(variant=name))
        except LirfError as error:
            reasons.append(f"{name}: {error}")
    _report("variant", results, reasons)
    together = joined(results)
    together.attrs["failed"] += len(reasons)
    return together[["variant", *together.columns.drop("variant")]]


def _turned(config, name, changes):
    """Return a variant's config; raise a `LirfError` if it turns a knob that the grid sets for each run."""
    for knob, argument in GRID_KNOBS.items():
        if knob in changes:
            raise LirfError(f"variant {name!r} must not turn {knob}: {argument} sets it for each run")
    return config.replace(**changes)


def ablations(config):
    """Return the variants of an ablation table: the config itself, each part of the method left out, and other cuts.

    The alternatives for L_kp and L_re are included too. Those for L_re have their own weights, because the three
    recovery losses have different units.

    Parameters
    ----------
    config : Config

    Returns
    -------
    dict of str to dict
        As `sweep` takes them.
    """
    held, other = ("softmax", "paper") if config.preservation == "logits" else ("logits", "logits")
    variants = {
        "the whole method": {},
        "without L_at": {"lambda_at": 0.0},
        **({"without L_cs": {"lambda_cs": 0.0}} if config.lambda_cs else {}),
        **({"without L_os": {"lambda_os": 0.0}} if config.lambda_os else {}),
        **({"without L_ap": {"lambda_ap": 0.0}} if config.lambda_ap else {}),
        "without L_kp": {"lambda_kp": 0.0},
        f"L_kp of {held}": {"preservation": other},
        "without L_pt": {"lambda_pt": 0.0},
        "without L_re": {"lambda_re": 0.0},
        "L_re distilled": {"recovery": "distilled", "lambda_re": 0.1},
        "L_re from labels": {"recovery": "paper", "lambda_re": 1.0},
        "without pruning": {"keep": 1.0},
    }
    cuts = [stage for stage in range(1, len(config.widths) + 1) if stage != config.split_after]
    return variants | {f"cut after stage {stage}": {"split_after": stage} for stage in cuts}


def summary(results, interval=False):
    """Return the mean ± standard deviation over the runs of `results_over_seeds` or `sweep`.

    Parameters
    ----------
    results : pandas.DataFrame
    interval : bool
        Give the 95 % confidence interval of the mean instead of the standard deviation: Student's t over the means of
        the seeds, because runs of one seed share their original and are not independent. It needs at least two seeds.

    Returns
    -------
    pandas.DataFrame
        One row per network (and variant): the metrics, the differences ΔPre, ΔDep and ΔAvg from the original of the
        same run in points, and the number of runs n. A dash stands where a metric doesn't apply.
    """
    spread = _interval if interval else _deviation
    results = with_differences(results)
    by = ["variant", "network"] if "variant" in results else "network"
    rows = {
        name: {metric: spread(runs, metric) for metric in (*METRICS, *DIFFERENCES)} | {"n": len(runs)}
        for name, runs in results.groupby(by, sort=False)
    }
    return pandas.DataFrame.from_dict(rows, orient="index")


def interval(runs, metric):
    """Return the mean of one network's runs and the half-width of its 95 % confidence interval over the seeds' means.

    Parameters
    ----------
    runs : pandas.DataFrame
        One network's rows of `results_over_seeds`.
    metric : str

    Returns
    -------
    mean, reach : float
        The interval is mean ± reach; the reach is NaN for fewer than two seeds.
    """
    means = runs.dropna(subset=metric).groupby("seed")[metric].mean()
    reach = scipy.stats.t.ppf(0.975, len(means) - 1) * means.sem() if len(means) > 1 else math.nan
    return float(means.mean()), float(reach)


def with_differences(results):
    """Return results with added columns ΔPre, ΔDep and ΔAvg: the differences from the original of the same run."""
    run = [column for column in ("variant", "seed", "deposit classes") if column in results]
    original = results[results["network"] == "original"].set_index(run)
    results = results.set_index(run)
    for name, metric in DIFFERENCES.items():
        results[name] = results[metric] - original[metric].reindex(results.index)
    return results.reset_index()


def _deviation(runs, metric):
    values = runs[metric].dropna()
    if not len(values):
        return "–"
    return _signed(values.mean(), metric) + (f" ± {values.std():.2f}" if len(values) > 1 else "")


def _interval(runs, metric):
    mean, reach = interval(runs, metric)
    if math.isnan(reach):
        return "–"
    return "{} [{}, {}]".format(*(_signed(value, metric) for value in (mean, mean - reach, mean + reach)))


def _signed(value, metric):
    """Format a number; a difference gets its sign."""
    return f"{round(value, 2) + 0.0:{'+' if metric in DIFFERENCES else ''}.2f}"  # + 0.0 turns -0.0 into 0.0
