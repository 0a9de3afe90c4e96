"""Random schedules for the local engine, and what must come out of them whatever the schedule."""
