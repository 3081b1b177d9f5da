"""Data sets of other libraries give the arrays that they were made of, and say in one line what cannot be read."""

import multiprocessing

import jax
import numpy as np
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.engine.examples import Feed, examples_of

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20, dtype=np.int32) % 4


def same(found, x=X, y=Y):
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["y"], y)


def batches(order, size=8):
    return ({"x": X[order[at : at + size]], "y": Y[order[at : at + size]]} for at in range(0, 20, size))


def test_batches_of_any_iterable():
    same(hp.data.held(batches(np.arange(20))))
    same(hp.data.held({"x": X, "y": Y}))


def test_grain():
    grain = pytest.importorskip("grain.python", reason="needs Grain: pip install grain")
    whole = grain.MapDataset.source([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)])
    same(hp.data.held(whole.batch(8)))
    same(hp.data.held(whole.to_iter_dataset().batch(8)))
    sampler = grain.IndexSampler(20, num_epochs=1)
    loader = grain.DataLoader(data_source=whole, sampler=sampler, operations=[grain.Batch(5)])
    same(hp.data.held(loader))
    with pytest.raises(hp.Error, match=r"source: expected batches, .* shapes \(3,\), \(\): batch the data set"):
        hp.data.held(whole)
    for endless in (
        whole.batch(8).repeat(),
        grain.DataLoader(data_source=whole, sampler=grain.IndexSampler(20), operations=[grain.Batch(5)]),
    ):
        with pytest.raises(hp.Error, match=r"source: expected a data set with an end, got a .* that repeats for ever"):
            hp.data.held(endless)
    stream = hp.data.Stream(lambda epoch: whole.shuffle(seed=epoch).batch(20))
    orders = [stream.examples(epoch)["x"][:, 0] // 3 for epoch in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_hugging_face():
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face datasets: pip install datasets")
    whole = datasets.Dataset.from_dict({"x": X.tolist(), "y": Y, "text": ["a"] * 20})
    same(hp.data.held(whole.select_columns(["x", "y"])))
    same(hp.data.held(whole.select_columns(["x", "y"]).to_iterable_dataset()))
    with pytest.raises(hp.Error, match=r"source\['text'\]: expected numbers or booleans"):
        hp.data.held(whole)
    ragged = datasets.Dataset.from_dict({"ids": [[1], [2, 3]]})
    with pytest.raises(hp.Error, match=r"source\['ids'\]: expected numbers or booleans"):
        hp.data.held(ragged)
    assert hp.data.padded(ragged["ids"])["x"].tolist() == [[1, 0], [2, 3]]
    stream = hp.data.Stream(lambda epoch: whole.select_columns(["x", "y"]).shuffle(seed=epoch))
    first, second = (stream.examples(epoch) for epoch in range(2))
    assert first["y"].tolist() != second["y"].tolist()
    for part in (first, second):
        order = np.argsort(part["x"][:, 0])
        same({name: leaf[order] for name, leaf in part.items()})


def test_pytorch():
    data = pytest.importorskip("torch.utils.data", reason="needs PyTorch: pip install torch")
    import torch

    class Rows(data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            return {"x": torch.tensor(X[i], requires_grad=True), "y": int(Y[i])}

    class Flow(data.IterableDataset):
        def __iter__(self):
            yield from ({"x": x, "y": y} for x, y in zip(X, Y, strict=True))

    same(hp.data.held(Rows()))
    same(hp.data.held(Flow()))
    same(hp.data.held(data.DataLoader(Rows(), batch_size=8)))
    same(hp.data.held(data.DataLoader(Rows(), batch_size=None)))
    pairs = data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    x, y = hp.data.held(data.DataLoader(pairs, batch_size=7))
    same({"x": x, "y": y})
    spawned = data.DataLoader(pairs, batch_size=7, num_workers=1, multiprocessing_context="spawn")
    x, y = hp.data.held(spawned)
    same({"x": x, "y": y})
    with pytest.raises(hp.Error, match=r"source: expected a DataLoader with spawned workers, .*='spawn'"):
        hp.data.held(data.DataLoader(pairs, num_workers=1, multiprocessing_context="fork"))
    if multiprocessing.get_start_method() == "fork":  # Linux, up to Python 3.13
        with pytest.raises(hp.Error, match="Stream epoch 0: expected a DataLoader with spawned workers"):
            hp.data.Stream(lambda epoch: data.DataLoader(pairs, num_workers=1))

    def shuffled(epoch):
        return data.DataLoader(pairs, 5, shuffle=True, generator=torch.Generator().manual_seed(epoch))

    assert not np.array_equal(*(hp.data.Stream(shuffled).examples(epoch)[1] for epoch in range(2)))
    unseeded = hp.data.Stream(lambda epoch: data.DataLoader(pairs, 5, shuffle=True))
    with pytest.raises(hp.Error, match="Stream epoch 0: expected the same examples each time"):
        unseeded.examples(0)


def test_tf_data():
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install tensorflow-cpu")
    whole = tf.data.Dataset.from_tensor_slices({"x": X, "y": Y})
    same(hp.data.held(whole.batch(8)))
    with pytest.raises(hp.Error, match="source: expected batches"):
        hp.data.held(whole)
    with pytest.raises(hp.Error, match="source: expected a data set with an end"):
        hp.data.held(whole.batch(8).repeat())
    stream = hp.data.Stream(lambda epoch: whole.shuffle(20, seed=epoch).batch(8))
    assert sorted(stream.examples(1)["x"][:, 0]) == sorted(X[:, 0])
    np.testing.assert_array_equal(stream.examples(1)["x"], stream.examples(1)["x"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: iter([]), "source: expected at least one batch, got none"),
        (lambda: iter([{"x": X}, {"x": X[:, :2]}]), r"source: expected arrays of one structure .* in number 1"),
        (lambda: iter([{"x": X}, {"y": X}]), r"source: expected arrays of one structure .* in number 1"),
        (lambda: iter([{"x": [1.0, None]}]), "source: expected"),
        (lambda: 3, "source: expected an array, got int"),
    ],
)
def test_what_cannot_be_read_is_named(source, message):
    with pytest.raises(hp.Error, match=f"^{message}"):
        hp.data.held(source())


def test_a_stream_that_is_not_the_same_twice_is_refused_before_it_trains():
    whole = task()
    rng = np.random.default_rng(0)

    def epoch(number):
        order = rng.permutation(30)  # a generator that goes on
        return {name: leaf[order] for name, leaf in whole.train.items()}

    message = r"^Stream epoch 0: expected the same examples each time, got others at \['x'\] than before"
    streamed = task(train=hp.data.Stream(epoch))
    given = examples_of(streamed.train, streamed.valid, min)
    feed = Feed(given, jax.random.key(0), streamed.stream, jax.devices()[:1], 1)
    with pytest.raises(hp.Error, match=message) as caught:
        next(feed.spans(0, 1))
    assert caught.value.__notes__ == ["in epoch 0 of the stream of training data"]
