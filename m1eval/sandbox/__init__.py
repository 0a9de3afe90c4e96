"""Running code that nobody trusts in processes of its own."""
