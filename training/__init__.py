"""One recipe a net, and the loop they share."""
