"""Color statistics and color transfer."""
