"""Trials as TensorBoard's event files: learning curves as scalars, and the HParams tab.

Written with tensorboardX's records, which need no TensorFlow. The folder itself holds what was searched (parameters
with their ranges, the metric); `trial_<id>` in it one trial: its curves as `<metric>/train` and `<metric>/valid` by
epoch, its config, its score under `score` at its last epoch, and whether it diverged.
"""

# protobuf makes its classes when it is imported
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tensorboardX.proto import api_pb2, plugin_hparams_pb2, summary_pb2, tensor_pb2

from jaxhp.interop.event_file import Entry, append
from jaxhp.interop.points import SCORE, Point, points
from jaxhp.report.result import Result
from jaxhp.space import Space
from jaxhp.store.files import beside, located
from jaxhp.trials import Status, Trial
from jaxhp.values import Config, Error, Value

_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"


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
    made = beside(folder)
    if made.is_dir() and not made.is_symlink():  # what a kill left behind
        shutil.rmtree(made)
    append(made, [(0, experiment(result.space, result.metric, result.objectives.measured[1:]))])
    width = len(str(max(trial.trial_id for trial in result.trials)))
    for trial in result.trials:
        append(made / f"trial_{trial.trial_id:0{width}d}", entries(trial, points(trial)))
    if folder.exists():  # empty
        folder.rmdir()
    made.rename(folder)
    return len(result.trials)


def entries(trial: Trial, new: Iterable[Point], there: Mapping[str, int] | None = None) -> list[Entry]:
    """Return what is logged of a trial: its config first, then points, then how it ended, where it has.

    Args:
      new: its points that are not logged yet.
      there: tag to the last step of what is; None: nothing is.
    """
    there = there or {}
    found = [] if _START in there else [(0, _session_start(trial.config))]
    found += [(epoch, scalar(tag, value)) for tag, epoch, value in new]
    if trial.status is not Status.RUNNING and there.get(_END, -1) < trial.epochs:
        found.append((trial.epochs, _session_end(trial.status is not Status.DIVERGED)))
    return found


def scalar(tag: str, value: float) -> summary_pb2.Summary:
    """Return a number as TensorBoard keeps it: in float32."""
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=float(value))])


def text(tag: str, content: str) -> summary_pb2.Summary:
    """Return a text as TensorBoard shows it: as Markdown, in which lines that are indented stay as they are."""
    lines = "\n".join(f"    {line}" for line in content.splitlines())
    tensor = tensor_pb2.TensorProto(dtype="DT_STRING", string_val=[lines.encode(errors="replace")])
    tensor.tensor_shape.dim.add().size = 1
    data = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text"))
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=data, tensor=tensor)])


def experiment(space: Space, metric: str, others: Sequence[str]) -> summary_pb2.Summary:
    """Return what the columns of the HParams tab are, and their ranges."""
    infos = []
    for name, parameter in space.parameters.items():
        info = api_pb2.HParamInfo(name=name, description=str(parameter))
        bounds = parameter.bounds()
        if bounds is None:
            categories = [_plain(value) for value in parameter.categories()]
            info.domain_discrete.extend(categories)
            kinds = {_type(value) for value in categories}
            info.type = api_pb2.DataType.Value(kinds.pop() if len(kinds) == 1 else "DATA_TYPE_STRING")
        else:
            info.type = api_pb2.DataType.Value("DATA_TYPE_FLOAT64")
            info.domain_interval.min_value, info.domain_interval.max_value = bounds
        infos.append(info)
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=SCORE), display_name=metric)]
    metrics += [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"{name}/valid"), display_name=name) for name in others]
    whole = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    return _plugin("_hparams_/experiment", plugin_hparams_pb2.HParamsPluginData(experiment=whole))


def _session_start(config: Config) -> summary_pb2.Summary:
    start = plugin_hparams_pb2.SessionStartInfo()
    for name, value in ((name, _plain(value)) for name, value in config.items()):
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    return _plugin(_START, plugin_hparams_pb2.HParamsPluginData(session_start_info=start))


def _session_end(well: bool) -> summary_pb2.Summary:
    end = plugin_hparams_pb2.SessionEndInfo(status=api_pb2.Status.Value("STATUS_SUCCESS" if well else "STATUS_FAILURE"))
    return _plugin(_END, plugin_hparams_pb2.HParamsPluginData(session_end_info=end))


def _plugin(tag: str, content: plugin_hparams_pb2.HParamsPluginData) -> summary_pb2.Summary:
    data = summary_pb2.SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    value = summary_pb2.Summary.Value(tag=tag, metadata=summary_pb2.SummaryMetadata(plugin_data=data))
    return summary_pb2.Summary(value=[value])


def _plain(value: Value) -> bool | float | str:
    """Return a value as TensorBoard has it: None and tuples as text."""
    return value if isinstance(value, bool | float | int | str) else str(value)


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "DATA_TYPE_BOOL"
    return "DATA_TYPE_STRING" if isinstance(value, str) else "DATA_TYPE_FLOAT64"
