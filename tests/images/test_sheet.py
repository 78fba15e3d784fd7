import pytest
import torch

from impasto.errors import OptionError
from impasto.images import contact_sheet


def test_a_sheet_shows_every_picture_in_order() -> None:
    red, blue = torch.zeros(1, 3, 40, 40), torch.zeros(1, 3, 40, 40)
    red[:, 0], blue[:, 2] = 1, 1
    sheet = contact_sheet([(red, "red"), (blue, "blue")], columns=2, cell_px=40)
    assert sheet[0, :, 28, 28].tolist() == [1, 0, 0]
    assert sheet[0, :, 28, 76].tolist() == [0, 0, 1]


def test_a_sheet_breaks_into_rows() -> None:
    pictures = [(torch.rand(1, 3, 20, 30), str(number)) for number in range(5)]
    wide, tall = contact_sheet(pictures, columns=5, cell_px=30), contact_sheet(pictures, columns=1, cell_px=30)
    assert wide.shape[3] > 4 * tall.shape[3]
    assert tall.shape[2] == 5 * wide.shape[2]


def test_a_sheet_without_pictures_is_refused() -> None:
    with pytest.raises(OptionError, match="at least one"):
        contact_sheet([])
