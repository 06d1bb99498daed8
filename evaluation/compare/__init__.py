"""`gocom eval`: codecs x channels x rates over pictures, every byte counted, and the page that is made of the rows."""
