"""Execution of untrusted code in processes of its own."""
