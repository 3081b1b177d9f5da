"""Where training data comes from; test data stays under seal until it is opened."""

from jaxhp.data.dataset import Dataset, Sealed, arrays
from jaxhp.data.fingerprints import fingerprint
from jaxhp.data.folds import Folds
from jaxhp.data.holding import held
from jaxhp.data.idx_files import idx
from jaxhp.data.padding import padded
from jaxhp.data.sample import mnist_sample
from jaxhp.data.splitting import split
from jaxhp.data.stream import Stream
from jaxhp.data.tables import Table, table
from jaxhp.data.tfds_source import tfds
from jaxhp.data.weights import class_weights

__all__ = [
    "Dataset",
    "Folds",
    "Sealed",
    "Stream",
    "Table",
    "arrays",
    "class_weights",
    "fingerprint",
    "held",
    "idx",
    "mnist_sample",
    "padded",
    "split",
    "table",
    "tfds",
]
