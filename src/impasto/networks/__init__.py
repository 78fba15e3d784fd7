"""Feed-forward networks, one paper per file: johnson.py for brushes, style_swap.py for `instant`; ONNX and OpenVINO forms."""
