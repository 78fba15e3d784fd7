"""Recipes: one published method per file. A recipe takes pictures and options and yields steps."""
