"""``python -m lirf_kit``: the figures, the tables, and a check of the environment, from the command line."""

import argparse
import ast
import contextlib
import errno
import json
import math
import os
import sys
import time
import warnings

import lirf_kit as lk

BANK_PLANS = [(1, 1, 1), (2, 2, 1), (1,) * 5, (1,) * 9]  # how many classes each deposit takes out


def main(arguments=None):
    """Run a command; return its exit status: 0, 1 if some runs failed, or 2 after one sentence on what was wrong."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may lack a letter, such as Δ
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        status = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the program that reads the output has stopped; the files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"lirf_kit: the disk is full, so the output is cut off: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"lirf_kit: {error.name} is missing: python -m lirf_kit doctor says what to do", file=sys.stderr)
        return 2
    except lk.LirfError as error:
        print(f"lirf_kit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lirf_kit: interrupted; what was finished before is kept", file=sys.stderr)
        return 130
    return status or 0


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def _parser():
    """Return the command line's grammar."""
    parser = _Parser(prog="lirf_kit", description="Learning with Recoverable Forgetting, for teaching.")
    commands = parser.add_subparsers(required=True, parser_class=_Parser)

    def command(run, *parents):
        """Add the command that a function runs, with the options that it shares with others."""
        summary = run.__doc__.partition("\n")[0].rstrip(".")
        added = commands.add_parser(run.__name__[1:], help=summary, description=run.__doc__, parents=parents)
        added.set_defaults(command=run)
        return added

    def option(*names, **about):
        """Return an option as a parent, for commands to share."""
        parent = argparse.ArgumentParser(add_help=False)
        parent.add_argument(*names, **about)
        return parent

    def count(name, default, words):
        words = f"{words} (default: {default})"
        return option(f"--{name}", type=int, default=default, metavar="N", help=words)

    def sets(default):
        return count("deposit-sets", default, "random deposit sets for each seed")

    def preset(default):
        return option("--preset", default=default, metavar="NAME", help=f"data set and recipe (default: {default})")

    turned = option("--set", action="append", default=[], metavar="KNOB=VALUE", help="turn a knob of the preset")
    shared = [
        option("--folder", metavar="FOLDER", help="your own images, train/<class>/*, instead of the preset's"),
        option("--seed", type=int, default=0, metavar="N", help="seed of everything random (default: 0)"),
        option("--device", default="auto", metavar="auto|cpu|cuda|mps", help="default: CUDA, then CPU"),
        option("--out", metavar="FOLDER", help="folder to write to (default: figures, or else benchmarks)"),
    ]
    path = [preset("digits"), turned, *shared]
    named = option("--data-name", metavar="NAME", help="what to call the data in tables, with --folder")
    jobs = option("--jobs", type=int, metavar="N", help="processes (default: one a core; one on a GPU)")
    grid = [*path, sets(5), jobs, named]
    unseen = option("--on", default="test", metavar="test|validation", help="unseen images (default: test)")
    few = option("--per-class", type=int, metavar="N", help="training images of each class to use (default: all)")
    once, twice = (count("seeds", number, "training seeds") for number in (1, 2))

    command(_figures, *path)
    table = command(_table, *grid)
    table.add_argument("--seeds", type=int, metavar="N", help="number of training seeds, each with random deposit sets")
    table.add_argument(
        "--references", nargs="*", metavar="NAME", help="of retrained, independent, 'head masking' (default: all)"
    )
    table.add_argument(
        "--among", default="all", metavar="all|part", help="arg max over all classes, or over the part's (default: all)"
    )
    evidence = command(_evidence, *grid, once, unseen, few)
    evidence.add_argument("--relearning", action="store_true", help="also continue training every network")
    command(_distillation, *grid, once, unseen, few, count("epochs", 8, "epochs of each student"))
    command(_containers, *grid, once, unseen)
    bank = command(_bank, *grid, once, unseen)
    bank.add_argument(
        "--sizes", action="append", metavar="1,1,1", help="classes that each deposit takes out; may be given again "
        "(default: 1,1,1 in all orders, 2,2,1, and five and nine deposits of one class)",
    )  # fmt: skip
    bank.add_argument(
        "--choices", type=int, metavar="N", help="choices of classes for each seed (default: 3; 1 with more than three "
        "deposits)",
    )  # fmt: skip
    bank.add_argument("--teacher", default="original", metavar="original|target", help="of the modules")
    command(_ablation, *grid, twice)
    sweep = command(_sweep, *grid, twice)
    sweep.add_argument("knob", metavar="KNOB")
    sweep.add_argument("values", nargs="+", metavar="VALUE")
    bench = command(_bench, turned, *shared, count("runs", 3, "runs of the preset, each with its own seed"))
    bench.add_argument("--preset", metavar="NAME", help="measure this preset's whole run instead of the parts")
    bench.add_argument("--no-peer", dest="peer", action="store_false", help="leave out the usual ResNet-18 recipe")
    timed, seeds = count("runs", 3, "timed runs of the whole path"), count("seeds", 5, "training seeds of the table")
    gpu = command(_gpu, preset("cifar10"), turned, *shared, timed, seeds, sets(3), named)
    gpu.add_argument(
        "--references", nargs="*", default=["head masking", "retrained"], metavar="NAME", help="of 'head masking', "
        "retrained, independent; the table is written again after each one (default: the first two)",
    )  # fmt: skip
    diagrams = command(_diagrams)
    diagrams.add_argument("--out", default="notebooks/images", metavar="FOLDER", help="default: notebooks/images")
    slides = command(_slides)
    slides.add_argument("--figures", default="figures", metavar="FOLDER", help="with the kit's figures (figures)")
    slides.add_argument("--out", default="slides", metavar="FOLDER", help="folder to write to (default: slides)")
    editions = command(_editions)
    editions.add_argument("--source", default="notebooks", metavar="FOLDER", help="with the notebooks (notebooks)")
    editions.add_argument("--out", default="editions", metavar="FOLDER", help="folder to write to (default: editions)")
    editions.add_argument("--only", choices=["student", "instructor"], help="write this one alone, not both")
    doctor = command(_doctor, *path)
    doctor.add_argument(
        "--class", dest="for_class", action="store_true", help="before class: also disk space, a run of some seconds, "
        "and a line to send to your lecturer",
    )  # fmt: skip
    commands.metavar = " | ".join(commands.choices)
    return parser


