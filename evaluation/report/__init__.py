"""`gocom eval`, the report: results.csv --> summary --> tables, figures, index.html.

It measures nothing: `python -m gocom.evaluation.report OUT` draws the page of a folder anew.
"""
