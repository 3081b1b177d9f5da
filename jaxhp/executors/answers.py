"""A call and its answer as bytes, for adapters that send them themselves."""

from __future__ import annotations

import pickle
import traceback
from concurrent.futures import Future
from typing import Any


def answered(call: bytes) -> bytes:
    """Make a call `(fn, args)`; return what it returned or raised, with where."""
    try:
        fn, args = pickle.loads(call)
        return pickle.dumps((True, fn(*args)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        error.add_note(f"on a worker:\n{traceback.format_exc()}")
        try:
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
        except Exception:  # an exception that cannot be pickled, or only that
            return pickle.dumps((False, RuntimeError(traceback.format_exc())))
        return answer


def settle(future: Future[Any], answer: bytes) -> None:
    """Hand an answer on to whoever waits for it."""
    try:
        good, value = pickle.loads(answer)
    except Exception as error:
        good, value = False, error
    (future.set_result if good else future.set_exception)(value)