def _figures(options):
    """The whole path once: figures and results."""
    from lirf_kit.evidence.references import OUTPUT_ALONE

    config, out = _config(options), _folder(options)
    data, parts, networks = _path(config)
    with _timed("references"):
        beside = lk.reference_networks(networks["original"], data, parts, config)
    table = lk.results_table(networks | beside, parts)
    shown_too = networks | {"retrained": beside["retrained"]}
    outside = config.replace(**OUTPUT_ALONE)
    with _timed("deposit, output alone"):
        pair = lk.load_or_deposit(networks["original"], parts.deposit_set, outside)
    at_the_output = {"target, output alone": pair[0], "recovered, output alone": lk.withdraw(*pair)}
    with _timed("features and t-SNE"):
        embedded = shown_too | at_the_output
        embeddings = lk.embed_networks(embedded, parts.test, config)
        told = lk.with_neighbours(lk.results_table(embedded, parts), embedded, parts)
    shown = parts.deposit_set.deposit_classes
    pictures = {
        "samples": lk.plot_samples(data.train.select(slice(None), shown)),
        "training": lk.plot_history(networks["original"].history, "training the original"),
        "deposit": lk.plot_history(networks["target"].history, "deposit"),
        "tsne": lk.plot_tsne(_some(embeddings, networks), parts.test, told),
        "tsne-retrained": lk.plot_tsne(_some(embeddings, shown_too), parts.test, told),
        "tsne-outside": lk.plot_tsne(_some(embeddings, ["original", *at_the_output]), parts.test, told),
        "round-trip": lk.plot_round_trip(lk.class_accuracies(shown_too, parts.test), shown),
        "confusions": lk.plot_confusions(
            {name: lk.confusion(network, parts.test) for name, network in shown_too.items()}
        ),
    }
    with _timed("drawing and writing"):
        written = [lk.save_figure(figure, out, f"{name}-{options.preset}")[0] for name, figure in pictures.items()]
        written.append(_write_text(table.to_csv(), out / f"results-{options.preset}.csv"))
    print(f"\n{table.to_string(na_rep='–')}")
    print(f"\nwritten, the figures also as SVG and PDF: {', '.join(str(path) for path in written)}")


