"""Words of the main European languages and of Japanese in tables: yes and no, and what columns are called.

All are compared as `plain` gives them: lower case, without accents and punctuation. The lists hold a word only where it
means the same in every language that has it; `x`, `o` or `s` are in none of them, because they mean yes, no and nothing
depending on who wrote them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

_LETTERS: Final = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "\u0131": "i"})


def plain(text: str) -> str:
    """Return the letters and digits of `text`, in lower case and without accents."""
    if text.isascii():
        return "".join(c for c in text.lower() if c.isalnum())
    parts = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(c for c in parts if c.isalnum())


def word(text: str) -> str:
    """Return a cell's word as own words are compared: without surrounding white space, in lower case."""
    return " ".join(text.split()).casefold()


# Danish, Dutch, English, Finnish, French, German, Hungarian, Italian, Norwegian, Polish, Portuguese, Romanian, Spanish,
# Swedish; Baltic, Czech, Slovak, South Slavic, Greek, Russian, Ukrainian, Japanese. Each line:
# yes and no, then the words that spreadsheets write for TRUE and FALSE.
_TRUE: Final = (
    "true t yes y "
    "ja j oui si sim tak ano kylla igen da hai jah taip evet да так はい "
    "\u03bd\u03b1\u03b9 "
    "wahr vrai verdadero verdadeiro vero waar prawda pravda sant sand sann tosi igaz adevarat αληθης истина"
)
_FALSE: Final = (
    "false f no n "
    "nein nee nej nei non nao nie ne ei nem nu hayir oxi οχι нет ні не いいえ "
    "falsch faux falso onwaar falsz nepravda falskt falsk usann usand epatosi hamis fals ψευδης ложь"
)
_UNSAID: Final = (
    "unknown unbekannt inconnu desconocido desconhecido sconosciuto onbekend nieznane nieznany neznamo nezname okand "
    "ukendt ukjent tuntematon ismeretlen necunoscut 不明 na ka null none nan"
)


def _set(text: str) -> frozenset[str]:
    return frozenset(plain(w) for w in text.split())


TRUE_WORDS: Final = _set(_TRUE)
FALSE_WORDS: Final = _set(_FALSE)
UNSAID_WORDS: Final = _set(_UNSAID)  # say that nothing is said


@lru_cache(maxsize=4096)
def read_word(text: str) -> bool | None:
    """Return whether a word says yes or no; None where it says that nothing is known, or no word stands there.

    Raises KeyError for any other.
    """
    text = text.strip()
    if text in _NUMBERS:
        return text == "1"
    key = plain(text)
    if not any(c.isdigit() for c in key):  # 1.0 and -1 are no words
        if key in TRUE_WORDS:
            return True
        if key in FALSE_WORDS:
            return False
        if key in UNSAID_WORDS or (not key and set(text) <= _DASHES):
            return None
    raise KeyError(text)


_NUMBERS: Final = frozenset("01")
_DASHES: Final = frozenset("-\u2013\u2014?./")


