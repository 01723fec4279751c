"""What the explorer computes, without a widget: a deposit that can be watched and stopped, and what to look at after.

Everything is read from the validation part: who turns knobs makes choices, and the test part is for the final table.
"""

import math
import time
import warnings
from dataclasses import dataclass, field

import joblib
import pandas
import torch

from lirf_kit.config import _PRESETS, Config, LirfError
from lirf_kit.data.partition import Partition, check_deposit_classes, split_by_class, split_by_sample
from lirf_kit.devices import cpu_threads, memory_advice, seeded_generator
from lirf_kit.evidence.experiments import results_over_seeds
from lirf_kit.evidence.metrics import class_accuracies, confusion, results_table, sample_table
from lirf_kit.evidence.references import mask_head
from lirf_kit.method.depositing import deposit_steps, start_deposit
from lirf_kit.method.losses import attention_map
from lirf_kit.method.networks import evaluation_mode, split
from lirf_kit.method.withdrawing import withdraw
from lirf_kit.pictures.embedding import embed_tsne, extract_features
from lirf_kit.widgets.jobs import without_bars

EXPLORED = (
    "lambda_at", "lambda_kp", "lambda_re", "lambda_pt", "temperature", "split_after", "keep", "deposit_epochs",
    "deposit_learning_rate", "max_gradient_norm", "seed", "relabel", "preservation", "recovery",
)  # fmt: skip
JUDGED = ("target", "recovered")  # whose metrics a history lists
MOST_POINTS = 600  # in a t-SNE figure


def recipes(config):
    """Return the explorer's presets: names, and the knobs that each turns.

    Parameters
    ----------
    config : Config
        The calibrated one, which every other departs from.

    Returns
    -------
    dict of str to dict
        "calibrated" turns nothing. "paper" has the paper's losses, its L_kp of softmax among them, with every λ at 1
        (its own were never published). "no attention term" leaves out L_at. "what goes wrong" has nothing that protects
        the preserved classes: no L_kp, a removal that isn't confined to the deposit logits (preservation "paper"),
        random wrong labels, and a learning rate that is too high.
    """
    ones = dict.fromkeys(("lambda_at", "lambda_kp", "lambda_re", "lambda_pt"), 1.0)
    return {
        "calibrated": {},
        "paper": {"relabel": "random", "preservation": "paper", "recovery": "paper"} | ones,
        "no attention term": {"lambda_at": 0.0},
        "what goes wrong": {
            "lambda_kp": 0.0,
            "relabel": "random",
            "preservation": "paper",
            "deposit_learning_rate": 0.1,
        },
    }


def code_line(config, fraction=None):
    """Return the line of Python that makes a config again, from the preset that it differs from least.

    Parameters
    ----------
    config : Config
    fraction : float, optional
        Of a deposit of samples: a second line then draws them.

    Returns
    -------
    str
    """

    def changes(base):
        return {name: value for name, value in vars(config).items() if value != getattr(base, name)}

    name = min(_PRESETS, key=lambda name: len(changes(_PRESETS[name])))
    turned = ", ".join(f"{knob}={value!r}" for knob, value in changes(_PRESETS[name]).items())
    line = f'config = lk.preset("{name}")' + (f".replace({turned})" if turned else "")
    if fraction is None:
        return line
    return f"{line}\nparts = lk.split_by_sample(lk.load_dataset(config), fraction={fraction}, seed=config.seed)"


@dataclass
class Run:
    """One finished deposit, and what there is to see of it.

    Attributes
    ----------
    config : Config
    fraction : float or None
        The share of the training part that was deposited; None where classes were.
    parts : Partition
    networks : dict of str to nn.Module
        "original", "target", "recovered", and after a deposit of classes "head masking".
    table : pandas.DataFrame
        `results_table`, or `sample_table`, on the validation part.
    classes : pandas.DataFrame
        `class_accuracies` on the validation part.
    confusions : dict of str to pandas.DataFrame
    seconds : float
        Of the deposit and of everything above.
    embeddings : dict of str to numpy.ndarray
        Filled by `embed_run`.
    """

    config: Config
    fraction: float | None
    parts: Partition
    networks: dict
    table: pandas.DataFrame
    classes: pandas.DataFrame
    confusions: dict
    seconds: float
    embeddings: dict = field(default_factory=dict)

    @property
    def history(self):
        """The deposit's entry for each epoch."""
        return self.networks["target"].history

    @property
    def metrics(self):
        """The target's and the recovered network's numbers, by "network: column"; those that apply."""
        return flat_metrics(self.table)


def flat_metrics(table):
    """Return a table's numbers of target and recovered network as one dict, by "network: column"; NaN is left out."""
    cells = {f"{network}: {name}": table.loc[network, name] for network in JUDGED for name in table.columns}
    return {name: float(value) for name, value in cells.items() if not math.isnan(value)}


