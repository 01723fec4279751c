"""What the explorer computes, without a widget: a deposit that can be watched and stopped, and how to look at it.

All numbers come from the validation part, because turning knobs means choosing. The test part is for the final table.
"""

import itertools
import json
import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property

import joblib
import pandas
import torch

from lirf_kit.config import _PRESETS, Config, LirfError
from lirf_kit.data.partition import Partition, split_by_class, split_by_sample
from lirf_kit.devices import cpu_threads, memory_advice, seeded_generator
from lirf_kit.evidence.experiments import METRICS, results_over_seeds
from lirf_kit.evidence.metrics import class_accuracies, confusion, results_table, sample_table
from lirf_kit.evidence.references import mask_head
from lirf_kit.method.depositing import count_steps, deposit_steps, start_deposit
from lirf_kit.method.losses import attention_map
from lirf_kit.method.networks import evaluation_mode, extract_features, predict, split
from lirf_kit.method.withdrawing import withdraw
from lirf_kit.pictures.embedding import embed_tsne
from lirf_kit.widgets.jobs import without_bars
from lirf_kit.widgets.story import Story

EXPLORED = {  # the explorer's knobs, and what it calls them: the plain word, and the paper's symbol
    "lambda_cs": ("forget inside", "λ_cs"), "lambda_at": ("look elsewhere", "λ_at"),
    "lambda_kp": ("hold the rest", "λ_kp"), "keep": ("container's size", "keep"), "bits": ("container's size", "bits"),
    "deposit_epochs": ("epochs", ""), "container": ("kind of container", "T_r"),
    "lambda_os": ("own statistics", "λ_os"), "lambda_ap": ("hold the unseen", "λ_ap"),
    "lambda_re": ("recover", "λ_re"), "lambda_pt": ("transfer", "λ_pt"),
    "temperature": ("temperature", "τ"), "split_after": ("cut after stage", "n"),
    "deposit_learning_rate": ("learning rate", ""), "max_gradient_norm": ("gradient limit", ""), "seed": ("seed", ""),
    "relabel": ("wrong labels", "y_r"), "preservation": ("what is held", "L_kp"),
    "recovery": ("what comes back", "L_re"),
}  # fmt: skip


def named(name):
    """Return a knob's plain word with its symbol, or another setting's name as it is."""
    return " · ".join(filter(None, EXPLORED.get(name, (name,))))


NETWORKS = ("original", "target", "recovered")
MOST_POINTS = 600  # in a t-SNE figure


def recipes(config):
    """Return the explorer's presets by name, each with the knobs that it changes in a calibrated config.

    "calibrated" changes nothing. "paper" has the paper's losses, including its softmax L_kp, with every λ at 1 (the
    paper's own values were never published), neither L_cs, L_os nor L_ap, and a trained module. "no attention term"
    leaves out L_at. "output alone" leaves out L_cs and L_os: the target forgets its answers and keeps its features.
    "what goes wrong" has nothing that protects the preserved classes: neither L_kp nor L_ap, a removal that isn't
    confined to the deposit logits (preservation "paper"), random wrong labels, and a learning rate that is too high.
    """
    ones = dict.fromkeys(("lambda_at", "lambda_kp", "lambda_re", "lambda_pt"), 1.0)
    paper = {"relabel": "random", "preservation": "paper", "lambda_ap": 0.0}
    module = {"container": "pruned", "recovery": "paper"}
    return {
        "calibrated": {},
        "paper": paper | module | {"lambda_cs": 0.0, "lambda_os": 0.0} | ones,
        "no attention term": {"lambda_at": 0.0},
        "output alone": {"lambda_cs": 0.0, "lambda_os": 0.0},
        "what goes wrong": paper | {"lambda_kp": 0.0, "deposit_learning_rate": 0.1},
    }


