"""`gocom eval`, the measuring: codecs x channels x rates over pictures, every byte counted.

Grid --tasks--> Worker: plan (operating point) --> pipeline or services --> judge --> rows --> results.csv

What is made of the rows is in evaluation/report.
"""
