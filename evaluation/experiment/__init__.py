"""Experiments as data: what varies, over which pictures and channels; and what is made of the rows.

A system's file in evaluation/studies says what its paper claims and which experiments answer it. This package makes the
cases, sends them, and draws means, paired differences, verdicts, curves and the page.
"""
