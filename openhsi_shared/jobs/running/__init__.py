"""One cube after the other through a job, with its status and its log."""
