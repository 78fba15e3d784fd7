"""Signals that ask a command to end: Ctrl-C, a termination request, or a closed terminal.

If a signal is ignored when the program starts, it stays ignored. With ``nohup``, a command can therefore run without its
terminal, and a shell script can protect its background jobs from Ctrl-C.
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Signals other than Ctrl-C that ask a command to end. Windows has SIGBREAK instead of SIGHUP."""
REQUESTS = (signal.SIGINT, *TERMINATIONS)
_PAIR_SECONDS = 2.0


def interruptible() -> AbstractContextManager[None]:
    """Raise KeyboardInterrupt when the command is asked to end, as on Ctrl-C.

    Requests often come in pairs. For example, closing a session sends SIGHUP and SIGTERM. A second request within two seconds
    is ignored, so it does not interrupt the cleanup that the first request started.
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
    """Ignore all requests to end the command, so that it can save the result."""
    return on_signals(signal.SIG_IGN, REQUESTS)


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Record the first request to stop, so that the current step can finish. A second request raises KeyboardInterrupt.

    Yields:
        A list that is empty until the first request.
    """
    requests: list[int] = []

    def note(number: int, _frame: object) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)

    with on_signals(note, REQUESTS):
        yield requests


@contextmanager
def on_signals(handler: Any, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Install a signal handler temporarily. Ignored signals stay ignored."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    handled = [each for each in numbers if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, handler) for each in handled}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, signal.SIG_DFL if old is None else old)  # None: the handler was not set from Python
