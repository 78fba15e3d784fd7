"""The routes of ``/api/v1``, a file for each subject; docs/studio-api.md describes them."""
