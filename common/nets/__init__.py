"""The nets, one a file; samplers and codecs compose them."""
