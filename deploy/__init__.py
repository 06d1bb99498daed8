"""What builds and ships the project."""
