"""Trackers to watch a search with, while it runs: `search.run(dir, watch=[hp.watch.TensorBoard("logs")])`.

Each is an observer: a function of one event (`hp.events`), of which one of your own takes the place.
"""

from jaxhp.interop.watch.csv import CSV as CSV
from jaxhp.interop.watch.mlflow import MLflow as MLflow
from jaxhp.interop.watch.tensorboard import TensorBoard as TensorBoard
from jaxhp.interop.watch.wandb import WandB as WandB
