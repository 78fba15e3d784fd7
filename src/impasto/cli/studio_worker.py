"""``impasto studio-worker``: paint for a studio on another machine."""

from typing import Annotated

from cyclopts import Parameter

from impasto.cli.progress import message_console
from impasto.errors import OptionError


def studio_worker(*, queue: Annotated[str, Parameter(show_default=False, metavar="URL")] = "") -> int:
    """Paint for all studios that use the same --queue, until interrupted.

    Args:
        queue: Address of the Redis server: redis://HOST:PORT/NUMBER, or rediss:// for TLS. Password: IMPASTO_QUEUE_PASSWORD.
    """
    check_queue(queue)
    from impasto.studio.remote_worker import work
    from impasto.studio.settings import Limits

    console = message_console(quiet=False)
    work(queue, Limits(), say=lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False))
    return 0


def check_queue(url: str) -> None:
    """Check the address of a queue without connecting to it.

    Raises:
        OptionError: the address is empty or is not a Redis address, or a required package is missing.
    """
    if not url:
        raise OptionError("--queue is empty; give the address of a Redis server, such as redis://127.0.0.1:6379/0")
    try:
        from impasto.studio.broker import shown
    except ImportError as error:
        raise OptionError(
            f"--queue needs additional packages ({error.name} is missing): pip install 'impasto[queue]'"
        ) from error
    shown(url)
