"""Every connector of ours keeps the contract that third parties' are held to."""

from __future__ import annotations

import base64

from hashhub.testing.connectors import ConnectorContract
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.ncmec_xml import NCMECXML
from hashhub_connectors.vics import VICS

# Digests of the text "hashhub-synthetic-0001", and a ramp for PhotoDNA.
MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
PDQ = "ffff0000" * 8
RAMP = bytes((i * 7 + 3) % 256 for i in range(144))
PHOTODNA = base64.b64encode(RAMP).decode()

VICS_20 = f"""\ufeff{{
 "@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media",\r
 "value": [
  {{"MediaID": 1, "Category": 1, "MD5": "{MD5.upper()}", "SHA1": "{SHA1}", "MediaSize": "2835",
   "VictimIdentified": "true", "Series": "SYNTHETIC \u00e9", "Tags": "a, b",
   "PhotoDNA": "{PHOTODNA}", "MediaFiles": [{{"FileName": "x]}}"}}],
   "AlternativeHashes": [{{"MD5": "{MD5}", "HashName": "SHA256", "HashValue": "{SHA256}"}}, 7]}},
  {{"MediaID": 1, "Category": 0, "MD5": "{MD5}"}},
  {{"MediaID": 2, "Category": null, "MD5": null}},
  {{"MediaID": 3, "Category": "2", "MD5": "7b47", "SHA1": "{SHA1}"}},
  "no object"
 ]
}}
"""
VICS_13_CASE = f"""{{"odata.metadata":"http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Cases","value":[{{
 "CaseID":"{{00000000-0000-0000-0000-000000000000}}","ContactName":"NOBODY","Media":[
 {{"odata.id":"Media(1)","MD5":"{MD5}","AlternativeHashes@odata.navigationLinkUrl":"",
   "AlternativeHashes":[{{"HashName":"PhotoDNA","HashValue":"{PHOTODNA}"}}]}},
 {{"MD5":"","SHA1":null}}]}}],"odata.count":"2"}}"""
NCMEC = f"""<?xml version="1.0" encoding="UTF-8"?>
<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">
 <images count="3" maxTimestamp="2025-01-02T00:00:00Z">
  <image><member id="9001">SYNTHETIC \u00e9 &amp; MEMBER</member>
   <timestamp>2025-01-01T12:00:00Z</timestamp><id>syn-1</id><classification>A2</classification>
   <fingerprints><md5>{MD5}</md5><pdna>{PHOTODNA}</pdna><pdq>{PDQ}</pdq>
    <tmk-pdqf rel="self" href="/v2/x"/></fingerprints>
   <feedback lastUpdateTimestamp="2025-01-01T12:00:00Z">
    <affirmativeFeedback type="Md5">
     <members timestamp="2025-01-01T12:00:00Z"><member id="9002"/></members></affirmativeFeedback>
    <negativeFeedback type="Md5"><reasons>
     <reason guid="g" name="Adult" type="Md5"/><members><member id="9003"/></members></reasons>
    </negativeFeedback></feedback></image>
  <deletedImage><member id="9001">SYNTHETIC MEMBER</member><id>syn-0</id>
   <timestamp>2025-01-02T00:00:00Z</timestamp></deletedImage>
  <image><member id="9001">SYNTHETIC MEMBER</member><fingerprints><md5>{MD5}</md5></fingerprints></image>
 </images>
 <videos count="1"><video><member id="9004">OTHER</member><id>v/1</id>
  <fingerprints><sha1>{SHA1}</sha1></fingerprints></video></videos>
 <paging><next>/v2/entries?from=a&amp;to=b</next></paging>
</queryResult>
"""
ICSE = f"""\ufeffsha1;MD5;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;\
Number of submissions;File Available;Media Type;BASELINE;Extra
{SHA1};{MD5};{RAMP.hex()};SYN-1;Y;n;maybe;"SYNTHETIC; ""1"" x";3;Y;Image;Y;x
{SHA1};;;SYN-2;;;;"two
lines";3;Y;Image;no
;;;SYN-3;;;;;;;;
{SHA1};;;SYN-4;Y
"""
MAPPING = """
delimiter = ","
encoding = "latin-1"
[columns]
md5 = "MD5"
pdq = "PDQ hash"
value = "Category"
external_id = "Ref"
quality = "Q"
tags = ["Age", "Notes"]
[flags]
self_generated = "Self"
[values]
"Cat. A" = "A"
"""
MAPPED = f"""MD5,PDQ hash,Category,Ref,Q,Age,Notes,Self
{MD5},{PDQ},Cat. A,r-1,97,7-10,"\u00e9, b",Y
{MD5[:-1]},,B,r-2,,,,
,,B,r-3,,,,
{MD5},{PDQ},B,r-4
"{MD5}"x,,B,r-5,,,,
"""
SUMS = f"""# synthetic
{MD5}  a name.jpg
\\{SHA1} *b\\\\c.jpg

{SHA256}  d \u00e9.jpg
name first  {SHA1}
PDQ:{PDQ}  g
12345  {SHA1}  h
{PDQ},97,i.jpg
0,97,{PDQ},0.000
{SHA1}
MD5 (e (1).jpg) = {MD5.upper()}
SHA512 (f) = {MD5 * 4}
{MD5}
nonsense
"""
HASHDEEP = f"""%%%% HASHDEEP-1.0
%%%% size,md5,sha256,tiger,filename
## synthetic
12345,{MD5},{SHA256},{MD5}00000000,/synthetic/a,b.jpg
12345,{MD5}
x,{MD5[1:]},{SHA256},,/c
"""


