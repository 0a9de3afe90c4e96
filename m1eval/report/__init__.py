"""Text and pages from numbers; nothing is measured here."""
