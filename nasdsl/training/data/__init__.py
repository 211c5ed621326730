"""Data of the user's own: from files to a task."""
