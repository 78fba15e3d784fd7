"""The child's side: a program that reads orders from its input, a line of JSON each, and answers on its output.

It ends with its parent: when its input ends, or nobody reads its output, it ends at once, in the middle of whatever it does.
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

from impasto.errors import ImageFileError, ImpastoError, ResourceError, ShapeError, WeightsError
from impasto.studio.controls import in_words
from impasto.studio.faults import BUG, fault, said

Message = dict[str, Any]
_NICENESS = {"quick": 0, "slow": 10}


class Line:
    """What connects a worker with its parent.

    Attributes:
        orders: what is to be done, in order.
        how: how the order in hand shall stop: "", "stop" or "finish".
    """

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self.orders: queue.Queue[Message] = queue.Queue()
        self.how = ""
        self._source, self._target = source, target
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, what: str, **facts: Any) -> None:
        """Send one line."""
        line = json.dumps({"say": what, **facts}, allow_nan=False).encode() + b"\n"
        try:
            self._target.write(line)
            self._target.flush()
        except BrokenPipeError:
            os._exit(0)  # the parent is gone

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
        finally:  # the parent is gone, or says what no parent says
            os._exit(0)


def main(lane: str, memory_bytes: int) -> None:
    """Work until the parent ends."""
    for name in ("SIGINT", "SIGHUP"):  # Ctrl-C and a closed terminal are for the parent, which ends this one
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints shall not output_options to the parent
    _restrict(memory_bytes, _NICENESS[lane])
    line = Line(sys.stdin.buffer, target)
    from impasto.studio import orders

    orders.warm(lane)
    line.say("ready")
    while True:
        order = line.next()
        _obey(line, order, orders.DOES[order["do"]])


def _obey(line: Line, order: Message, does: Callable[[Message, Line], Message | None]) -> None:
    try:
        answer = does(order, line)
    except Exception as error:
        code, message, field = _described(error)
        line.say("failed", code=code, message=message, field=field)
        if code == "bug":
            with suppress(OSError):  # the log may be on a disk that is full
                traceback.print_exc()
    else:
        line.say("stopped") if answer is None else line.say("done", **answer)


def _described(error: Exception) -> tuple[str, str, str | None]:
    """Return the code, the sentence and the option of an error."""
    if found := fault(error):  # before what impasto says of it: a picture that cannot be written is no bad picture
        return found, said(error), None
    if isinstance(error, ImpastoError):
        message, field = in_words(error)
        return _code(error), message, field
    is_of_torch = "alloc" in str(error) and "memory" in str(error)
    if isinstance(error, MemoryError) or is_of_torch:
        return "memory", "the memory is not enough for this; use a smaller size", "size"
    return "bug", BUG, None


def _code(error: ImpastoError) -> str:
    if isinstance(error, ImageFileError | ShapeError):
        return "picture"
    if isinstance(error, ResourceError):
        return "memory"
    return "worker" if isinstance(error, WeightsError) else "option"


def _restrict(memory_bytes: int, niceness: int) -> None:
    """Take no more memory than allowed, leave no core dumps, and give way to the server."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most != resource.RLIM_INFINITY:  # nobody but root may raise it
            memory_bytes = min(memory_bytes, most)
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with suppress(AttributeError, OSError):
        os.nice(niceness)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