def _some(embeddings, names):
    """Return the embeddings of some networks."""
    return {name: embeddings[name] for name in names}


def _table(options):
    """The results, over seeds if asked."""
    from lirf_kit.evidence.references import REFERENCES

    references = REFERENCES if options.references is None else options.references
    config = _config(options)
    _check_table(references, options.seeds, options.among)
    out = _folder(options)
    if options.seeds is None:
        data, parts, networks = _path(config)
        with _timed("references"):
            networks |= lk.reference_networks(networks["original"], data, parts, config, references)
        table = lk.results_table(networks, parts, among=options.among)
        path = _write_text(table.to_csv(), out / f"results-{options.preset}.csv")
        print(f"\n{table.to_string(na_rep='–')}")
        results = table
    else:
        results = lk.results_over_seeds(
            config, options.seeds, options.deposit_sets, "test", options.among, references, options.jobs
        )
        name = f"results-{options.preset}-{options.seeds}-seeds{'' if options.among == 'all' else '-own-part'}.csv"
        protocol = "test part, all classes" if options.among == "all" else "test part, own part's classes"
        path = _write_results(results, out / name, config, options, protocol)
        print(
            f"\n95 % confidence interval of the mean, over the seeds\n{lk.summary(results, interval=True).to_string()}"
        )
    return _status(results, path)


def _check_table(references, seeds, among="all"):
    """Raise a `LirfError` now, not after many minutes, if one of the table's options is wrong."""
    from lirf_kit.config import check_choice
    from lirf_kit.evidence.references import REFERENCES

    for name in references:
        check_choice("references", name, REFERENCES)
    if seeds is not None and seeds < 1:
        raise lk.LirfError(f"seeds must be at least 1, not {seeds}")
    check_choice("among", among, ("all", "part"))


def _evidence(options):
    """Is it forgotten? Every test on every network, over seeds."""
    from lirf_kit.evidence.laboratory import protocol

    config, out = _config(options), _folder(options)
    results = lk.evidence_over_seeds(
        config, options.seeds, options.deposit_sets, options.on, options.per_class, options.relearning, options.jobs
    )
    table = lk.evidence_summary(results)
    name = f"evidence-{options.preset}-{options.seeds}-seeds"
    lk.save_figure(lk.plot_evidence(table), out, name)
    kept = results[["seed", "deposit classes", "test", "task", "network", "value", "note"]].round(3)
    asked = protocol(options.on, options.per_class, options.relearning)
    path = _write_about(kept, out / f"{name}.csv", config, options, asked)
    rows = table.assign(cell=[_cell(row) for row in table.itertuples()])
    wide = rows.pivot_table("cell", ["test", "task", "unit"], "network", "first", sort=False)
    print(wide.to_string(na_rep="–"))
    last = [f"{probe} probe, stage {config.split_after}" for probe in ("linear", "MLP")]
    read = table["test"].isin([*last, "kNN (10)", "class means, 5 a class"])
    closed = table[read & table["network"].str.startswith("target")]
    print("\nhow much of the gap between original and retrained networks is closed, in percent (100: as if never seen)")
    print(closed.pivot_table("closed", ["test", "task"], "network", sort=False).round(0).to_string(na_rep="–"))
    return _status(results, path)


def _cell(row):
    """Write a mean, and its standard deviation where there is one."""
    return f"{row.value:.1f}" + (f" ± {row.deviation:.1f}" if row.n > 1 else "")


