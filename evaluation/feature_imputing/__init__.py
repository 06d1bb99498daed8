"""The feature_imputing study: the claims of its paper, and the questions it leaves open, measured; one file a part."""
