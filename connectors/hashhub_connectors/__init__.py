"""hashhub's own connectors, one module per external format; they enter by the entry points that anybody's do.

source.py       bytes -> text and lines, with bounded memory and exact positions
json_stream.py  a pull reader for JSON that is larger than memory
items.py        what a source gives -> one Record or one Reject
vics.py, ncmec_xml.py, icse_csv.py, csv_mapping.py, hash_lines.py

outgoing.py     what may be written of an entry, and losses: the rules that all our writers share
tables.py       cells of delimited text
*_writer.py     one module per format; jsonl.py has both directions of hashhub's own
"""