def _distillation(options):
    """What students learn from each teacher, over seeds."""
    from lirf_kit.evidence.distillation import protocol

    config, out = _config(options), _folder(options)
    results = lk.distillation_over_seeds(
        config, options.seeds, options.deposit_sets, options.on, options.per_class, options.epochs, options.jobs
    )
    kept = results[["seed", "deposit classes", "test", "task", "network", "value"]].round(3)
    path = out / f"distillation-{options.preset}-{options.seeds}-seeds.csv"
    asked = protocol(options.on, options.per_class, options.epochs)
    _write_about(kept, path, config, options, asked)
    by = ["test", "task", "network"]
    means = results.groupby(by, sort=False)["value"].agg(value="mean", deviation="std", n="count").reset_index()
    means["cell"] = [_cell(row) for row in means.itertuples()]
    print(f"\n{_data_name(config, options)}, {asked}")
    print(f"mean ± standard deviation over the runs (n = {means['n'].max()}), in percent; one column per teacher")
    print(means.pivot_table("cell", by[:2], "network", "first", sort=False).to_string(na_rep="–"))
    return _status(results, path)


def _containers(options):
    """Ways to keep what was forgotten: bytes, recovery, thieves."""
    config, out = _config(options), _folder(options)
    results = lk.custody_over_seeds(config, options.seeds, options.deposit_sets, options.on, options.jobs)
    summary = lk.custody_summary(results)
    name = f"containers-{options.preset}-{options.seeds}-seeds"
    path = _write_about(results.round(4), out / f"{name}.csv", config, options, f"{options.on} part")
    lk.save_figure(lk.plot_custody(summary), out, name)
    print(f"\nmeans over n runs; Δ, mean and trained on: points from the original\n{summary.to_string()}")
    return _status(results, path)


def _bank(options):
    """Several deposits, any subset withdrawn; the order; many deposits."""
    from lirf_kit.evidence.experiments import joined

    config, out = _config(options, lk.bank_recipe), _folder(options)
    plans = [_sizes(text) for text in options.sizes] if options.sizes else BANK_PLANS
    found = []
    for sizes in plans:
        orders = math.factorial(len(sizes)) if sizes == BANK_PLANS[0] else 1
        choices = options.choices if options.choices is not None else 3 if len(sizes) <= 3 else 1
        asked = options.seeds, sizes, choices, orders, options.on, options.teacher, options.jobs
        results = lk.bank_over_seeds(config, *asked)
        first = results[results["order"] == results["order"].iloc[0]]
        print(f"\ndeposits of {', '.join(map(str, sizes))} classes; points from the original, forgotten in percent")
        print(lk.bank_summary(first).to_string(na_rep="–"))
        if orders > 1:
            print(f"\nlargest − smallest over all {orders} orders, mean of the runs")
            print(lk.order_spread(results).to_string())
        found.append(results.assign(sizes=",".join(map(str, sizes))))
    name = f"bank-{options.preset}-{options.seeds}-seeds"
    results = joined(found)
    path = _write_about(results.round(4), out / f"{name}.csv", config, options, f"{options.on} part, all classes")
    return _status(results, path)


