"""Where training data comes from; test data stays under seal until it is opened."""

from jaxhp.data.dataset import Dataset, Sealed, arrays
from jaxhp.data.fingerprints import fingerprint
from jaxhp.data.sample import mnist_sample
from jaxhp.data.splitting import split

__all__ = ["Dataset", "Sealed", "arrays", "fingerprint", "mnist_sample", "split"]
