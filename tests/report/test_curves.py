import numpy as np
import pytest
from PIL import Image

from jaxhp.report.curves import draw_curves
from jaxhp.trials import Trial


def trial(i, epochs):
    curve = {f"{part}_accuracy": np.linspace(0.1, 0.9, epochs) for part in ("train", "valid")}
    return Trial(i, {"lr": 0.1, "weight_decay": 1e-5}, score=0.9, curve=curve)


@pytest.mark.parametrize(("count", "size"), [(1, (275, 286)), (7, (1375, 517)), (30, (1375, 979))])
def test_a_panel_a_trial_up_to_twenty(count, size, tmp_path):
    path = draw_curves([trial(i, 10) for i in range(count)], "accuracy", tmp_path / "a.png")
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[1::-1] == size
    blue = (np.abs(picture.astype(int) - (0, 114, 178)).sum(-1) < 30).any(0)  # the validation curves
    columns = np.array_split(blue, min(count, 5))
    assert all(part.any() for part in columns)


def test_one_epoch_and_no_curve_at_all_are_drawn_too(tmp_path):
    assert draw_curves([trial(0, 1)], "accuracy", tmp_path / "a.png").stat().st_size > 0
    assert draw_curves([Trial(0, {})], "accuracy", tmp_path / "b.png").stat().st_size > 0
