"""Masks: guides, segmentation, skin, superpixels."""
