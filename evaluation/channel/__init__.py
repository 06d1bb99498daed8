"""Is the channel what it says? Every fault against its closed form, and the curves that theory draws."""
