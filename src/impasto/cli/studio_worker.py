"""``impasto studio-worker``: paint for a studio on another machine."""

from typing import Annotated

from cyclopts import Parameter

from impasto.cli.progress import narrator
from impasto.errors import OptionError


def studio_worker(*, queue: Annotated[str, Parameter(show_default=False)] = "") -> int:
    """Paint for the studios that were started with the same --queue, until interrupted.

    Args:
        queue: The address of Redis: redis://HOST:PORT/NUMBER, or rediss:// with TLS; password: IMPASTO_QUEUE_PASSWORD.
    """
    check_queue(queue)
    from impasto.studio.remote_worker import work
    from impasto.studio.settings import Limits

    console = narrator(quiet=False)
    work(queue, Limits(), say=lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False))
    return 0


def check_queue(url: str) -> None:
    """Check what can be checked of an address before anything starts.

    Raises:
        OptionError: it is empty, of another kind, or the packages for it are missing.
    """
    if not url:
        raise OptionError("--queue is empty; give the address of a Redis server, such as redis://127.0.0.1:6379/0")
    try:
        from impasto.studio.broker import shown
    except ImportError as error:
        raise OptionError(f"--queue needs more packages ({error.name} is missing): pip install 'impasto[queue]'") from error
    shown(url)
