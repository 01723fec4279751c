"""The public names, and where each comes from: the only list of them."""

from .artifacts import (
    load_run as load_run,
)
from .artifacts import (
    save_run as save_run,
)
from .config import (
    Config as Config,
)
from .config import (
    LirfError as LirfError,
)
from .config import (
    knobs as knobs,
)
from .config import (
    preset as preset,
)
from .data.images import (
    Dataset as Dataset,
)
from .data.images import (
    ImageData as ImageData,
)
from .data.images import (
    augment as augment,
)
from .data.images import (
    batches as batches,
)
from .data.images import (
    load_dataset as load_dataset,
)
from .data.partition import (
    Partition as Partition,
)
from .data.partition import (
    split_by_class as split_by_class,
)
from .data.partition import (
    split_by_sample as split_by_sample,
)
from .devices import (
    resolve_device as resolve_device,
)
from .devices import (
    seeded_generator as seeded_generator,
)
from .evidence.claims import (
    claim_cards as claim_cards,
)
from .evidence.claims import (
    read_results as read_results,
)
from .evidence.experiments import (
    ablations as ablations,
)
from .evidence.experiments import (
    interval as interval,
)
from .evidence.experiments import (
    random_deposit_sets as random_deposit_sets,
)
from .evidence.experiments import (
    results_over_seeds as results_over_seeds,
)
from .evidence.experiments import (
    summary as summary,
)
from .evidence.experiments import (
    sweep as sweep,
)
from .evidence.experiments import (
    with_differences as with_differences,
)
from .evidence.metrics import (
    activation_distance as activation_distance,
)
from .evidence.metrics import (
    attention_drift as attention_drift,
)
from .evidence.metrics import (
    class_accuracies as class_accuracies,
)
from .evidence.metrics import (
    confusion as confusion,
)
from .evidence.metrics import (
    distance_table as distance_table,
)
from .evidence.metrics import (
    forgetting as forgetting,
)
from .evidence.metrics import (
    harmonic_mean as harmonic_mean,
)
from .evidence.metrics import (
    js_divergence as js_divergence,
)
from .evidence.metrics import (
    results_table as results_table,
)
from .evidence.metrics import (
    sample_table as sample_table,
)
from .evidence.probes import neighbour_accuracy as neighbour_accuracy
from .evidence.references import (
    mask_head as mask_head,
)
from .evidence.references import (
    reference_networks as reference_networks,
)
from .evidence.references import (
    retrain as retrain,
)
from .evidence.references import (
    train_independent as train_independent,
)
from .evidence.switchboard import loss_switchboard as loss_switchboard
from .method.caching import (
    load_or_deposit as load_or_deposit,
)
from .method.caching import (
    load_or_train as load_or_train,
)
from .method.depositing import (
    deposit as deposit,
)
from .method.depositing import (
    deposit_steps as deposit_steps,
)
from .method.depositing import (
    deposit_terms as deposit_terms,
)
from .method.depositing import (
    original_reference as original_reference,
)
from .method.depositing import (
    start_deposit as start_deposit,
)
from .method.losses import (
    attention_distance as attention_distance,
)
from .method.losses import (
    attention_map as attention_map,
)
from .method.losses import (
    best_preserved_labels as best_preserved_labels,
)
from .method.losses import (
    class_scatter as class_scatter,
)
from .method.losses import (
    deposit_loss as deposit_loss,
)
from .method.losses import (
    distillation_loss as distillation_loss,
)
from .method.losses import (
    distilled_recovery_loss as distilled_recovery_loss,
)
from .method.losses import (
    feature_recovery_loss as feature_recovery_loss,
)
from .method.losses import (
    hold_preserved as hold_preserved,
)
from .method.losses import (
    logit_preservation_loss as logit_preservation_loss,
)
from .method.losses import (
    partial_transfer_loss as partial_transfer_loss,
)
from .method.losses import (
    preservation_loss as preservation_loss,
)
from .method.losses import (
    recovery_loss as recovery_loss,
)
from .method.losses import (
    removal_loss as removal_loss,
)
from .method.losses import (
    select_deposited as select_deposited,
)
from .method.losses import (
    select_preserved as select_preserved,
)
from .method.losses import (
    wrong_labels as wrong_labels,
)
from .method.networks import (
    SplitNetwork as SplitNetwork,
)
from .method.networks import (
    accuracy as accuracy,
)
from .method.networks import (
    answers as answers,
)
from .method.networks import (
    build_network as build_network,
)
from .method.networks import (
    extract_features as extract_features,
)
from .method.networks import (
    predict as predict,
)
from .method.networks import (
    split as split,
)
from .method.pruning import (
    channel_importance as channel_importance,
)
from .method.pruning import (
    count_parameters as count_parameters,
)
from .method.pruning import (
    prune_lower as prune_lower,
)
from .method.training import train_original as train_original
from .method.withdrawing import (
    DepositModule as DepositModule,
)
from .method.withdrawing import (
    RecoveredNetwork as RecoveredNetwork,
)
from .method.withdrawing import (
    merge_logits as merge_logits,
)
from .method.withdrawing import (
    withdraw as withdraw,
)
from .pictures.charts import (
    plot_confusions as plot_confusions,
)
from .pictures.charts import (
    plot_curve as plot_curve,
)
from .pictures.charts import (
    plot_round_trip as plot_round_trip,
)
from .pictures.charts import (
    plot_variants as plot_variants,
)
from .pictures.embedding import (
    embed_networks as embed_networks,
)
from .pictures.embedding import (
    embed_tsne as embed_tsne,
)
from .pictures.figures import (
    plot_history as plot_history,
)
from .pictures.figures import (
    plot_samples as plot_samples,
)
from .pictures.figures import (
    plot_tsne as plot_tsne,
)
from .pictures.figures import (
    save_figure as save_figure,
)
from .widgets.explorer import DepositExplorer as DepositExplorer
from .widgets.exploring import (
    code_line as code_line,
)
from .widgets.exploring import (
    compare_runs as compare_runs,
)
from .widgets.exploring import (
    embed_run as embed_run,
)
from .widgets.exploring import (
    explore as explore,
)
from .widgets.exploring import (
    fill_grid as fill_grid,
)
from .widgets.exploring import (
    history_table as history_table,
)
from .widgets.exploring import (
    journey as journey,
)
from .widgets.exploring import (
    knob_grid as knob_grid,
)
from .widgets.exploring import (
    recipes as recipes,
)
from .widgets.exploring import (
    surface_points as surface_points,
)
from .widgets.small import (
    ClassPicker as ClassPicker,
)
from .widgets.small import (
    CutSlider as CutSlider,
)
from .widgets.small import (
    PointTracker as PointTracker,
)
from .widgets.small import (
    TemperatureSlider as TemperatureSlider,
)
from .widgets.small_views import (
    cut_table as cut_table,
)
from .widgets.small_views import (
    distillations as distillations,
)
from .widgets.small_views import (
    part_counts as part_counts,
)
from .widgets.small_views import (
    point_table as point_table,
)
from .widgets.small_views import (
    softened as softened,
)

__version__: str
