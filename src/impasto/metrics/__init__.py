"""Quality metrics of a result: the report and artifact checks."""
