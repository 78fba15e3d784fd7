"""Masks of pictures.

Modules:
    ground: the black ground on which a style was photographed.
    guides: arithmetic on masks, and guides (masks at the size of a layer).
    segmentation: automatic regions: subject, background, sky, areas of one color.
    skin: skin and face detection.
    superpixels: superpixels, and fitting masks to the edges of a photo.
"""
