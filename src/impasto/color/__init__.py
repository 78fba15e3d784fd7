"""Color statistics, color spaces and color transfer."""
