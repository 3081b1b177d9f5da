"""Trials as TensorBoard's event files: learning curves as scalars, and the HParams tab.

Written with tensorboardX's records, which need no TensorFlow. The folder itself holds what was searched (parameters
with their ranges, the metric); `trial_<id>` in it one trial: its curves as `<metric>/train` and `<metric>/valid` by
epoch, its config, its score under `score` at its last epoch, and whether it diverged.
"""

# protobuf makes its classes when it is imported
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import api_pb2, event_pb2, plugin_hparams_pb2, summary_pb2

from jaxhp.report.result import Result
from jaxhp.space import Space
from jaxhp.store.files import beside, located
from jaxhp.trials import Status, Trial
from jaxhp.values import Config, Error

SCORE = "score"  # the tag of the number that trials are ranked by
_PLUGIN = "hparams"


def write(result: Result, place: str | Path) -> int:
    """Make the folder `place`, beside it first; `tensorboard --logdir` shows it.

    Returns:
      How many trials were written.

    Raises:
      Error: there is something in it already.
    """
    folder = located(place, "out")
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise Error(f"out: expected a new or an empty folder, got {place}, which holds something")
    assert result.space is not None
    now, made = time.time(), beside(folder)
    if made.is_dir() and not made.is_symlink():  # what a kill left behind
        shutil.rmtree(made)
    _write(made, [(0, _experiment(result.space, result.metric, result.objectives.measured[1:]))], now)
    width = len(str(max(trial.trial_id for trial in result.trials)))
    for trial in result.trials:
        _write(made / f"trial_{trial.trial_id:0{width}d}", _events(trial), now)
    if folder.exists():  # empty
        folder.rmdir()
    made.rename(folder)
    return len(result.trials)


def _write(folder: Path, events: list[tuple[int, summary_pb2.Summary]], now: float) -> None:
    """Steps and summaries as one event file."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(str(folder / "events"))
    try:
        for step, summary in events:
            writer.write_event(event_pb2.Event(wall_time=now, step=step, summary=summary))
    finally:
        writer.close()


def _events(trial: Trial) -> list[tuple[int, summary_pb2.Summary]]:
    def scalar(tag: str, value: float) -> summary_pb2.Summary:
        return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=float(value))])

    found = [(0, _session_start(trial.config))]
    for name, curve in sorted(trial.curve.items()):
        part, _, metric = name.partition("_")
        found += [(epoch, scalar(f"{metric}/{part}", value)) for epoch, value in enumerate(curve, 1)]
    if math.isfinite(trial.score):
        found.append((trial.epochs, scalar(SCORE, trial.score)))
    if trial.status is not Status.RUNNING:
        found.append((trial.epochs, _session_end(trial.status is not Status.DIVERGED)))
    return found


def _experiment(space: Space, metric: str, others: Sequence[str]) -> summary_pb2.Summary:
    """What the columns of the HParams tab are, and their ranges."""
    infos = []
    for name, parameter in space.parameters.items():
        info = api_pb2.HParamInfo(name=name, description=str(parameter))
        bounds = parameter.bounds()
        if bounds is None:
            categories = parameter.categories()
            info.domain_discrete.extend(categories)
            kinds = {_type(value) for value in categories}
            info.type = api_pb2.DataType.Value(kinds.pop() if len(kinds) == 1 else "DATA_TYPE_STRING")
        else:
            info.type = api_pb2.DataType.Value("DATA_TYPE_FLOAT64")
            info.domain_interval.min_value, info.domain_interval.max_value = bounds
        infos.append(info)
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=SCORE), display_name=metric)]
    metrics += [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"{name}/valid"), display_name=name) for name in others]
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    return _plugin_summary("experiment", plugin_hparams_pb2.HParamsPluginData(experiment=experiment))


def _session_start(config: Config) -> summary_pb2.Summary:
    start = plugin_hparams_pb2.SessionStartInfo()
    for name, value in config.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    return _plugin_summary("session_start_info", plugin_hparams_pb2.HParamsPluginData(session_start_info=start))


def _session_end(well: bool) -> summary_pb2.Summary:
    end = plugin_hparams_pb2.SessionEndInfo(status=api_pb2.Status.Value("STATUS_SUCCESS" if well else "STATUS_FAILURE"))
    return _plugin_summary("session_end_info", plugin_hparams_pb2.HParamsPluginData(session_end_info=end))


def _plugin_summary(kind: str, content: plugin_hparams_pb2.HParamsPluginData) -> summary_pb2.Summary:
    data = summary_pb2.SummaryMetadata.PluginData(plugin_name=_PLUGIN, content=content.SerializeToString())
    value = summary_pb2.Summary.Value(tag=f"_hparams_/{kind}", metadata=summary_pb2.SummaryMetadata(plugin_data=data))
    return summary_pb2.Summary(value=[value])


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "DATA_TYPE_BOOL"
    return "DATA_TYPE_STRING" if isinstance(value, str) else "DATA_TYPE_FLOAT64"
