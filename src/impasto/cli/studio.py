"""``impasto studio``: a web page and an API served from this machine."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.progress import message_console
from impasto.cli.studio_worker import check_queue
from impasto.errors import OptionError
from impasto.runtime.folders import expanded


def studio(
    *,
    host: Annotated[str, Parameter(metavar="NAME")] = "127.0.0.1",
    port: int = 7860,
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    data: Path | None = None,
    queue: Annotated[str | None, Parameter(metavar="URL")] = None,
    fetch_live: Annotated[bool, Parameter(negative="")] = False,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
) -> int:
    """Start the studio, a web page served from this machine, and open it in the browser.

    Args:
        host: The address to bind. If it is not 127.0.0.1, other machines can connect with the printed token.
        port: The port to bind, 1 to 65535.
        browser: Open the page in the browser.
        data: Folder for photos and results. Default: IMPASTO_STUDIO if set, otherwise a folder in the user's data directory.
        queue: Redis server that gives jobs to workers on other machines, redis://HOST:PORT/NUMBER; see studio-worker.
        fetch_live: Download the runtime of the webcam page /live (33 MB from npm), and exit without starting the studio.
        from_: With --fetch-live: install the runtime from this file instead of downloading it.
    """
    if from_ is not None and not fetch_live:
        raise OptionError(f"--from {from_} needs --fetch-live; give both, or omit --from")
    try:
        from impasto.studio.server import serve, with_token
    except ImportError as error:
        raise OptionError(
            f"the studio needs additional packages ({error.name} is missing): pip install 'impasto[studio]'"
        ) from error
    from impasto.studio.settings import LOOPBACK, Settings, data_folder

    console = message_console(quiet=False)
    if fetch_live:
        from impasto.studio.runtime import fetch_runtime

        console.print(str(fetch_runtime(from_)), soft_wrap=True, highlight=False, markup=False)
        return 0
    folder = (expanded(data, "--data") if data else data_folder()).absolute()
    is_local = host in LOOPBACK or host.startswith("127.")
    if queue is not None:
        check_queue(queue)

    def settings_of(token: str) -> Settings:
        return Settings(host=host, port=port, data=folder, token=token, queue=queue or "")

    settings = with_token(settings_of, is_local=is_local)
    serve(settings, say=lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False), open_browser=browser)
    return 0
