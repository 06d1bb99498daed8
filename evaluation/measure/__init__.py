"""How good a picture is, how far sets of pictures lie apart, and how sure a mean is."""
