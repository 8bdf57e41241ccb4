"""hashhub's own connectors, one module per external format; they enter by the entry points that anybody's do.

source.py       bytes -> text and lines, with bounded memory and exact positions
json_stream.py  a pull reader for JSON that is larger than memory
sqlite_file.py  databases of strangers -> rows, with nothing in them executed
forensic_csv.py what the CSV of forensic tools has in common
items.py        what a source gives -> one Record or one Reject
delimited.py    rows of delimited text
workbook.py     rows of an Excel workbook
mapping.py      the mapping language for tables; proposal.py writes a mapping, words.py knows many languages'
                words for columns, yes and no
outgoing.py     what may be written of an entry, and losses: the rules that all our writers share
tables.py       cells of delimited text
exchange.py     what may be written as a claim, and streams read twice: the formats of exchange platforms

vics.py         with vics_media.py (one item)
ncmec_xml.py, icse_csv.py, csv_mapping.py, hash_lines.py, arachnid.py
nsrl.py, kdb.py, encase.py, hashkeeper.py, ilook.py
*_writer.py     the other direction, one module per format
threatexchange.py, stopncii.py, stix.py, misp.py, jsonl.py (hashhub's own) have both directions
"""
