"""Recipes: one published method per file; pictures and options in, steps out."""
