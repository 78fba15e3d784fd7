"""The one place that imports ONNX Runtime: its telemetry is off before that."""

import os
from typing import Any

from impasto.errors import OptionError


def load_onnxruntime() -> Any:
    """Import ONNX Runtime, which otherwise writes an identifier of the device to the user's cache and reports to Microsoft.

    It reads ``ORT_DISABLE_TELEMETRY`` when it is imported. A value that the user has set stays.

    Raises:
        OptionError: onnxruntime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError("reading ONNX needs one more package: pip install 'impasto[export]'") from error
    onnxruntime.disable_telemetry_events()  # for whoever imported it before
    return onnxruntime