def explore(original, data, config, fraction=None, stopped=lambda: False, on_step=lambda done, total, history: None):
    """Make one deposit, and look at it from all sides but t-SNE's.

    Parameters
    ----------
    original : SplitNetwork
        Of this config's seed.
    data : Dataset
        Of this config's seed.
    config : Config
        Its `deposit_classes` are deposited.
    fraction : float, optional
        Instead of classes: the share of the training samples to deposit.
    stopped : callable
        Asked after each step; True ends the deposit.
    on_step : callable
        Told after each step how many are done, of how many, and the history so far.

    Returns
    -------
    Run or None
        None if it was stopped.

    Raises
    ------
    LirfError
        If the settings can't be, or the deposit diverges.
    """
    start = time.perf_counter()
    parts = cut(data, config, fraction)
    pair = watched_deposit(original, parts.deposit_set, config, stopped, on_step)
    if pair is None:
        return None
    networks = {"original": original, "target": pair[0], "recovered": withdraw(*pair)}
    with cpu_threads(config):
        confusions = {name: confusion(network, parts.validation) for name, network in networks.items()}
        if fraction is None:
            networks["head masking"] = mask_head(original, config.deposit_classes)
            table = results_table(networks, parts, on="validation")
        else:
            table = sample_table(networks, parts, on="validation")
        classes = class_accuracies(networks, parts.validation)
    if stopped():
        return None
    return Run(config, fraction, parts, networks, table, classes, confusions, time.perf_counter() - start)


def cut(data, config, fraction=None):
    """Return the parts of a deposit of the config's classes, or of a fraction of the samples."""
    if fraction is not None:
        return split_by_sample(data, fraction=fraction, seed=config.seed)
    return split_by_class(data, config.deposit_classes)


def turned(config, deposit_classes, num_classes, **changes):
    """Return a config with its deposit classes and knobs turned; no class or all classes raise a `LirfError`."""
    return config.replace(deposit_classes=check_deposit_classes(deposit_classes, num_classes), **changes)


