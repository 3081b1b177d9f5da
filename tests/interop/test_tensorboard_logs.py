"""TensorBoard's own readers find the curves, the hyperparameters and the scores."""

from dataclasses import replace

import numpy as np
import pytest
from recorded import made
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

import jaxhp as hp
from jaxhp.interop import export
from jaxhp.interop.event_file import append
from jaxhp.interop.tensorboard_logs import entries, experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def logs(run):
    _, written, _ = export(run, "tensorboard")
    assert written == 29
    return run / "tensorboard"


def read(folder) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def plugin(found: EventAccumulator, kind: str) -> bytes:
    return found.SummaryMetadata(f"_hparams_/{kind}").plugin_data.content


def test_curves_are_scalars_by_epoch(run, logs):
    for trial in hp.Result.load(run).trials:
        found = read(logs / f"trial_{trial.trial_id:02d}")
        if not trial.curve:
            assert found.Tags()["scalars"] == []
            continue
        for part in ("train", "valid"):
            scalars = found.Scalars(f"accuracy/{part}")
            assert [s.step for s in scalars] == list(range(1, trial.epochs + 1))
            np.testing.assert_array_equal([s.value for s in scalars], trial.curve[f"{part}_accuracy"])
        if np.isfinite(trial.score):
            assert [(s.step, s.value) for s in found.Scalars("score")] == [(trial.epochs, trial.score)]
        else:
            assert "score" not in found.Tags()["scalars"]


def test_the_hparams_tab_knows_configs_ranges_and_outcomes(run, logs):
    experiment = metadata.parse_experiment_plugin_data(plugin(read(logs), "experiment"))
    infos = {info.name: info for info in experiment.hparam_infos}
    assert (infos["lr"].domain_interval.min_value, infos["lr"].domain_interval.max_value) == (1e-5, 1.0)
    assert [value.string_value for value in infos["kind"].domain_discrete.values] == ["sgd", "adam"]
    assert [info.name.tag for info in experiment.metric_infos] == ["score"]
    for trial in hp.Result.load(run).trials:
        found = read(logs / f"trial_{trial.trial_id:02d}")
        start = metadata.parse_session_start_info_plugin_data(plugin(found, "session_start_info"))
        told = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
        assert told == trial.config
        if trial.curve:
            end = metadata.parse_session_end_info_plugin_data(plugin(found, "session_end_info"))
            well = api_pb2.STATUS_FAILURE if str(trial.status) == "diverged" else api_pb2.STATUS_SUCCESS
            assert end.status == well


def test_none_and_tuples_are_text(tmp_path):
    of = hp.Space(pool=hp.Choice([None, (2, 2), 3]))
    trial = hp.Trial(0, {"pool": None}, status=hp.Status.COMPLETE, score=0.5, epochs=1)
    for number, value in enumerate([None, (2, 2), 3]):
        told = replace(trial, trial_id=number, config={"pool": value})
        append(tmp_path / str(number), [(0, experiment(of, "error", ())), *entries(told, [])])
        found = read(tmp_path / str(number))
        start = metadata.parse_session_start_info_plugin_data(plugin(found, "session_start_info")).hparams["pool"]
        assert getattr(start, start.WhichOneof("kind")) == (3 if value == 3 else str(value))


def test_what_is_there_is_not_overwritten(run, logs, tmp_path):
    with pytest.raises(ValueError, match="expected a new or an empty folder"):
        export(run, "tensorboard")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError, match="expected a new or an empty folder"):
        export(run, "tensorboard", tmp_path / "link")
