"""What the step trains and evaluates on, as it lies on each device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from jaxhp.data.stream import Stream
from jaxhp.engine.examples import Examples


class Feed:
    """Examples and the root of random numbers, copied to every device; of a stream, one epoch ahead of the training.

    Args:
      examples: of a population; of a stream, those of its first epoch.
      root: a key.
      epochs: at most.

    Attributes:
      abstract: shapes of a copy, training examples included.
      copies: (examples, root) on each device; of a stream, without training examples.
    """

    def __init__(self, examples: Examples, root: jax.Array, stream: Stream | None, devices: Sequence[Any], epochs: int):
        self.abstract = jax.eval_shape(lambda *parts: parts, examples, root)
        self._stream, self._devices, self._epochs = stream, devices, epochs
        held = examples if stream is None else examples._replace(train=None)
        self.copies = [jax.device_put((held, root), device) for device in devices]
        self._thread = ThreadPoolExecutor(1, "jaxhp-feed")
        self._ahead: tuple[int, Future[list[Any]]] | None = None

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, list[Any]]]:
        """The epochs from `start` to `stop` in parts that train on the same examples: (start, stop, copies).

        Raises:
          Exception: what a stream's function raised, with a note that names the epoch.
        """
        if self._stream is None:
            yield start, stop, self.copies
            return
        for epoch in range(start, stop):
            brought = self._at(epoch)
            yield (
                epoch,
                epoch + 1,
                [(held._replace(train=t), root) for (held, root), t in zip(self.copies, brought, strict=True)],
            )

    def _at(self, epoch: int) -> list[Any]:
        """The epoch's training examples on each device; from now on, the next epoch's are being made."""
        if self._ahead is None or self._ahead[0] != epoch:
            self._ahead = epoch, self._thread.submit(self._bring, epoch)
        made, self._ahead = self._ahead[1], None
        brought = made.result()
        if epoch + 1 < self._epochs:
            self._ahead = epoch + 1, self._thread.submit(self._bring, epoch + 1)
        return brought

    def _bring(self, epoch: int) -> list[Any]:
        assert self._stream is not None
        try:
            examples = self._stream.examples(epoch)
        except Exception as error:
            error.add_note(f"in epoch {epoch} of the stream of training data")
            raise
        return [jax.device_put(examples, device) for device in self._devices]