class TestVICSHashSet(ConnectorContract):
    connector = VICS()
    sample = VICS_20.encode()
    items = 5
    self_delimiting = True


class TestVICSCase(ConnectorContract):
    connector = VICS()
    sample = VICS_13_CASE.encode()
    items = 2
    self_delimiting = True


class TestVICSBareArray(ConnectorContract):
    connector = VICS()
    sample = VICS_20[VICS_20.index("[") : VICS_20.rindex("]") + 1].encode()
    items = 5
    self_delimiting = True
    truncation_step = 5


class TestVICSInUTF16(ConnectorContract):
    connector = VICS()
    sample = VICS_20.rstrip().encode("utf-16-be")
    items = 5
    self_delimiting = True
    truncation_step = 5


class TestNCMECXML(ConnectorContract):
    connector = NCMECXML()
    sample = NCMEC.encode()
    items = 5  # with the note that another page follows
    options = {"environment": "csam"}  # noqa: RUF012 - a constant of the class
    self_delimiting = True


class TestICSECSV(ConnectorContract):
    connector = ICSECSV()
    sample = ICSE.encode()
    items = 4


class TestMappedCSV(ConnectorContract):
    connector = MappedCSV()
    sample = MAPPED.encode("latin-1")
    items = 5
    options = {"mapping": MAPPING}  # noqa: RUF012 - a constant of the class


class TestSums(ConnectorContract):
    connector = HashLines()
    sample = SUMS.encode()
    items = 13


class TestMixedLines(ConnectorContract):
    connector = HashLines()
    sample = f"\ufeff{SHA1}\r\n{MD5}\r\n{SHA256}\r\n{PDQ[1:]}\r\n{SHA1}\r\n".encode()
    options = {"algorithm": "MD5,SHA1,SHA256"}  # noqa: RUF012 - a constant of the class
    items = 5


class TestPlainLines(ConnectorContract):
    connector = HashLines()
    sample = f"{SHA1}\n{MD5}\n{SHA256}\n".encode()
    items = 3


class TestLinesThatEndInNUL(ConnectorContract):
    connector = HashLines()
    sample = f"{MD5}  a\0\0{SHA1} *c\r\nd\0{SHA1}\0".encode()
    items = 3


class TestSleuthKitIndex(ConnectorContract):
    connector = HashLines()
    sample = f"{'0' * 41}|md5sum\n{'0' * 40}1|x\n{MD5.upper()}|{'0' * 16}\n{'F' * 32}|{'0' * 14}44\n".encode()
    items = 2


class TestHashdeep(ConnectorContract):
    connector = HashLines()
    sample = HASHDEEP.encode()
    items = 3


class TestPlainPDQ(ConnectorContract):
    connector = HashLines()
    sample = f"\ufeff{PDQ}\r\n\r\n{base64.b64encode(bytes.fromhex(PDQ)).decode()}\r\n{PDQ[1:]}\r\n".encode()
    items = 3
    options = {"algorithm": "PDQ"}  # noqa: RUF012 - a constant of the class


class TestXWays(ConnectorContract):
    connector = HashLines()
    sample = f"MD5\r\n{MD5}\r\n{MD5.upper()}\r\n".encode()
    items = 2
