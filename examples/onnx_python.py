"""Paint a photo with an exported brush in ONNX Runtime: pip install onnxruntime pillow.

impasto export onnx starry.onnx --brush starry-night
python onnx_python.py starry.onnx photo.jpg painted.png
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

graph, photo, painted = sys.argv[1:]
session = onnxruntime.InferenceSession(graph, providers=onnxruntime.get_available_providers())
pixels = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"), np.float32) / 255
batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])  # (1, 3, height, width) in [0, 1]
(picture,) = session.run(None, {"photo": batch})
Image.fromarray((picture[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)).save(painted)
