"""The lami_go study: the claims of its paper and of docs/lami_go.md, measured; one file a part."""
