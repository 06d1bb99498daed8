"""The physical layer: modulation, fading and channel codes, by their closed forms and without packet batches."""
