"""Start-up of the studio: lock, socket, token, browser, uvicorn."""

import os
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from impasto.errors import OptionError
from impasto.runtime.folders import fallback_note
from impasto.studio.app import create_app
from impasto.studio.memory import is_memory_watched
from impasto.studio.settings import Settings
from impasto.studio.storage import Folder, Lock
from impasto.studio.studio import Studio


def with_token(settings_of: Callable[[str], Settings], *, is_local: bool) -> Settings:
    """Return settings with a token.

    The token is ``IMPASTO_STUDIO_TOKEN`` if this variable is set. Otherwise, it is random if other machines can reach the
    studio, and empty if not.
    """
    chosen = os.environ.get("IMPASTO_STUDIO_TOKEN", "")
    if chosen and (len(chosen) < 16 or not chosen.isascii() or not chosen.replace("-", "").replace("_", "").isalnum()):
        raise OptionError(
            "IMPASTO_STUDIO_TOKEN must have 16 or more letters, digits, hyphens or underscores; unset it to use a random token"
        )
    return settings_of(chosen or ("" if is_local else secrets.token_urlsafe(24)))


def serve(settings: Settings, *, say: Callable[[str], None], open_browser: bool) -> None:
    """Serve until interrupted.

    Args:
        settings: Address, data folder and limits.
        say: Function that shows a line to the user.
        open_browser: Whether to open the page in a browser.

    Raises:
        ImpastoError: The address or the data folder cannot be used.
    """
    Folder(settings.data)
    with Lock(settings.data), _bound(settings) as bound:
        app = create_app(settings)
        address = address_with_token(settings)
        say(f"studio: {address}")
        say(f"data: {settings.data}; press Ctrl-C to stop")
        if note := fallback_note(settings.data, "--data"):
            say(note)
        if not is_memory_watched():
            say("the memory limit of workers is not enforced on this system; 'pip install psutil' enables it")
        if settings.queue:
            say("paintings need a worker: run impasto studio-worker --queue with the same address")
        if not settings.is_local:
            say(f"from another device: {address.replace(settings.address, address_for_others(settings))}")
            say("anyone with this address and token can use the studio; traffic is not encrypted")
        server = _Server(app)
        if open_browser:
            threading.Timer(0.5, webbrowser.open, (address,)).start()
        server.run(sockets=[bound])


class _Server(uvicorn.Server):
    """Uvicorn server that ends event streams before it shuts down."""

    def __init__(self, app: FastAPI) -> None:
        self.studio: Studio = app.state.studio
        self.ended_by: int | None = None
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=20,
            limit_concurrency=1000,
            ws="none",
            proxy_headers=False,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Also shut down on SIGHUP, unless this signal is ignored. Only SIGINT raises a KeyboardInterrupt at the end."""
        before = signal.getsignal(signal.SIGHUP) if hasattr(signal, "SIGHUP") else signal.SIG_IGN
        is_handled = before is not signal.SIG_IGN and threading.current_thread() is threading.main_thread()
        try:
            with super().capture_signals():
                if is_handled:
                    signal.signal(signal.SIGHUP, self.handle_exit)
                try:
                    yield
                finally:
                    if is_handled:
                        signal.signal(signal.SIGHUP, before)
        except KeyboardInterrupt:  # after its shutdown, uvicorn raises the signal again
            if self.ended_by in (None, signal.SIGINT):
                raise

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the event streams, then shut down."""
        self.ended_by = sig
        self.studio.leave()
        super().handle_exit(sig, frame)


def address_with_token(settings: Settings) -> str:
    """Return the address to open in a browser. It contains the token if there is one."""
    return settings.address + (f"?token={settings.token}" if settings.token else "")


def address_for_others(settings: Settings) -> str:
    """Return the address to open on another device in the same network."""
    if settings.host not in ("0.0.0.0", "::"):
        return settings.address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # this sends nothing; it only determines the local address
            return f"http://{probe.getsockname()[0]}:{settings.port}/"
        except OSError:
            return f"http://{socket.gethostname()}:{settings.port}/"


def _bound(settings: Settings) -> socket.socket:
    """Bind the socket before the server starts, so that a port in use is reported immediately.

    Raises:
        OptionError: The address cannot be bound.
    """
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise OptionError(
            f"--host {settings.host} --port {settings.port} cannot be bound ({error.strerror or error}); "
            f"choose another port, such as --port {settings.port + 1 if settings.port < 65535 else 7861}"
        ) from error
    return bound
