"""Runtimes: open a bundle, infer tiles, close. Two runtimes are compared, never trusted."""

import os

# ONNX Runtime's Linux wheels (seen in 1.31.1) keep a device id and send telemetry to their maker. Robots tell nobody.
# It counts only if it is set before the library is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
