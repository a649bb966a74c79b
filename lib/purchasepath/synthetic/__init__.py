"""A shop whose sessions, paths and effects are known, to score every later stage against."""
