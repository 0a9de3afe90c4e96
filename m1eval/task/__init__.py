"""From a task file to samples."""
