"""Learning with Recoverable Forgetting, for teaching (Ye et al., ECCV 2022).

A name is imported from its module when it is first asked for, so that ``python -m lirf_kit doctor`` can say what is
missing where something is.
"""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "artifacts": (
        "load_run",
        "save_run",
    ),
    "caching": (
        "load_or_deposit",
        "load_or_train",
    ),
    "charts": (
        "plot_confusions",
        "plot_curve",
        "plot_round_trip",
        "plot_variants",
    ),
    "claims": (
        "claim_cards",
        "read_results",
    ),
    "config": (
        "Config",
        "LirfError",
        "knobs",
        "preset",
    ),
    "data": (
        "Dataset",
        "ImageData",
        "augment",
        "batches",
        "load_dataset",
    ),
    "depositing": (
        "deposit",
        "deposit_steps",
        "deposit_terms",
        "original_reference",
        "start_deposit",
    ),
    "devices": (
        "resolve_device",
        "seeded_generator",
    ),
    "embedding": (
        "embed_networks",
        "embed_tsne",
        "extract_features",
        "neighbour_accuracy",
    ),
    "experiments": (
        "ablations",
        "interval",
        "random_deposit_sets",
        "results_over_seeds",
        "summary",
        "sweep",
        "with_differences",
    ),
    "explorer": ("DepositExplorer",),
    "exploring": (
        "code_line",
        "compare_runs",
        "embed_run",
        "explore",
        "fill_grid",
        "history_table",
        "journey",
        "knob_grid",
        "recipes",
        "surface_points",
    ),
    "figures": (
        "plot_history",
        "plot_samples",
        "plot_tsne",
        "save_figure",
    ),
    "losses": (
        "attention_distance",
        "attention_map",
        "best_preserved_labels",
        "deposit_loss",
        "distillation_loss",
        "distilled_recovery_loss",
        "feature_recovery_loss",
        "hold_preserved",
        "logit_preservation_loss",
        "partial_transfer_loss",
        "preservation_loss",
        "recovery_loss",
        "removal_loss",
        "select_deposited",
        "select_preserved",
        "wrong_labels",
    ),
    "metrics": (
        "accuracy",
        "activation_distance",
        "answers",
        "attention_drift",
        "class_accuracies",
        "confusion",
        "distance_table",
        "forgetting",
        "harmonic_mean",
        "js_divergence",
        "results_table",
        "sample_table",
    ),
    "networks": (
        "SplitNetwork",
        "build_network",
        "predict",
        "split",
    ),
    "partition": (
        "Partition",
        "split_by_class",
        "split_by_sample",
    ),
    "pruning": (
        "channel_importance",
        "count_parameters",
        "prune_lower",
    ),
    "references": (
        "mask_head",
        "reference_networks",
        "retrain",
        "train_independent",
    ),
    "switchboard": ("loss_switchboard",),
    "training": ("train_original",),
    "widget_views": (
        "cut_table",
        "distillations",
        "part_counts",
        "point_table",
        "softened",
    ),
    "widgets": (
        "ClassPicker",
        "CutSlider",
        "PointTracker",
        "TemperatureSlider",
    ),
    "withdrawing": (
        "DepositModule",
        "RecoveredNetwork",
        "merge_logits",
        "withdraw",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'lirf_kit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"lirf_kit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
