"""Names of styles that earlier versions shipped. This module does not import torch, so that the studio's server can use it."""

FORMER_NAMES = {
    "bolognese-madonna": "book-of-kells",
    "bruges-lamentation": "book-of-kells",
    "cezanne-bather": "mont-sainte-victoire",
    "cottet-portrait": "van-gogh-portrait",
    "degas-costume-ball": "degas-dancers",
    "degas-millinery-shop": "degas-dancers",
    "delacroix-lion-hunt": "turner-shipwreck",
    "gauguin-arlesiennes": "gauguin-tahiti",
    "gauguin-seated-woman": "gauguin-tahiti",
    "gauguin-why-are-you-angry": "gauguin-tahiti",
    "guillaumin-mill": "mont-sainte-victoire",
    "lautrec-ballet-dancers": "degas-dancers",
    "manet-sea-view": "impression-sunrise",
    "monet-apples": "rouen-cathedral",
    "monet-belle-ile": "water-lilies",
    "monet-bordighera": "water-lilies",
    "monet-cliff-walk": "water-lilies",
    "monet-etretat": "impression-sunrise",
    "monet-saint-lazare": "impression-sunrise",
    "pissarro-place-du-havre": "pointillism",
    "pissarro-well": "pointillism",
    "renoir-near-the-lake": "renoir-chrysanthemums",
    "renoir-seascape": "renoir-chrysanthemums",
    "renoir-sewing": "renoir-chrysanthemums",
    "renoir-studies": "renoir-chrysanthemums",
    "serusier-pouldu": "gauguin-tahiti",
    "seurat-grande-jatte": "pointillism",
    "soria-saint-christopher": "book-of-kells",
    "spanish-saint-catherine": "book-of-kells",
    "tuscan-virgin": "book-of-kells",
    "vallotton-red-room": "gauguin-tahiti",
}
"""For each name of a style that is no longer shipped, the name of the style that replaces it."""


def present_name(name: str) -> str:
    """Return the name of the style that replaces a style of an earlier version; other names are returned unchanged.

    Example:
        >>> present_name("monet-etretat"), present_name("starry-night")
        ('impression-sunrise', 'starry-night')
    """
    return FORMER_NAMES.get(name, name)
