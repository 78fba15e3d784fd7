"""Import of ONNX Runtime with its telemetry disabled; no other module imports it."""

import os
from typing import Any

from impasto.errors import OptionError


def load_onnxruntime() -> Any:
    """Import ONNX Runtime with telemetry disabled.

    By default, ONNX Runtime writes a device identifier to the user's cache and sends reports to Microsoft. It reads
    ``ORT_DISABLE_TELEMETRY`` at import; a value set by the user is kept.

    Raises:
        OptionError: if onnxruntime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError("reading ONNX needs one more package: pip install 'impasto[export]'") from error
    onnxruntime.disable_telemetry_events()  # in case it was imported before this call
    return onnxruntime
