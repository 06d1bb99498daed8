"""Samplers, which make the tokens or latents of a picture from the predictions of a net in common/nets."""