def code_line(config, fraction=None):
    """Return the Python code that recreates a config, starting from the preset with the fewest differences.

    Parameters
    ----------
    config : Config
    fraction : float, optional
        For a deposit of samples: the code then has a second line, which draws them.
    """

    def changes(base):
        return {name: value for name, value in vars(config).items() if value != getattr(base, name)}

    name = min(_PRESETS, key=lambda name: len(changes(_PRESETS[name])))
    settings = ", ".join(f"{knob}={value!r}" for knob, value in changes(_PRESETS[name]).items())
    line = f'config = lk.preset("{name}")' + (f".replace({settings})" if settings else "")
    if fraction is None:
        return line
    return f"{line}\nparts = lk.split_by_sample(lk.load_dataset(config), fraction={fraction}, seed=config.seed)"


@dataclass
class Run:
    """One finished deposit and its results, all on the validation part."""

    config: Config
    fraction: float | None  # share of the training part that was deposited; None for a deposit of classes
    parts: Partition
    networks: dict  # by name: `NETWORKS`, and "head masking" after a deposit of classes
    table: pandas.DataFrame  # `results_table`, or `sample_table`
    seconds: float = 0.0  # for the deposit and everything above
    embeddings: dict = field(default_factory=dict)  # (N, 2) for each of `NETWORKS`, once `embed_run` is done
    story: Story | None = None  # what was seen while it ran, if somebody watched

    @property
    def history(self):
        """The deposit's entry for each epoch."""
        return self.networks["target"].history

    @cached_property
    def classes(self):
        """Each network's `class_accuracies`, computed when somebody looks."""
        return class_accuracies(self.networks, self.parts.validation)

    @property
    def confusions(self):
        """The `confusion` of each of `NETWORKS`."""
        return {name: confusion(self.networks[name], self.parts.validation) for name in NETWORKS}

    @property
    def metrics(self):
        """The numbers of the target and the recovered network that apply, by "network: column"."""
        return flat_metrics(self.table)


def flat_metrics(table):
    """Return a table's numbers for the target and the recovered network by "network: column", without the NaN."""
    cells = table.loc[["target", "recovered"]].T.unstack().dropna()
    return {f"{network}: {column}": float(value) for (network, column), value in cells.items()}


def explore(
    original, data, config, fraction=None, stopped=lambda: False, on_step=lambda done, total, history: None, look=None
):
    """Make one deposit, and measure it.

    Parameters
    ----------
    original, data : SplitNetwork, Dataset
        Of this config's seed.
    config : Config
        Its `deposit_classes` are deposited.
    fraction : float, optional
        Share of the training samples to deposit, instead of classes.
    stopped : callable
        Called after each step; if it returns True, the deposit ends.
    on_step : callable
        Called after each step with the number of steps done, their total, and the history so far.
    look : callable, optional
        Called before the first step and after each with the number of steps done, their total, the original's lower
        blocks, the target and the deposit module. It may look, and mustn't train.

    Returns
    -------
    Run or None
        None if it was stopped.

    Raises
    ------
    LirfError
        If the settings are invalid or the deposit diverges.
    """
    start = time.perf_counter()
    parts = cut(data, config, fraction)
    target, deposit_module = start_deposit(original, parts.deposit_set, config)
    total, lower = count_steps(parts.deposit_set, config), split(original, config.split_after).lower
    with cpu_threads(config), memory_advice(config):
        if look is not None:
            look(0, total, lower, target, deposit_module)
        for done, _ in enumerate(deposit_steps(original, target, deposit_module, parts.deposit_set, config), start=1):
            if stopped():
                return None
            on_step(done, total, target.history)
            if look is not None:
                look(done, total, lower, target, deposit_module)
    on_step(total, total, target.history)
    run = judged(original, parts, target, deposit_module, config, fraction)
    run.seconds = time.perf_counter() - start
    return None if stopped() else run


