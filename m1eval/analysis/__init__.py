"""Stored runs in, numbers out; nothing here prints or asks a model."""
