"""Data that is made epoch by epoch trains the same networks as data that is held."""

import time

import numpy as np
import pytest
from populations import train
from small_search import search, task

import jaxhp as hp

CONFIGS = [{"lr": lr} for lr in (0.01, 0.03, 0.1)]
HELD = task()
EPOCHS = 5  # of all, which are then few programs
ROWS = HELD.n_train


def shifted(epoch: int) -> dict[str, np.ndarray]:
    return {"x": HELD.train["x"] * np.float32(1 + epoch / 10), "y": HELD.train["y"]}


def same(a, b) -> bool:
    return all(np.array_equal(x["w"], y["w"]) for x, y in zip(a.params, b.params, strict=True))


def test_a_stream_of_equal_epochs_is_the_held_data_bit_for_bit():
    streamed = task(train=hp.data.Stream(lambda epoch: HELD.train))
    assert same(train(streamed, CONFIGS, EPOCHS), train(HELD, CONFIGS, EPOCHS))


def test_epochs_train_on_their_own_examples_whatever_the_calls():
    stream = hp.data.Stream(shifted)
    whole = train(task(train=stream), CONFIGS, EPOCHS)
    assert same(whole, train(task(train=stream), CONFIGS, EPOCHS, stops=(1, 2, 4)))
    assert not same(whole, train(HELD, CONFIGS, EPOCHS))
    assert np.isfinite(whole.ranked.score).all()


def test_an_iterable_of_batches_is_put_together():
    def batches(epoch):
        whole = shifted(epoch)
        yield from ({name: leaf[at : at + 10] for name, leaf in whole.items()} for at in range(0, ROWS, 10))

    put_together, whole = (task(train=hp.data.Stream(epoch)) for epoch in (batches, shifted))
    assert same(train(put_together, CONFIGS, EPOCHS), train(whole, CONFIGS, EPOCHS))


@pytest.mark.slow
def test_members_of_other_epochs_wait():
    """Refilled rows start at epoch 0 while survivors go on at their own."""
    streamed = {"task": task(train=hp.data.Stream(shifted)), "tile": 2}
    refilled = search(strategy=hp.Halving(9, eta=3, refill=True), **streamed).run(quiet=True)
    full = [t for t in refilled.trials if t.epochs == 9]
    assert len(full) > 3
    alone = search(strategy=hp.Random(len(refilled.trials)), include=[t.config for t in refilled.trials], **streamed)
    found = {tuple(t.config.values()): t.score for t in alone.run(quiet=True).trials}
    np.testing.assert_array_equal([t.score for t in full], [found[tuple(t.config.values())] for t in full])


def test_the_next_epoch_is_made_while_one_trains():
    made: list[int] = []

    def epoch(number):
        made.append(number)
        return shifted(number)

    population = train(task(train=hp.data.Stream(epoch)), CONFIGS, EPOCHS, stops=(1, 2)).population
    assert made == [0, 0, 1, 1, 2, 3, 4]  # once for the shapes, and to see that it is the same; nothing beyond the last
    list(population.feed.spans(0, 1))
    deadline = time.monotonic() + 600
    while made[7:] != [0, 1] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made[7:] == [0, 1]


@pytest.mark.slow
def test_a_wave_reads_the_stream_again():
    streamed = task(train=hp.data.Stream(shifted))
    member = hp.Search(streamed, hp.Space(lr=hp.LogUniform(1e-3, 1.0)), hp.Random(8), epochs=3, tile=2, finals=None)
    small = member.plan().groups[0]
    needed = small.peak_bytes - small.state_bytes // 2 - 1
    assert member.plan(memory=needed).groups[0].waves > 1
    assert member.run(quiet=True, memory=needed).digest == member.run(quiet=True).digest


@pytest.mark.parametrize(
    ("epoch", "message"),
    [
        (lambda e: {"x": np.zeros((30 + e, 4), np.float32), "y": np.zeros(30 + e, np.float32)}, "expected arrays as"),
        (lambda e: {"x": np.full((30, 4), np.nan if e else 0, np.float32), "y": np.zeros(30)}, "finite"),
        (lambda e: iter([shifted(e)] if e == 0 else []), "at least one batch"),
    ],
)
def test_an_epoch_that_does_not_fit_is_named(epoch, message):
    with pytest.raises(ValueError, match=message) as caught:
        train(task(train=hp.data.Stream(epoch)), CONFIGS, EPOCHS)
    assert "epoch 1" in str(caught.value) + str(caught.value.__notes__)


def test_a_later_epoch_that_is_another_each_time_is_refused():
    rng = np.random.default_rng(0)
    moved = lambda number: shifted(number) | {"y": shifted(number)["y"] + (rng.normal() if number else 0)}  # noqa: E731
    with pytest.raises(hp.Error, match=r"Stream epoch 1: expected the same examples each time, got others at \['y'\]"):
        train(task(train=hp.data.Stream(moved)), CONFIGS, EPOCHS)


def test_errors_of_the_function_are_its_own():
    def epoch(number):
        if number:
            raise OSError("the disk is gone")
        return shifted(number)

    with pytest.raises(OSError, match="the disk is gone") as caught:
        train(task(train=hp.data.Stream(epoch)), CONFIGS, EPOCHS)
    assert caught.value.__notes__ == ["in epoch 1 of the stream of training data"]
    with pytest.raises(hp.Error, match="function of an epoch's number"):
        hp.data.Stream([shifted(0)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Stream"):
        search(task=task(train=hp.data.Stream(shifted)), folds=3)


@pytest.mark.slow
def test_the_sealed_test_trains_on_the_stream_and_the_validation_data():
    streamed = task(train=hp.data.Stream(shifted), test={"x": HELD.valid["x"], "y": HELD.valid["y"]})
    found = search("random", task=streamed).run(quiet=True).test(seeds=2)
    assert np.isfinite(found.mean)
    joined = hp.data.Stream(shifted).joined(HELD.valid)
    assert len(joined.examples(2)["y"]) == ROWS + len(HELD.valid["y"])
