"""Neural networks, one per file. Samplers and codecs compose them."""
