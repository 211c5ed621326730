"""Data of the user's own: from files to a task. One file a format, each a small reader that gives arrays and names."""
