"""Ready hooks: what looks on while a run goes, logs it, measures it, and ends it.

Each is a small class over the protocol of `dovetail.Hook`, given to `train(hooks=[...])`.
"""

from dovetail.hooks.csv_log import CsvLog
from dovetail.hooks.histograms import Histograms
from dovetail.hooks.images import Images
from dovetail.hooks.json_lines_log import JsonLinesLog
from dovetail.hooks.log import Log
from dovetail.hooks.memory import Memory
from dovetail.hooks.mlflow_log import MLflowLog
from dovetail.hooks.nan_watch import NanWatch
from dovetail.hooks.profile import Profile
from dovetail.hooks.step_times import StepTimes
from dovetail.hooks.stop_after import StopAfter
from dovetail.hooks.stop_at_step import StopAtStep
from dovetail.hooks.stop_before import StopBefore
from dovetail.hooks.stop_on_notice import StopOnNotice
from dovetail.hooks.stop_when import StopWhen
from dovetail.hooks.wandb_log import WandbLog

__all__ = [
    "CsvLog",
    "Histograms",
    "Images",
    "JsonLinesLog",
    "Log",
    "MLflowLog",
    "Memory",
    "NanWatch",
    "Profile",
    "StepTimes",
    "StopAfter",
    "StopAtStep",
    "StopBefore",
    "StopOnNotice",
    "StopWhen",
    "WandbLog",
]
