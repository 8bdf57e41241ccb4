"""Drafts of reports, for a person to check and file. Nothing here reaches a network, and nothing is ever filed.

records, case, settings, what a person states ── a common draft ── a renderer for each recipient ── files
                                                                        └── what it left out, and why

A draft says only what was recorded or stated. Whether somebody looked at a file is never derived: in the United States
it decides what a search is.
"""
