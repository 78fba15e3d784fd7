"""Named styles: statistics of a picture, and a swatch, which is a small picture in the style."""
