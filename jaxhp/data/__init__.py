"""Where training data comes from; test data stays under seal until it is opened."""

from jaxhp.data.dataset import Dataset, Sealed, arrays
from jaxhp.data.fingerprints import fingerprint
from jaxhp.data.folds import Folds
from jaxhp.data.idx_files import idx
from jaxhp.data.sample import mnist_sample
from jaxhp.data.splitting import split
from jaxhp.data.stream import Stream
from jaxhp.data.tfds_source import tfds

__all__ = ["Dataset", "Folds", "Sealed", "Stream", "arrays", "fingerprint", "idx", "mnist_sample", "split", "tfds"]
