"""Excel workbooks, written by hand for tests."""

import io
import zipfile
from xml.sax.saxutils import escape

__all__ = ["DATE", "LENGTH", "TIME", "sheet", "workbook"]

DATE, TIME, LENGTH, MOMENT = 1, 2, 3, 4  # styles of cells
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
HIDDEN = ' state="hidden"'
STYLES = f"""<styleSheet xmlns="{MAIN}"><numFmts>
<numFmt numFmtId="164" formatCode="[h]:mm:ss"/>
<numFmt numFmtId="165" formatCode="dd\\.mm\\.yyyy hh:mm"/></numFmts>
<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>
<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="20"/>
<xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>
</styleSheet>"""


def sheet(rows: list[list[object]], after: str = "") -> str:
    """Return the part of a sheet. A cell is None, a number, a text, a boolean, or a pair of number and style;
    a text that begins with `<` is a cell as it stands."""
    found = ""
    for i, row in enumerate(rows, 1):
        cells = ""
        for j, value in enumerate(row):
            place = f'r="{chr(ord("A") + j)}{i}"'
            match value:
                case None:
                    continue
                case bool():
                    cells += f'<c {place} t="b"><v>{int(value)}</v></c>'
                case (number, style):
                    cells += f'<c {place} s="{style}"><v>{number}</v></c>'
                case str() if value.startswith("<"):
                    cells += value.replace("PLACE", place)
                case str():
                    cells += f'<c {place} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
                case _:
                    cells += f"<c {place}><v>{value}</v></c>"
        found += f'<row r="{i}">{cells}</row>'
    return f'<?xml version="1.0"?><worksheet xmlns="{MAIN}"><sheetData>{found}</sheetData>{after}</worksheet>'


def workbook(sheets: dict[str, str], texts: str = "", hidden: str = "", properties: str = "") -> bytes:
    """Return the bytes of a workbook of these sheets, of shared texts, and perhaps a hidden sheet."""
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{k}" r:id="r{k}"{HIDDEN * (name == hidden)}/>'
        for k, name in enumerate(sheets, 1)
    )
    kinds = [(f"r{k}", "worksheet", f"worksheets/sheet{k}.xml") for k in range(1, len(sheets) + 1)]
    kinds += [("s", "styles", "/xl/styles.xml"), ("t", "sharedStrings", "sharedStrings.xml")]
    relations = "".join(
        f'<Relationship Id="{id}" Type="{RELATIONS}/{kind}" Target="{part}"/>' for id, kind, part in kinds
    )
    parts = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}">{properties}'
        f"<sheets>{names}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships>{relations}</Relationships>",
        "xl/styles.xml": STYLES,
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">{texts}</sst>',
        **{f"xl/worksheets/sheet{k}.xml": part for k, part in enumerate(sheets.values(), 1)},
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()
