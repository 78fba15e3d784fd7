"""``impasto regions``: show the regions of a photo that can be used as masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli.progress import message_console
from impasto.errors import ImageFileError
from impasto.options.fields import check_range

if TYPE_CHECKING:
    from impasto.tensors import Image, Mask

_SHOWN_PX = 512


def regions(
    photo: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("regions.png"),
    save_masks: Annotated[Path | None, Parameter(show_default=False)] = None,
    count: int = 5,
) -> int:
    """Show the regions of a photo, and their names for --style-mask and --protect.

    Args:
        photo: The photo.
        output: Output file for the sheet. It shows each region in its original colors and dims the rest of the photo.
        save_masks: Also save the masks to this folder, at the size of the photo, so that they can be edited.
        count: Number of color regions, 2 to 24.
    """
    from impasto import images
    from impasto.cli.outputs import check_output, print_notes, save_sheet
    from impasto.cli.overwriting import check_overwrites
    from impasto.runtime.file_names import file_name

    check_range("count", count, 2, 24)
    check_output(output, (photo,))
    _make_folder(save_masks)
    picture = images.read(photo)
    console = message_console(quiet=False, to_stderr=False)
    found = _found(picture.image, count)
    shares = {name: float(mask.mean()) for name, mask in found.items()}
    shown = [(_small(picture.image), "the photo")]
    shown += [(_small(_highlight(picture.image, mask)), f"{name}  {shares[name]:.0%}") for name, mask in found.items()]
    saved = save_sheet(output, images.contact_sheet(shown, columns=4, cell_px=320))
    for name, share in shares.items():
        console.print(f"{name}: {share:.0%} of the photo" if share > 0.005 else f"{name}: not found")
    code = print_notes(saved)
    for name, mask in found.items():
        if save_masks is None:
            break
        path = save_masks / file_name(f"{Path(photo).stem}-{name.removeprefix('auto:')}", ".png")
        check_overwrites({"--save-masks": path}, (photo,))
        code = print_notes(save_sheet(path, mask.expand(-1, 3, -1, -1))) or code
    first, second = list(found)[:2]
    console.print(
        f"{saved.name}: {len(found)} regions; use as masks: --style-mask {first} --style-mask {second}, --protect auto:skin"
    )
    return code


def _make_folder(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"--save-masks '{folder}' cannot be created ({error.strerror}); give the name of a folder"
        ) from error


def _found(image: "Image", count: int) -> "dict[str, Mask]":
    """Find all named and numbered regions."""
    from impasto.masks.segmentation import NAMES, REGIONS, color_regions, find_region

    found = {f"auto:{name}": find_region(image, name) for name in NAMES}
    among = "" if count == REGIONS else f"-of-{count}"
    numbered = {f"auto:region-{k}{among}": mask for k, mask in enumerate(color_regions(image, count), start=1)}
    return found | numbered


def _highlight(image: "Image", mask: "Mask") -> "Image":
    """Dim and tint the area outside a mask. The tint makes dark regions visible, too."""
    tint = image.new_tensor([0.75, 0.1, 0.7])[None, :, None, None]
    return mask * image + (1 - mask) * (0.25 * image + 0.6 * tint)


def _small(image: "Image") -> "Image":
    from impasto.images import fitted_size, resize

    size = (image.shape[-2], image.shape[-1])
    return resize(image, fitted_size(size, min(_SHOWN_PX, max(size))))