# What columns are called, by field; the first column that fits a field gets it.
_NAMES: Final = {
    "md5": "md5 md5hash hashmd5 md5summe md5sum md5pruefsumme md5prufsumme md5hashwert md5digest",
    "sha1": "sha1 sha1hash hashsha1 sha1summe sha1sum sha1pruefsumme sha1prufsumme sha1hashwert sha1digest",
    "sha256": "sha256 sha256hash hashsha256 sha256summe sha256sum sha256pruefsumme sha256prufsumme sha256hashwert "
    "sha256digest sha2256",
    "pdq": "pdq pdqhash hashpdq imagepdq pdqhashwert",
    "phash": "phash perceptualhash",
    "dhash": "dhash differencehash",
    "photodna": "photodna pdna photodnahash",
    "digest": "hash hashwert digest hashvalue hashes pruefsumme prufsumme checksum somme sommedecontrole empreinte "
    "empreintenumerique hachage sumaverificacion resumen huella huelladigital sumacontrol impronta improntahash "
    "sommadicontrollo hashwaarde controlegetal sumakontrolna skrot wartoscskrotu resumo somadeverificacao "
    "kontrollsumma hashvarde hashsumma kontrolnisoucet otisk hashvaerdi kontrolsum tiiviste tarkistussumma indicator "
    "value wert valor valeur valore waarde wartosc varde hodnota ハッシュ ハッシュ値 ダイジェスト 哈希 哈希值",
    "algorithm": "algorithm hashtype hashalgorithm type typ hashtyp algorithmus hashalgorithmus algorithme "
    "typedehachage algoritmo tipohash tipodehash tipo algoritme hashsoort algorytm typskrotu algoritm "
    "hashalgoritm algoritmus typhashe method verfahren signaltype アルゴリズム ハッシュ種別 ハッシュ方式",
    "value": "category classification class baseline grade level kategorie einstufung klassifikation klassifizierung "
    "bewertung stufe klasse einordnung categorie classe niveau categoria clasificacion nivel clase classificazione "
    "livello classificatie indeling kategoria klasyfikacja poziom klasa classificacao classificacion kategori "
    "klassificering klassning niva klasifikace trida uroven kategoriklasse klassifisering luokka luokitus besorolas "
    "schweregrad severity gravite gravedad gravita ernst カテゴリ カテゴリー 分類 区分 レベル 类别 分类",
    "external_id": "id imageid externalid reference ref uuid guid kennung aktenzeichen referenz bildid bildnummer "
    "lfdnr laufendenummer nummer nr identifiant numero idimage referencia identificador idimagen identificativo "
    "riferimento kenmerk referentie identifikator identyfikator numerreferencyjny sygnatura odniesienie "
    "referens lopnummer identifierare oznaceni cislo cislojednaci evidencnicislo identificacao tunniste azonosito "
    "itemid entryid recordid dossiernummer zaaknummer 識別子 管理番号 整理番号 識別番号 番号 编号",
    "series": "series seriesname serie seriename serienname serienom serienamn nazwaserii seria nomserie nombreserie "
    "nomeserie nomedaserie nomedellaserie sarja sorozat nazevserie シリーズ シリーズ名",
    "media_size": "size filesize mediasize bytes groesse grosse dateigroesse dateigrosse bytegroesse taille "
    "tailledufichier tamano tamanio tamanoarchivo dimensione dimensionefile grootte bestandsgrootte rozmiar "
    "rozmiarpliku tamanho tamanhodoficheiro tamanhodoarquivo storlek filstorlek velikost velikostsouboru koko "
    "tiedostokoko stoerrelse storrelse filstorrelse meret サイズ ファイルサイズ",
    "media_type": "mimetype mediatype contenttype mime dateityp medientyp typemime typedefichier tipomime tipomedia "
    "tipodearchivo tipofile mimetyp bestandstype typpliku tipodeficheiro filtyp typsouboru "
    "ファイル形式 メディアタイプ",
    "source_time": "date dateadded dateupdated timestamp updated created datum erfasst erfasstam aufnahmedatum "
    "eingang eingangsdatum hinzugefuegt hinzugefugt hinzugefuegtam hinzugefugtam erstellt erstelltam aktualisiert "
    "datedajout dateajout ajoutele datedesaisie fecha fechaalta fechadealta data datainserimento dataaggiunta "
    "datumtoegevoegd toegevoegd toegevoegdop datadodania dodano datainclusao dataadicao datadeinclusao tillagd "
    "datumtillagd registrerad datumpridani pridano vlozeno dato tilfoejet tilfojet lisatty paivamaara datum2 "
    "日付 登録日 追加日 作成日 更新日",
    "expire_time": "expires validuntil expiry expirydate gueltigbis gultigbis ablaufdatum ablauf loeschdatum "
    "loschdatum valablejusquau valablejusqua expiration dateexpiration datedexpiration expirele validohasta "
    "fechadecaducidad caducidad vence validofinoal scadenza datadiscadenza geldigtot vervaldatum vervalt waznedo "
    "terminwaznosci datawygasniecia validoate validade datadevalidade giltigtill utgangsdatum platnostdo platnedo "
    "datumexpirace gyldigtil voimassa 有効期限 期限",
    "quality": "quality pdqquality qualitaet qualitat pdqqualitaet pdqqualitat qualite calidad qualita kwaliteit "
    "jakosc qualidade kvalitet kvalita laatu",
    "tags": "tags tag keywords labels ageband schlagworte schlagwoerter schlagworter stichworte altersgruppe "
    "motscles etiquettes tranchedage etiquetas palabrasclave etichette parolechiave trefwoorden labels etykiety "
    "slowakluczowe palavraschave nyckelord taggar stitky klicovaslova タグ キーワード",
    "victim_identified": "victimidentified opferidentifiziert opferbekannt victimeidentifiee victimaidentificada "
    "vittimaidentificata slachtoffergeidentificeerd ofiarazidentyfikowana ofiaraustalona vitimaidentificada "
    "offeridentifierat offeridentifierad obetidentifikovana obetztotoznena",
    "offender_identified": "offenderidentified taeteridentifiziert tateridentifiziert taeterbekannt taterbekannt "
    "auteuridentifie autoridentificado agresoridentificado autoreidentificato dadergeidentificeerd "
    "sprawcazidentyfikowany sprawcaustalony agressoridentificado garningsmanidentifierad pachatelidentifikovan "
    "pachatelztotoznen",
    "distributed": "distributed isdistributed verbreitet diffuse diffusee distribue distribuido difundido "
    "distribuito diffuso verspreid rozpowszechniany rozpowszechnione rozpowszechniane divulgado "
    "distribuerad distribuerat spridd spritt sireno rozsirovano sirene",
    "suspected": "suspected issuspected verdacht verdaechtig verdachtig suspecte suspect sospechoso sospecha "
    "sospetto verdacht vermoed podejrzany podejrzenie suspeito suspeita misstankt podezreni podezrele",
    "self_generated": "selfgenerated selbsterstellt selbstgeneriert selbstgemacht selbstaufnahme selbst autoproduit "
    "autogenere autogenerado autoproducido autoprodotto autogenerato zelfgemaakt zelfgegenereerd "
    "samodzielniewytworzone wlasnorecznie wytworzonesamodzielnie autoproduzido autogerado autoproduzida "
    "sjalvgenererad sjalvgenererat egenproducerat vlastnivyroby vlastniporizeni",
}

