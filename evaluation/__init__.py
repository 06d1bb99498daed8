"""Measuring: benches, loss studies, figures. Everything goes through the same pipeline that users run."""
