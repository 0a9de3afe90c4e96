"""Reading config.json: types of its fields, and which keys may be ignored."""