def judged(original, parts, target, deposit_module, config, fraction=None):
    """Return the run that a deposit's two results make."""
    networks = {"original": original, "target": target, "recovered": withdraw(target, deposit_module)}
    if fraction is None:
        networks["head masking"] = mask_head(original, config.deposit_classes)
    with cpu_threads(config):
        table = (sample_table if fraction else results_table)(networks, parts, on="validation")
    return Run(config, fraction, parts, networks, table)


def cut(data, config, fraction=None):
    """Return the parts of a deposit of the config's classes, or of a fraction of the samples."""
    if fraction is not None:
        return split_by_sample(data, fraction=fraction, seed=config.seed)
    return split_by_class(data, config.deposit_classes)


def embed_run(run, start=None, stopped=lambda: False, on_step=lambda done, total: None):
    """Embed the three networks' features of at most 600 validation images by t-SNE, into ``run.embeddings``.

    The islands of the target and the recovered network stay where the original's are, provided that each point feels
    fewer neighbours than its class has images. So the perplexity is at most half the size of an average class.

    Parameters
    ----------
    run : Run
    start : numpy.ndarray, optional
        (N, 2), the original's embedding, if another run of the same seed has it already.
    stopped : callable
        Called before each network and at the end; if it returns True, the embeddings stay unchanged.
    on_step : callable
        Called with the number of networks that are done, and their total.
    """
    part, found = tsne_part(run.parts), {}
    config = tsne_config(run.config, part)
    for done, name in enumerate(NETWORKS):
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


def tsne_config(config, part):
    """Return a config whose perplexity suits a part: at most half the size of an average class."""
    return config.replace(perplexity=min(config.perplexity, max(2.0, len(part) / len(part.class_names) / 2)))


def tsne_part(parts):
    """Return the validation images that a t-SNE figure shows: all of them, or `MOST_POINTS` drawn at random."""
    part = parts.validation
    order = torch.randperm(len(part), generator=seeded_generator(0, "cpu"))[:MOST_POINTS].sort().values
    return part.select(order.to(part.labels.device), part.deposit_classes)


def embed_original(original, parts, config):
    """Return where t-SNE puts the original's features of `tsne_part`, (N, 2): `embed_run` gives the same."""
    part = tsne_part(parts)
    return embed_tsne(extract_features(original, part), tsne_config(config, part))


def journey(run, place):
    """Follow one validation image through the networks.

    Parameters
    ----------
    run : Run
    place : int
        The image's place in the validation part.

    Returns
    -------
    probabilities : pandas.DataFrame
        One row a class, one column a network: the softmax of its logits, in percent.
    maps : dict of str to numpy.ndarray
        (H, W), the attention maps of the lower blocks of the original, the target, the deposit module, and the
        recovered network, whose channels are those of target and module side by side.

    Raises
    ------
    LirfError
        If there is no such image.
    """
    part = run.parts.validation
    if not 0 <= place < len(part):
        raise LirfError(f"place must be from 0 to {len(part) - 1}, not {place}")
    image = part.images[place : place + 1]
    original, target, recovered = (run.networks[name] for name in NETWORKS)
    lowers = {
        "original": split(original, run.config.split_after).lower,
        "target": target.lower,
        "deposit module": recovered.module_lower,
    }
    with torch.no_grad(), evaluation_mode(original), evaluation_mode(recovered):
        features = {name: lower(image).float() for name, lower in lowers.items()}  # (1, C, H, W)
        features["recovered"] = torch.cat([features["target"], features["deposit module"]], dim=1)  # (1, 2·C, H, W)
    maps = {name: attention_map(found).view(found.shape[2:]).cpu().numpy() for name, found in features.items()}
    return probabilities(run, image), maps


def probabilities(run, image):
    """Return the softmax of each network's logits for one image, uint8 (1, C, H, W), in percent: a row a class."""
    shares = {}
    for name in NETWORKS:
        with evaluation_mode(run.networks[name]):
            logits = predict(run.networks[name], image.to(run.parts.validation.images.device))  # (1, K)
        shares[name] = 100 * logits[0].double().softmax(0).cpu().numpy()
    return pandas.DataFrame(shares, run.parts.validation.class_names)


