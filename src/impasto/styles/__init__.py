"""Named styles: statistics and a swatch."""
