"""Task files, their datasets and samples."""