def run_as_file(run):
    """Return a run's settings and numbers as JSON, for `settings_from_file`."""
    config = {name: value for name, value in vars(run.config).items() if name not in ("folder", "data_root")}
    return json.dumps({"config": config, "fraction": run.fraction, "numbers": run.metrics}, indent=1)


def settings_from_file(content, config):
    """Return the config, the fraction and the metrics of a run's file, in bytes.

    It raises a `LirfError` if anything that the explorer has no knob for differs from the explorer's own config.
    """
    try:
        found = json.loads(content)
        settings, fraction = dict(found["config"]), found["fraction"]
        metrics = {name: float(value) for name, value in found["numbers"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LirfError("the file must be a run that the explorer saved, run-….json") from error
    wanted = config.replace(**settings)
    for name, value in vars(wanted).items():
        if name not in (*EXPLORED, "deposit_classes") and value != getattr(config, name):
            raise LirfError(f"the run's {name} must be this panel's, {getattr(config, name)!r}, not {value!r}")
    return wanted, fraction, metrics


def deposited(config, fraction=None):
    """Say in a few words what is deposited."""
    if fraction is not None:
        return f"{100 * fraction:g} % of the samples"
    return " ".join(str(number) for number in config.deposit_classes)


def history_table(runs):
    """Return one row a run, numbered from 1: what was deposited, every knob, every metric, and the time."""
    rows = [
        {"deposit": deposited(run.config, run.fraction)}
        | {name: getattr(run.config, name) for name in EXPLORED}
        | {name: round(value, 2) for name, value in run.metrics.items()}
        | {"seconds": round(run.seconds, 2)}
        for run in runs
    ]
    return pandas.DataFrame(rows, index=pandas.RangeIndex(1, len(runs) + 1, name="run"))


def compare_runs(first, second):
    """Return two runs side by side: one row a setting or metric; the columns A, B, and "differs"."""
    table = history_table([first, second]).astype(object).T.set_axis(["A", "B"], axis=1)
    return table.where(table.notna(), None).assign(differs=table["A"] != table["B"])


def surface_points(found, config, names, metric):
    """Return where a metric was measured over one or two knobs, with every other knob as in a config.

    Parameters
    ----------
    found : iterable of tuple of Config and dict
        Settings that were measured, with their metrics by "network: column".
    config : Config
    names : sequence of str
        One knob, or two.
    metric : str

    Returns
    -------
    pandas.DataFrame
        One row a point: the knobs, and the column "value". A point that was measured twice appears once.
    """
    rows = {}
    for setting, metrics in found:
        if metric in metrics and setting.replace(**{name: getattr(config, name) for name in names}) == config:
            rows[tuple(getattr(setting, name) for name in names)] = metrics[metric]
    frame = pandas.DataFrame([(*place, value) for place, value in rows.items()], columns=[*names, "value"])
    return frame.sort_values(list(names), ignore_index=True)


def knob_grid(config, values):
    """Return the configs of a grid: one for each combination of some knobs' values.

    Parameters
    ----------
    config : Config
    values : dict of str to sequence
    """
    return [config.replace(**dict(zip(values, point))) for point in itertools.product(*values.values())]


def fill_grid(configs, jobs=2):
    """Measure settings in the background, unless `results_over_seeds` has measured them before.

    Parameters
    ----------
    configs : sequence of Config
        Each with its own seed and deposit classes.
    jobs : int
        Number of processes.

    Yields
    ------
    config : Config
    metrics : dict or str
        On the validation part, by "network: column"; or a sentence if the run failed. The settings come in the order in
        which they finish. Closing the generator cancels the rest.
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
    columns = list(METRICS)
    return config, flat_metrics(results.set_index("network")[columns])
