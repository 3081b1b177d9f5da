from importlib import resources

import numpy as np
import pytest

from jaxhp.data import fingerprint, mnist_sample


def test_first_images_in_original_order():
    data = mnist_sample(500)
    image, label = data.train["image"], data.train["label"]
    assert (image.shape, image.dtype) == ((500, 28, 28), np.uint8)
    assert (label.shape, label.dtype) == ((500,), np.int32)
    assert label[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # MNIST as everybody knows it
    assert image.max() == 255
    whole = mnist_sample().train
    assert whole["image"].shape == (5000, 28, 28)
    np.testing.assert_array_equal(whole["image"][:500], image)


def test_test_images_are_sealed():
    data = mnist_sample(1)
    assert data.test is not None
    assert data.test.opened == 0
    test = data.test.open()
    assert test["image"].shape == (1000, 28, 28)
    assert test["label"].dtype == np.int32
    assert test["label"][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data.test.opened == 1


def test_a_small_sample_does_not_hold_the_whole_one():
    assert mnist_sample(1).train["image"].base is None


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n: expected 1 to 5000 images of the bundled sample, got 0"),
        (5001, ValueError, "n: expected 1 to 5000 images of the bundled sample, got 5001"),
        (2.5, ValueError, "n: expected an integer, got 2.5"),
        (True, ValueError, "n: expected an integer, got True"),
    ],
)
def test_bad_n(n, error, message):
    with pytest.raises(error) as caught:
        mnist_sample(n)
    assert str(caught.value).startswith(message)


def test_the_sample_is_credited():
    credit = (resources.files("jaxhp.data") / "MNIST_CREDIT.txt").read_text()
    assert all(word in credit for word in ("LeCun", "Cortes", "Burges", "ShareAlike 3.0"))


def test_fingerprint_of_the_sample_stays():
    assert fingerprint(mnist_sample(500).train) == "ebc66345c68c092d699b974e8af3b052f3f26dc92331574bc8d9217b47e6a093"
