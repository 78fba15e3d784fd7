"""Signals that ask a command to end: Ctrl-C, a request to terminate, and a terminal that is closed.

A signal that is ignored when the program starts stays ignored: so ``nohup`` keeps a command running without its terminal, and
a shell script keeps its background jobs from Ctrl-C.
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Requests to end that do not come from Ctrl-C; Windows has no SIGHUP, and sends SIGBREAK instead."""
REQUESTS = (signal.SIGINT, *TERMINATIONS)
_PAIR_SECONDS = 2.0


def interruptible() -> AbstractContextManager[None]:
    """Let every request to end raise KeyboardInterrupt, as Ctrl-C does.

    They often come in pairs: whoever closes a session sends SIGHUP and SIGTERM. The second one must not interrupt what the
    first one led to.
    """
    due = -_PAIR_SECONDS

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal due
        now = time.monotonic()
        is_second, due = now < due, now + _PAIR_SECONDS
        if not is_second:
            raise KeyboardInterrupt

    return on_signals(interrupt, TERMINATIONS)


def undisturbed() -> AbstractContextManager[None]:
    """Let no request end the few moments in which the result is written."""
    return on_signals(signal.SIG_IGN, REQUESTS)


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Note a request to stop, so that the step at hand is finished first; the list is empty until there is one."""
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    with on_signals(note, REQUESTS):
        yield asked


@contextmanager
def on_signals(handler: Any, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Handle signals for a while; those that are ignored stay ignored."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    heeded = [each for each in numbers if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, handler) for each in heeded}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, signal.SIG_DFL if old is None else old)  # None: not set from Python
