"""Learning with Recoverable Forgetting, for teaching (Ye et al., ECCV 2022)."""

__version__ = "0.1.0"

from lirf_kit.artifacts import load_run, save_run
from lirf_kit.config import Config, LirfError, knobs, preset
from lirf_kit.data import Dataset, ImageData, augment, batches, load_dataset
from lirf_kit.depositing import deposit, deposit_steps, deposit_terms, original_reference, start_deposit
from lirf_kit.devices import resolve_device, seeded_generator
from lirf_kit.embedding import embed_networks, embed_tsne, extract_features, neighbour_accuracy
from lirf_kit.experiments import load_or_deposit, load_or_train, random_deposit_sets, results_over_seeds, summary
from lirf_kit.figures import plot_history, plot_samples, plot_tsne, save_figure
from lirf_kit.losses import (
    attention_distance,
    attention_map,
    best_preserved_labels,
    deposit_loss,
    distillation_loss,
    distilled_recovery_loss,
    partial_transfer_loss,
    preservation_loss,
    recovery_loss,
    removal_loss,
    select_deposited,
    select_preserved,
    wrong_labels,
)
from lirf_kit.metrics import accuracy, forgetting, harmonic_mean, results_table
from lirf_kit.networks import SplitNetwork, build_network, predict, split
from lirf_kit.partition import Partition, split_by_class, split_by_sample
from lirf_kit.training import train_original
from lirf_kit.withdrawing import DepositModule, RecoveredNetwork, merge_logits, withdraw

__all__ = [
    "Config",
    "Dataset",
    "DepositModule",
    "ImageData",
    "LirfError",
    "Partition",
    "RecoveredNetwork",
    "SplitNetwork",
    "accuracy",
    "attention_distance",
    "attention_map",
    "augment",
    "batches",
    "best_preserved_labels",
    "build_network",
    "deposit",
    "deposit_loss",
    "deposit_steps",
    "deposit_terms",
    "distillation_loss",
    "distilled_recovery_loss",
    "embed_networks",
    "embed_tsne",
    "extract_features",
    "forgetting",
    "harmonic_mean",
    "knobs",
    "load_dataset",
    "load_or_deposit",
    "load_or_train",
    "load_run",
    "merge_logits",
    "neighbour_accuracy",
    "original_reference",
    "partial_transfer_loss",
    "plot_history",
    "plot_samples",
    "plot_tsne",
    "predict",
    "preservation_loss",
    "preset",
    "random_deposit_sets",
    "recovery_loss",
    "removal_loss",
    "resolve_device",
    "results_over_seeds",
    "results_table",
    "save_figure",
    "save_run",
    "seeded_generator",
    "select_deposited",
    "select_preserved",
    "split",
    "split_by_class",
    "split_by_sample",
    "start_deposit",
    "summary",
    "train_original",
    "withdraw",
    "wrong_labels",
]