FIELD_BY_NAME: Final = {
    name: field for field, names in reversed(list(_NAMES.items())) for name in map(plain, (*names.split(), field))
}
"""The field that a column of this name, as `plain` gives it, holds; of two, the one that stands first above."""

_ANY_VALUE: Final = frozenset(("value", "wert", "valor", "valeur", "valore", "waarde", "wartosc", "varde", "hodnota"))
# A digest's name inside a longer one, such as `MD5-Hash der Datei`; the longer before what it contains.
_INSIDE: Final = (("sha256", "sha256"), ("sha1", "sha1"), ("md5", "md5"), ("photodna", "photodna"), ("pdq", "pdq"))


def fields_of(name: str) -> Iterator[str]:
    """Yield what a column of this name may hold, the likeliest first."""
    key = plain(name)
    if field := FIELD_BY_NAME.get(key):
        yield field
        if key in _ANY_VALUE:
            yield "value"
        return
    yield from (field for part, field in _INSIDE if part in key)
    first_words = [plain(w) for w in name.replace("_", " ").replace("-", " ").split()]
    for w in first_words[:1]:
        if len(w) > 2 and (field := FIELD_BY_NAME.get(w)) and field not in {"digest", "algorithm"}:  # noqa: PLR2004
            yield field


def unread(cells: Iterable[str]) -> list[str]:
    """Return the distinct cells that are no word for yes, no or unknown, as they stand."""
    others: dict[str, None] = {}
    for cell in cells:
        try:
            read_word(cell)
        except KeyError:
            others[cell] = None
    return list(others)
