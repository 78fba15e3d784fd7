"""Routes of ``/api/v1``, one file per resource. docs/studio-api.md describes them."""
