"""A page that paints uploaded photos with brushes: uvicorn app:app --port 7860. Written for a Docker Space of Hugging Face."""

import os
from functools import lru_cache
from html import escape

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

import impasto
from impasto.networks.brush_files import shipped_brushes
from impasto.recipes.brush import BrushPainter, apply

MOST_BYTES, LARGEST_PX = 20_000_000, 1280
NAMES = os.environ.get("BRUSHES", "").split() or list(shipped_brushes())
PAGE = """<!doctype html><meta charset="utf-8"><title>impasto</title>
<h1>Paint a photo</h1><input type="file" accept="image/*"> <select>{}</select> <p role="status"></p><img alt="" width="640">
<script type="module">
const [photo, brush, status, picture] = ['input', 'select', 'p', 'img'].map((each) => document.querySelector(each));
photo.onchange = brush.onchange = async () => {{
  if (!photo.files[0]) return;
  status.textContent = 'Painting …';
  const answer = await fetch('paint?brush=' + encodeURIComponent(brush.value), {{ method: 'POST', body: photo.files[0] }});
  if (answer.ok) picture.src = URL.createObjectURL(await answer.blob());
  status.textContent = answer.ok ? '' : (await answer.json()).detail;
}};
</script>"""
app = FastAPI(title="impasto")
painter = lru_cache(maxsize=4)(BrushPainter)


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    """Return the page."""
    return PAGE.format("".join(f"<option>{escape(name)}</option>" for name in NAMES))


@app.post("/paint")
async def paint(request: Request, brush: str) -> Response:
    """Paint the photo in the body of the request; return a JPEG."""
    if brush not in NAMES:
        raise HTTPException(404, f"brush {brush!r} is not known")
    photo = bytearray()
    async for part in request.stream():
        photo += part
        if len(photo) > MOST_BYTES:
            raise HTTPException(413, f"the photo is larger than {MOST_BYTES // 1_000_000} MB")
    return await run_in_threadpool(painted, bytes(photo), brush)


def painted(photo: bytes, brush: str) -> Response:
    """Paint a photo."""
    try:
        pastiche = apply(painter(brush), photo, size=LARGEST_PX)
    except impasto.ImpastoError as error:
        raise HTTPException(422, str(error)) from error
    return Response(pastiche.encoded(".jpg"), media_type="image/jpeg")
