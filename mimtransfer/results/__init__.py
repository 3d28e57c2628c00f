"""What a run achieved and at what cost, as one `result.json` a run, and the table made from them.

    record.py       the schema, reading, writing, finding records; standard library only
    record_hook.py  RecordHook: writes the record when a run ends
    description.py  what a run is called, and where its weights began
    provenance.py   code, versions, machine, data behind it
    measurement.py  cost, metrics, learning curves
    fingerprint.py  the protocol: what must be equal in a column
    rows.py         what a table is made of: cells, columns, rows; which runs are seeds of one row
    table.py        records -> the Table; refuses mixed protocols;  compare.py: differences and tests of its rows
    render.py       Markdown, CSV, LaTeX, JSON;  report/: one HTML file
    curves/         accuracy against time: points -> when each contender reaches the baseline, picture, page
    verify.py       are the files behind a record still what they were

Fields: docs/results-format.md. Nothing is imported here.
"""
