import io

import numpy as np
import PIL.Image
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from jaxhp.data import mnist_sample, png


@given(arrays_of.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(28), st.just(28))))
def test_any_image_comes_back(images):
    for image, file in zip(images, png.encode(images), strict=True):
        with PIL.Image.open(io.BytesIO(file)) as read:
            np.testing.assert_array_equal(np.asarray(read), image)


def test_digits_come_back_and_all_filters_are_used():
    images = mnist_sample(300).train["image"]
    kinds, _ = png._filter(images.astype(np.int16))
    assert set(np.unique(kinds)) == {0, 1, 2, 3, 4}
    for image, file in zip(images, png.encode(images), strict=True):
        with PIL.Image.open(io.BytesIO(file)) as read:
            np.testing.assert_array_equal(np.asarray(read), image)