def _sizes(text):
    """Read '2,2,1'."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise lk.LirfError(
            f"--sizes must be whole numbers with commas between them, such as 2,2,1, not {text!r}"
        ) from None


def _ablation(options):
    """Each part of the method left out, on the validation part."""
    config, out = _config(options), _folder(options)
    return _vary(lk.ablations(config), out / f"ablation-{options.preset}.csv", config, options)


def _sweep(options):
    """One knob at several values, on the validation part."""
    config = _config(options)
    variants = {text: _turned(f"{options.knob}={text}") for text in options.values}
    for change in variants.values():
        config.replace(**change)
    return _vary(variants, _folder(options) / f"sweep-{options.preset}-{options.knob}.csv", config, options)


def _vary(variants, path, config, options):
    """Run several settings of the knobs, print their means, and write the runs."""
    results = lk.sweep(config, variants, options.seeds, options.deposit_sets, jobs=options.jobs)
    return _status(results, _write_results(results, path, config, options, "validation part, all classes"))


def _status(results, written):
    """Print where results are, and return the exit status: 1 if some runs failed; a warning has named them."""
    print(f"\nwritten: {written}")
    return int(results.attrs.get("failed", 0) > 0)


def _write_results(results, path, config, options, protocol):
    """Print the means of some runs, and write the runs and a file that says how they were made."""
    written = _write_about(results, path, config, options, protocol)
    name = _data_name(config, options)
    print(f"\n{name}, {protocol}: mean ± standard deviation over n runs\n{lk.summary(results).to_string()}")
    return written


def _data_name(config, options):
    """Return what to call the data in tables."""
    named = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cub200": "CUB-200-2011"}
    return options.data_name or named.get(config.dataset, config.dataset)


def _write_about(results, path, config, options, protocol):
    """Write some runs and a file that says how they were made."""
    from lirf_kit.evidence.claims import with_checksums

    about = {
        "data": _data_name(config, options),
        "protocol": protocol,
        "config": config.model_dump(exclude={"folder", "data_root"}),
        "seeds": sorted(set(results["seed"].tolist())),
        "machine": _machines(results.attrs["machines"]),
    }
    runs = results.to_csv(index=False)
    _write_text(json.dumps(with_checksums(about, runs.encode()), indent=1), path.with_suffix(".json"))
    return _write_text(runs, path)


def _machines(machines):
    """Describe the machines that some runs were measured on as if they were one."""
    found = {name: list(dict.fromkeys(each[name] for each in machines)) for name in machines[0]}
    return {name: values[0] if len(values) == 1 else " and ".join(map(str, values)) for name, values in found.items()}


def _bench(options):
    """How fast: the parts, or a preset's whole run."""
    from lirf_kit.bench import bench
    from lirf_kit.bench_preset import about_preset, bench_preset

    other_data = options.folder or any(text.partition("=")[0] in ("dataset", "folder") for text in options.set)
    if other_data and options.preset is None:
        raise lk.LirfError("--folder and other data need --preset: without it bench measures on pictures that it makes")
    config = _config(argparse.Namespace(**vars(options) | {"preset": options.preset or "cifar10-small"}))
    about_preset(config, options.runs)
    device = lk.resolve_device(config.device).type
    out = _folder(options)
    results = bench(config) if options.preset is None else bench_preset(config, options.runs, options.peer)
    name = "-".join(filter(None, ["bench", options.preset, device if device != "cpu" else None]))
    path = _write_text(json.dumps(results, indent=1), out / f"{name}.json")
    _print_bench(results)
    print(f"\nwritten: {path}")


def _print_bench(results):
    """Print measurements part by part, each run as a column."""
    import pandas

    for part, values in results.items():
        if part == "history":
            print(f"history: {len(values)} epochs")
        elif part == "runs":
            runs = [{name: value for name, value in run.items() if name != "time_to_accuracy"} for run in values]
            print(pandas.json_normalize(runs).T.to_string(header=False, float_format="{:.6g}".format))
        else:
            print(f"{part}: {json.dumps(values, indent=2)}")


def _gpu(options):
    """Everything that needs a GPU, in one go.

    Piece by piece: the parts, plain and compiled (a training step's share of the matrix-product peak); timed runs of
    the preset, with the usual ResNet-18 recipe beside them; the results over seeds and deposit sets. Each piece is
    written as gpu-* when it is done. If the command is cut off, call it again, and it continues with what is missing.
    On an H100 this should take 2, 5 and 13 minutes (estimated, not measured). Half of the 13 minutes go into the
    retrained networks; independent ones would add 3 minutes.
    """
    from lirf_kit.bench import STAGES, about, bench
    from lirf_kit.bench_preset import about_preset, bench_preset

    config = _config(options)
    device = lk.resolve_device(config.device)
    if config.device == "auto" and device.type == "cpu":
        raise lk.LirfError("gpu needs a GPU, but PyTorch finds none here; --device cpu would take many hours")
    whole, compiled = about_preset(config, options.runs), config.replace(compile=True)
    _check_table(options.references, options.seeds)
    lk.random_deposit_sets(len(lk.load_dataset(config).class_names), options.deposit_sets, config.seed)
    out = _folder(options)
    pieces = {
        "gpu-bench": (about(config, device, STAGES), lambda: bench(config)),
        "gpu-bench-compiled": (about(compiled, device, STAGES), lambda: bench(compiled)),
        f"gpu-bench-{options.preset}": (whole, lambda: bench_preset(config, options.runs)),
    }
    for name, (measured, measure) in pieces.items():
        path = out / f"{name}.json"
        if _holds(path, measured):
            print(f"already measured: {path}; to measure it again, delete it")
            continue
        with _timed(name):
            results = measure()
        _write_text(json.dumps(results, indent=1), path)
        _print_bench(results)
    path = out / f"gpu-results-{options.preset}-{options.seeds}-seeds.csv"
    every = options.references
    for references in [every[: place + 1] for place in range(len(every))] or [[]]:  # earlier networks are found again
        with _timed(", ".join(["table", *references])):
            results = lk.results_over_seeds(config, options.seeds, options.deposit_sets, references=references, jobs=1)
        _write_results(results, path, config, options, "test part, all classes")
    return _status(results, out / "gpu-*")


