"""Purchasepath: from an online shop's raw behaviour events to answers about its purchase paths."""

__version__ = "0.1.0"
