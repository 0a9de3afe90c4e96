"""Random schedules for the local engine, and the invariants that must hold under any of them."""
