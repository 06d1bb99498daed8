"""`gocom eval`: codecs x channels x rates over pictures, every byte counted.

Grid --tasks--> Worker: plan (operating point) --> pipeline or services --> judge --> rows --> results.csv
                                                                                        |
                                                          summary --> tables, figures, index.html
"""
