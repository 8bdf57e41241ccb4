"""hashhub's own connectors and writers, a module for each external format (`*_writer.py` the other direction).
They enter by the entry points that anybody's do.

source, sqlite_file, delimited, workbook    bytes to text, JSON, rows
items                                       what a source gives to one Record or one Reject
mapping, proposal, words                    columns of tables, and what they may mean
outgoing, exchange                          what may be written of an entry, and losses
"""