def watched_deposit(original, deposit_set, config, stopped, on_step):
    """Deposit as `deposit` does, but tell of each step, and return None as soon as `stopped` says so."""
    target, deposit_module = start_deposit(original, deposit_set, config)
    total = config.deposit_epochs * -(-len(deposit_set) // config.deposit_batch_size)
    with cpu_threads(config), memory_advice(config):
        for done, _ in enumerate(deposit_steps(original, target, deposit_module, deposit_set, config), start=1):
            if stopped():
                return None
            on_step(done, total, target.history)
    on_step(total, total, target.history)
    return target, deposit_module


def embed_run(run, start=None, stopped=lambda: False, on_step=lambda done, total: None):
    """Embed the three networks' features of at most 600 validation images by t-SNE, into ``run.embeddings``.

    The islands of target and recovered network stay where the original's lie as long as a point feels fewer neighbours
    than its class has images. So the perplexity is at most half an average class.

    Parameters
    ----------
    run : Run
    start : numpy.ndarray, optional
        (N, 2), the original's embedding, if it is known from another run of the same seed.
    stopped : callable
        Asked before each network, and at the end; True leaves the embeddings as they are.
    on_step : callable
        Told how many networks are done, of how many.
    """
    part, found = tsne_part(run), {}
    most = max(2.0, len(part) / len(part.class_names) / 2)
    config = run.config.replace(perplexity=min(run.config.perplexity, most))
    for done, name in enumerate(("original", "target", "recovered")):
        if stopped():
            return
        on_step(done, 3)
        if name == "original" and start is not None:
            found[name] = start
        else:
            found[name] = embed_tsne(extract_features(run.networks[name], part), config, found.get("original"))
    if not stopped():
        on_step(3, 3)
        run.embeddings = found


def tsne_part(run):
    """Return the validation images that a t-SNE figure shows: all, or 600 drawn at random."""
    part = run.parts.validation
    order = torch.randperm(len(part), generator=seeded_generator(0, "cpu"))[:MOST_POINTS].sort().values
    return part.select(order.to(part.labels.device), part.deposit_classes)


def journey(run, place):
    """Follow one validation image through the networks.

    Parameters
    ----------
    run : Run
    place : int
        Which image of the validation part.

    Returns
    -------
    probabilities : pandas.DataFrame
        One row a class, one column a network: softmax of its logits, in percent.
    maps : dict of str to numpy.ndarray
        (H, W), the attention maps of the lower blocks of original, target, deposit module, and recovered network: it
        has the channels of target and module side by side.

    Raises
    ------
    LirfError
        If there is no such image.
    """
    part = run.parts.validation
    if not 0 <= place < len(part):
        raise LirfError(f"place must be from 0 to {len(part) - 1}, not {place}")
    image = part.images[place : place + 1]
    original, target, recovered = (run.networks[name] for name in ("original", "target", "recovered"))
    lowers = {
        "original": split(original, run.config.split_after).lower,
        "target": target.lower,
        "deposit module": recovered.deposit_module.lower,
    }
    with torch.no_grad(), evaluation_mode(original), evaluation_mode(recovered):
        asked = {"original": original, "target": target, "recovered": recovered}
        shares = {name: 100 * network(image)[0].double().softmax(0).cpu().numpy() for name, network in asked.items()}
        features = {name: lower(image).float() for name, lower in lowers.items()}  # (1, C, H, W)
        features["recovered"] = torch.cat([features["target"], features["deposit module"]], dim=1)  # (1, 2·C, H, W)
    maps = {name: attention_map(found).view(found.shape[2:]).cpu().numpy() for name, found in features.items()}
    return pandas.DataFrame(shares, part.class_names), maps


def deposited(config, fraction=None):
    """Say in a few words what is deposited."""
    if fraction is not None:
        return f"{100 * fraction:g} % of the samples"
    return " ".join(str(number) for number in config.deposit_classes)


def run_row(run):
    """Return a run's settings and metrics as one dict: a row of the history."""
    settings = {"deposit": deposited(run.config, run.fraction)}
    settings |= {name: getattr(run.config, name) for name in EXPLORED}
    return (
        settings | {name: round(value, 2) for name, value in run.metrics.items()} | {"seconds": round(run.seconds, 2)}
    )


def history_table(runs):
    """Return one row a run, numbered from 1: what was deposited, every knob, every metric, and the time.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    pandas.DataFrame
    """
    table = pandas.DataFrame([run_row(run) for run in runs], index=range(1, len(runs) + 1))
    table.index.name = "run"
    return table


def compare_runs(first, second):
    """Return two runs side by side.

    Parameters
    ----------
    first, second : Run

    Returns
    -------
    pandas.DataFrame
        One row a setting or metric; the columns A, B, and "differs".
    """
    one, other = run_row(first), run_row(second)
    names = [*one, *(name for name in other if name not in one)]
    table = pandas.DataFrame(
        {"A": {name: one.get(name) for name in names}, "B": {name: other.get(name) for name in names}}
    )
    table = table.astype(object).reindex(names)
    return table.assign(differs=[one.get(name) != other.get(name) for name in names])


def surface_points(found, config, names, metric):
    """Return where a metric was measured, over one or two knobs with everything else as in a config.

    Parameters
    ----------
    found : iterable of tuple of Config and dict
        Measured settings, with their metrics by "network: column".
    config : Config
    names : sequence of str
        One knob, or two.
    metric : str

    Returns
    -------
    pandas.DataFrame
        One row a point: the knobs, and the column "value"; a point that was measured twice stands once.
    """
    rows = {}
    for setting, metrics in found:
        if metric in metrics and setting.replace(**{name: getattr(config, name) for name in names}) == config:
            rows[tuple(getattr(setting, name) for name in names)] = metrics[metric]
    frame = pandas.DataFrame([(*place, value) for place, value in rows.items()], columns=[*names, "value"])
    return frame.sort_values(list(names), ignore_index=True)


def knob_grid(config, values):
    """Return the configs of a grid: each combination of some knobs' values.

    Parameters
    ----------
    config : Config
    values : dict of str to sequence
    """
    configs = [config]
    for name, wanted in values.items():
        configs = [one.replace(**{name: value}) for one in configs for value in wanted]
    return configs


def fill_grid(configs, jobs=2):
    """Measure settings in the background, or find them among earlier runs of `results_over_seeds`.

    Parameters
    ----------
    configs : sequence of Config
        Each with its own seed and deposit classes.
    jobs : int
        How many processes.

    Yields
    ------
    config : Config
    metrics : dict or str
        By "network: column", on the validation part; a sentence if the run failed. In the order in which they are
        done; who closes the generator cancels what is left.
    """
    tasks = (joblib.delayed(_measure_point)(config) for config in configs)
    done = joblib.Parallel(jobs, return_as="generator_unordered")(tasks)
    try:
        # "yield from" would close it outside of the block below
        for one in done:  # noqa: UP028
            yield one
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*have been cancelled", UserWarning)  # that is what was asked for
            done.close()


def _measure_point(config):
    try:
        with without_bars():
            results = results_over_seeds(
                config, [config.seed], [config.deposit_classes], on="validation", references=(), jobs=1
            )
    except LirfError as error:
        return config, str(error)
    columns = ["Pre Acc", "Dep Acc", "Avg Acc", "F", "H Mean", "L_at"]
    return config, flat_metrics(results.set_index("network")[columns])
