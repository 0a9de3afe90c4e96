"""The engine: schedules sequences into batches and runs them on one device or several."""
