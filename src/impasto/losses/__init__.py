"""Losses: frozen values that turn features, or a picture, into a scalar."""
