"""Registered hooks."""

from lightvit_dense.engine.hooks.attention_agreement import AttentionAgreementHook
from lightvit_dense.engine.hooks.checkpoint import AtomicLocalBackend, CheckpointHook
from lightvit_dense.engine.hooks.class_count import ClassCountHook
from lightvit_dense.engine.hooks.compile import CompileHook
from lightvit_dense.engine.hooks.distributed import GradientCompressionHook, RankConsistencyHook
from lightvit_dense.engine.hooks.export_backbone import ExportBackboneHook
from lightvit_dense.engine.hooks.load_report import FitCheckpointHook, LoadReportHook
from lightvit_dense.engine.hooks.non_finite import NonFiniteLossError, NonFiniteLossGuard
from lightvit_dense.engine.hooks.prediction_visualization import PredictionVisualizationHook
from lightvit_dense.engine.hooks.prefetch import PrefetchHook
from lightvit_dense.engine.hooks.reconstruction import ReconstructionVisualizationHook
from lightvit_dense.engine.hooks.resources import ResourceHook
from lightvit_dense.engine.hooks.resume import (
    FinalValidationHook,
    IterationSeedHook,
    ResumePositionHook,
)
from lightvit_dense.engine.hooks.resume_changes import ResumeChangesHook
from lightvit_dense.engine.hooks.schedules import (
    DistillWeightScheduleHook,
    FreezeLastLayerHook,
    MomentumUpdateHook,
    TeacherTemperatureHook,
)
