"""Measurements that factors cannot say, each for any study that needs it: a `Measure`, or what a level asks for."""
