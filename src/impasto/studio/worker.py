"""The child process. It reads orders from standard input, one line of JSON each, and answers on standard output.

The process exits immediately when its input or output is closed, so it never outlives its parent.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from impasto.errors import ClipError, ImageFileError, ImpastoError, ResourceError, ShapeError, WeightsError
from impasto.runtime.memory import is_out_of_memory
from impasto.studio.controls import in_words
from impasto.studio.faults import BUG, fault, said

Message = dict[str, Any]
_NICENESS = {"quick": 0, "slow": 10, "training": 15, "video": 12}


class Line:
    """Connection of a worker to its parent.

    Attributes:
        orders: Queue of orders.
        how: The stop request for the current order: "stop", "finish", or "" if there is none.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self.orders: queue.Queue[Message] = queue.Queue()
        self.how = ""
        self._source, self._target = source, target
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, what: str, **facts: Any) -> None:
        """Send one message."""
        line = json.dumps({"say": what, **facts}, allow_nan=False).encode() + b"\n"
        try:
            self._target.write(line)
            self._target.flush()
        except BrokenPipeError:
            os._exit(0)  # the parent has ended

    def next(self) -> Message:
        """Wait for the next order."""
        order = self.orders.get()
        self.how = ""
        return order

    def _listen(self) -> None:
        try:
            for line in self._source:
                message = json.loads(line)
                if message["do"] == "stop":
                    self.how = message["how"]
                else:
                    self.orders.put(message)
        finally:  # the parent has ended or sent an invalid message
            os._exit(0)


def main(lane: str, memory_bytes: int) -> None:
    """Run until the parent ends."""
    for name in ("SIGINT", "SIGHUP"):  # the parent handles these signals, and then ends this process
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # print() must not write to the parent
    _restrict(memory_bytes, _NICENESS[lane])
    line = Line(sys.stdin.buffer, target)
    from impasto.studio import orders

    orders.warm(lane)
    line.say("ready")
    while True:
        order = line.next()
        _run_order(line, order, orders.DOES[order["do"]])


def _run_order(line: Line, order: Message, does: Callable[[Message, Line], Message | None]) -> None:
    try:
        answer = does(order, line)
    except Exception as error:
        code, message, field = _described(error)
        line.say("failed", code=code, message=message, field=field)
        if code == "bug":
            with suppress(OSError):  # the disk with the log may be full
                traceback.print_exc()
    else:
        line.say("stopped") if answer is None else line.say("done", **answer)


def _described(error: Exception) -> tuple[str, str, str | None]:
    """Return the code, the message and the option of an error."""
    if found := fault(error):  # check this first, because an error while writing does not mean that the picture is invalid
        return found, said(error), None
    if isinstance(error, ImpastoError):
        message, field = in_words(error)
        return _code(error), message, field
    if is_out_of_memory(error):
        return "memory", "there is not enough memory; use a smaller size", "size"
    return "bug", BUG, None


def _code(error: ImpastoError) -> str:
    if isinstance(error, ImageFileError | ShapeError):
        return "picture"
    if isinstance(error, ClipError):
        return "clip"
    if isinstance(error, ResourceError):
        return "memory"
    return "worker" if isinstance(error, WeightsError) else "option"


def _restrict(memory_bytes: int, niceness: int) -> None:
    """Limit memory, disable core dumps and lower the priority."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most != resource.RLIM_INFINITY:  # only root may raise the hard limit
            memory_bytes = min(memory_bytes, most)
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with suppress(AttributeError, OSError):
        os.nice(niceness)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
