"""Routes for styles."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from impasto.options.guided import MOST_LABELS, SUGGESTED_LABELS
from impasto.studio import shapes
from impasto.studio.brushes import shown_brushes
from impasto.studio.routes.responses import Favorite, Here, answer, picture, pictures_answer

router = APIRouter(prefix="/styles", tags=["styles"])
brushes = APIRouter(prefix="/brushes", tags=["brushes"])
Labels = Annotated[int, Query(ge=2, le=MOST_LABELS, description="Largest number of colors.")]


@router.get("", response_model=shapes.Styles)
async def list_(studio: Here, favorite: Favorite, q: Annotated[str, Query(max_length=100)] = "") -> Response:
    """List the styles."""
    return answer({"items": studio.shelf.styles(q, favorite)})


@brushes.get("", response_model=shapes.Brushes)
async def list_brushes(studio: Here) -> Response:
    """List the brushes."""
    known = {each["id"]: each for each in studio.shelf.styles()}
    return answer({"items": shown_brushes(studio.database, studio.folder, known)})


@router.post("", status_code=201, response_model=shapes.Style)
async def add(studio: Here, new: shapes.NewStyle) -> Response:
    """Add an upload to the styles."""
    return answer(studio.shelf.add(new.upload, new.title), 201)


@router.get("/{style}/preview", responses=pictures_answer(".webp", ".jpg"), response_class=Response)
async def preview(studio: Here, style: shapes.StyleId) -> Response:
    """Return the preview of a style."""
    path, source = studio.shelf.preview(style)
    if source is not None:
        await studio.ask(do="style_preview", path=str(source), to=str(path))
    return picture(path)


@router.get("/{style}/picture", responses=pictures_answer(".jpg"), response_class=Response)
async def style_picture(studio: Here, style: shapes.StyleId) -> Response:
    """Return the picture of a style."""
    path = studio.shelf.derived(style, ".jpg")
    if not path.is_file():
        await studio.ask(do="style_picture", styles=[studio.shelf.source(style)], to=str(path))
    return picture(path)


@router.get("/{style}/map", responses=pictures_answer(".png"), response_class=Response)
async def style_map(studio: Here, style: shapes.StyleId, labels: Labels = SUGGESTED_LABELS) -> Response:
    """Return the suggested map of a style, for doodles."""
    path = studio.shelf.derived(style, f".map-{labels}.png")
    if not path.is_file():
        await studio.ask(do="style_map", styles=[studio.shelf.source(style)], labels=labels, to=str(path))
    return picture(path)


@router.patch("/{style}", response_model=shapes.Style)
async def change(studio: Here, style: shapes.StyleId, changes: shapes.StyleChanges) -> Response:
    """Change whether a style is a favorite, or change the title of an uploaded style."""
    return answer(studio.shelf.change(style, changes.model_dump(exclude_none=True)))


@router.delete("/{style}", status_code=204)
async def delete(studio: Here, style: shapes.StyleId) -> Response:
    """Remove an uploaded style."""
    studio.shelf.delete(style)
    return Response(status_code=204)
