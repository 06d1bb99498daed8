"""How quick things are, and what must not change from one version to the next."""
