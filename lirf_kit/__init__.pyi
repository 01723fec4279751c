"""The public names, and where each comes from: the only list of them."""

from .artifacts import (
    load_run as load_run,
    save_run as save_run,
)
from .classroom import check as check
from .classroom.predictions import (
    class_predictions as class_predictions,
    my_predictions as my_predictions,
    predict_first as predict_first,
)
from .config import (
    Config as Config,
    LirfError as LirfError,
    bank_recipe as bank_recipe,
    knobs as knobs,
    preset as preset,
)
from .data.images import (
    Dataset as Dataset,
    ImageData as ImageData,
    augment as augment,
    batches as batches,
    load_dataset as load_dataset,
    mix as mix,
)
from .data.partition import (
    Partition as Partition,
    split_by_class as split_by_class,
    split_by_sample as split_by_sample,
)
from .devices import (
    resolve_device as resolve_device,
    seeded_generator as seeded_generator,
)
from .evidence.audit import blind_audit as blind_audit
from .evidence.banks import (
    bank_costs as bank_costs,
    bank_over_seeds as bank_over_seeds,
    bank_states as bank_states,
    bank_summary as bank_summary,
    order_spread as order_spread,
)
from .evidence.claims import (
    claim_cards as claim_cards,
    read_results as read_results,
)
from .evidence.custody import (
    custody_over_seeds as custody_over_seeds,
    custody_summary as custody_summary,
    custody_table as custody_table,
)
from .evidence.distillation import (
    distillation_over_seeds as distillation_over_seeds,
    distillation_table as distillation_table,
)
from .evidence.experiments import (
    ablations as ablations,
    interval as interval,
    random_deposit_sets as random_deposit_sets,
    results_over_seeds as results_over_seeds,
    summary as summary,
    sweep as sweep,
    with_differences as with_differences,
)
from .evidence.few_shot import few_shot_table as few_shot_table
from .evidence.laboratory import (
    evidence_networks as evidence_networks,
    evidence_over_seeds as evidence_over_seeds,
    evidence_summary as evidence_summary,
    evidence_table as evidence_table,
    with_yardstick as with_yardstick,
)
from .evidence.membership import membership_table as membership_table
from .evidence.metrics import (
    activation_distance as activation_distance,
    attention_drift as attention_drift,
    class_accuracies as class_accuracies,
    confusion as confusion,
    distance_table as distance_table,
    forgetting as forgetting,
    harmonic_mean as harmonic_mean,
    js_divergence as js_divergence,
    results_table as results_table,
    sample_table as sample_table,
)
from .evidence.probes import (
    neighbour_accuracy as neighbour_accuracy,
    probe_table as probe_table,
    with_neighbours as with_neighbours,
)
from .evidence.readings import (
    pooled_features as pooled_features,
    read_features as read_features,
    untrained_network as untrained_network,
)
from .evidence.recalibration import (
    recalibrated as recalibrated,
    recalibration_table as recalibration_table,
)
from .evidence.references import (
    mask_head as mask_head,
    reference_networks as reference_networks,
    retrain as retrain,
    train_independent as train_independent,
)
from .evidence.relearning import (
    relearn as relearn,
    relearning_table as relearning_table,
    train_on as train_on,
)
from .evidence.streisand import (
    auditor_view as auditor_view,
    destinations as destinations,
    streisand_table as streisand_table,
)
from .evidence.switchboard import loss_switchboard as loss_switchboard
from .evidence.thieves import thief_table as thief_table
from .method.bank import BankNetwork as BankNetwork, KnowledgeBank as KnowledgeBank
from .method.caching import (
    load_or_deposit as load_or_deposit,
    load_or_train as load_or_train,
)
from .method.containers import (
    DepositModule as DepositModule,
    DifferenceModule as DifferenceModule,
    load_module as load_module,
    module_bytes as module_bytes,
    module_share as module_share,
    round_module as round_module,
    save_module as save_module,
)
from .method.depositing import (
    deposit as deposit,
    deposit_steps as deposit_steps,
    deposit_terms as deposit_terms,
    original_reference as original_reference,
    start_deposit as start_deposit,
)
from .method.losses import (
    attention_distance as attention_distance,
    attention_map as attention_map,
    best_preserved_labels as best_preserved_labels,
    class_scatter as class_scatter,
    deposit_loss as deposit_loss,
    distillation_loss as distillation_loss,
    distilled_recovery_loss as distilled_recovery_loss,
    feature_recovery_loss as feature_recovery_loss,
    hold_preserved as hold_preserved,
    logit_preservation_loss as logit_preservation_loss,
    partial_transfer_loss as partial_transfer_loss,
    preservation_loss as preservation_loss,
    recovery_loss as recovery_loss,
    removal_loss as removal_loss,
    select_deposited as select_deposited,
    select_preserved as select_preserved,
    wrong_labels as wrong_labels,
)
from .method.networks import (
    SplitNetwork as SplitNetwork,
    accuracy as accuracy,
    answers as answers,
    build_network as build_network,
    extract_features as extract_features,
    predict as predict,
    split as split,
)
from .method.nudging import nudge as nudge
from .method.packing import dequantise as dequantise, quantise as quantise
from .method.pruning import (
    channel_importance as channel_importance,
    count_parameters as count_parameters,
    prune_lower as prune_lower,
)
from .method.training import train_original as train_original
from .method.withdrawing import (
    RecoveredNetwork as RecoveredNetwork,
    merge_logits as merge_logits,
    withdraw as withdraw,
)
from .pictures.charts import (
    plot_bank as plot_bank,
    plot_bank_depth as plot_bank_depth,
    plot_confusions as plot_confusions,
    plot_curve as plot_curve,
    plot_round_trip as plot_round_trip,
    plot_sizes as plot_sizes,
    plot_variants as plot_variants,
)
from .pictures.embedding import (
    embed_networks as embed_networks,
    embed_tsne as embed_tsne,
)
from .pictures.evidence import plot_custody as plot_custody, plot_evidence as plot_evidence
from .pictures.figures import (
    plot_history as plot_history,
    plot_samples as plot_samples,
    plot_tsne as plot_tsne,
    save_figure as save_figure,
)
from .widgets.explorer import DepositExplorer as DepositExplorer
from .widgets.exploring import (
    code_line as code_line,
    compare_runs as compare_runs,
    embed_run as embed_run,
    explore as explore,
    fill_grid as fill_grid,
    history_table as history_table,
    journey as journey,
    knob_grid as knob_grid,
    recipes as recipes,
    surface_points as surface_points,
)
from .widgets.small import (
    ClassPicker as ClassPicker,
    CutSlider as CutSlider,
    PointTracker as PointTracker,
    TemperatureSlider as TemperatureSlider,
)
from .widgets.small_views import (
    cut_table as cut_table,
    distillations as distillations,
    part_counts as part_counts,
    point_table as point_table,
    softened as softened,
)

__version__: str
