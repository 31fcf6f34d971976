"""The run's report: one JSON document and the views of it."""
