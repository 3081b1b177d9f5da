"""Trackers to watch a search with, while it runs: `search.run(dir, watch=[hp.watch.TensorBoard("logs")])`.

Each is an observer: a function of one event (`hp.events`), of which one of your own takes the place.
"""

from jaxhp.interop.watch.csv import CSV
from jaxhp.interop.watch.mlflow import MLflow
from jaxhp.interop.watch.tensorboard import TensorBoard
from jaxhp.interop.watch.wandb import WandB
from jaxhp.values import Error

__all__ = ["CSV", "MLflow", "TensorBoard", "WandB"]
KINDS = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB, "csv": CSV}


def parsed(text: str) -> TensorBoard | MLflow | WandB | CSV:
    """Return the tracker that `tensorboard:DIR`, `mlflow:URI`, `wandb:PROJECT` or `csv:PATH` means.

    Raises:
      Error: it means none, or the tracker's own.
    """
    kind, _, place = text.partition(":")
    if kind not in KINDS or not (place or kind in ("mlflow", "wandb")):
        raise Error(f"--watch: expected tensorboard:DIR, mlflow[:URI], wandb[:PROJECT] or csv:PATH, got {text}")
    return KINDS[kind](place) if place else KINDS[kind]()
