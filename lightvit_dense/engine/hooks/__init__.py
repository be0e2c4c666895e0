"""Registered hooks, one idea a file."""

from lightvit_dense.engine.hooks.attention_agreement import AttentionAgreementHook
from lightvit_dense.engine.hooks.checkpoint import AtomicLocalBackend, CheckpointHook
from lightvit_dense.engine.hooks.class_count import ClassCountHook
from lightvit_dense.engine.hooks.distill_weight import DistillWeightScheduleHook
from lightvit_dense.engine.hooks.export_backbone import ExportBackboneHook
from lightvit_dense.engine.hooks.final_validation import FinalValidationHook
from lightvit_dense.engine.hooks.fit_checkpoint import FitCheckpointHook
from lightvit_dense.engine.hooks.freeze_last_layer import FreezeLastLayerHook
from lightvit_dense.engine.hooks.gradient_compression import GradientCompressionHook
from lightvit_dense.engine.hooks.iteration_seed import IterationSeedHook
from lightvit_dense.engine.hooks.load_report import LoadReportHook
from lightvit_dense.engine.hooks.momentum_update import MomentumUpdateHook
from lightvit_dense.engine.hooks.non_finite import NonFiniteLossError, NonFiniteLossGuard
from lightvit_dense.engine.hooks.prediction_visualization import PredictionVisualizationHook
from lightvit_dense.engine.hooks.rank_consistency import RankConsistencyHook
from lightvit_dense.engine.hooks.reconstruction import ReconstructionVisualizationHook
from lightvit_dense.engine.hooks.resources import ResourceHook
from lightvit_dense.engine.hooks.resume_position import ResumePositionHook
from lightvit_dense.engine.hooks.teacher_temperature import TeacherTemperatureHook

__all__ = [
    'AtomicLocalBackend',
    'AttentionAgreementHook',
    'CheckpointHook',
    'ClassCountHook',
    'DistillWeightScheduleHook',
    'ExportBackboneHook',
    'FinalValidationHook',
    'FitCheckpointHook',
    'FreezeLastLayerHook',
    'GradientCompressionHook',
    'IterationSeedHook',
    'LoadReportHook',
    'MomentumUpdateHook',
    'NonFiniteLossError',
    'NonFiniteLossGuard',
    'PredictionVisualizationHook',
    'RankConsistencyHook',
    'ReconstructionVisualizationHook',
    'ResourceHook',
    'ResumePositionHook',
    'TeacherTemperatureHook',
]
