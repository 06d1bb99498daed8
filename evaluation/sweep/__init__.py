"""`gocom eval`: codecs x channels x rates over pictures, every byte counted.

Grid --cases--> plan (operating point) --> pipeline or services --> judge --> rows --> results.csv
                                                                               |
                                                    summary --> figures, index.html
"""