def _holds(path, measured):
    """Return whether a file holds a measurement of the same things on the same machine."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return {name: found.get(name) for name in measured} == measured


def _diagrams(options):
    """The drawings of the method that the notebooks show, as SVG."""
    from lirf_kit.pictures.diagrams import write_diagrams

    print(f"written: {', '.join(str(path) for path in write_diagrams(options.out))}")


def _slides(options):
    """Slides for class at 16:9, as PNG and PDF."""
    from lirf_kit.pictures.slides import write_slides

    print(f"written: {', '.join(str(path) for path in write_slides(options.figures, options.out))}")


def _editions(options):
    """The notebooks for students, with blanks, and for the instructor; those that you have changed are kept."""
    from lirf_kit.classroom.editions import EDITIONS, write_editions

    found = write_editions(options.source, options.out, (options.only,) if options.only else EDITIONS)
    changed = [path for path, what in found.items() if what != "written"]
    print(f"written: {len(found) - len(changed)} notebooks in {options.out}", end="")
    print(f"; kept, because you have changed them: {len(changed)}" if changed else "")
    for path in changed:
        if found[path] == "outdated":
            print(f"  there is a newer {path}: to get it, rename yours and run this again")


def _doctor(options):
    """What is installed, and what is missing."""
    from lirf_kit.doctor import examine

    examine(lambda: _config(options), options.device, options.for_class)


def _config(options, recipe=lambda config: config):
    """Return the preset, with the options' knobs turned, once its device is known to be there."""
    config = recipe(lk.preset(options.preset)).replace(seed=options.seed, device=options.device)
    for text in options.set:
        config = config.replace(**_turned(text))
    if options.folder is not None:
        config = config.replace(dataset="folder", folder=options.folder)
    lk.resolve_device(config.device)
    return config


def _turned(text):
    """Return the knob and the value of a text such as ``lambda_at=0.5``, as the keyword of `Config.replace`."""
    knob, equals, value = text.partition("=")
    if not equals:
        raise lk.LirfError(f"--set must be KNOB=VALUE, not {text!r}")
    try:
        return {knob: ast.literal_eval(value)}
    except (ValueError, SyntaxError):
        return {knob: value}  # a text, such as paper


def _folder(options):
    """Return the folder to write to, made and known to be writable."""
    from lirf_kit.pictures.figures import writable_folder

    return writable_folder(options.out or ("figures" if options.command is _figures else "benchmarks"))


def _path(config):
    """Walk from the data to the recovered network; print how long each step took."""
    data = lk.load_dataset(config)
    parts = lk.split_by_class(data, config.deposit_classes)
    with _timed("original"):
        original = lk.load_or_train(data, config)
    if original.checkpoint is not None:
        raise KeyboardInterrupt
    with _timed("deposit"):
        target, deposit_module = lk.load_or_deposit(original, parts.deposit_set, config)
    with _timed("withdraw"):
        recovered = lk.withdraw(target, deposit_module)
    return data, parts, {"original": original, "target": target, "recovered": recovered}


@contextlib.contextmanager
def _timed(step):
    """Print how long the block took (what was found again takes next to nothing)."""
    start = time.perf_counter()
    yield
    with contextlib.suppress(OSError):  # output that nobody reads must not cost the results
        print(f"{step:<20} {time.perf_counter() - start:8.3f} s")


def _write_text(text, path):
    """Write a file in one step."""
    from lirf_kit.artifacts import write_file

    try:
        write_file(path, text.encode())
    except OSError as error:
        raise lk.LirfError(f"out must be a folder that can be written, but {path} can't: {error}") from error
    return path
