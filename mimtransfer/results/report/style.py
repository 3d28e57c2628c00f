"""Style sheet and script of the report; both stand in the file, so that it needs nothing else."""

# Okabe and Ito's colours, told apart by colour-blind readers too; a ninth row starts again with dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c8c8c")

CSS = """
:root { --ink: #1d232b; --soft: #5b6673; --line: #d9dee4; --paper: #fff; --tint: #f4f6f8; --best: #e3f1e8;
        --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #9aa5b1; --line: #39424c; --paper: #14181d; --tint: #1c2229; --best: #173a2a;
          --link: #7db7f0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 86rem; background: var(--paper); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.2rem 0 .5rem; }
p.lead, nav, .soft { color: var(--soft); }
nav a { margin-right: 1rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.wide { overflow-x: auto; }
table.results { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.results th, .results td { padding: .4rem .6rem; text-align: right; vertical-align: top; white-space: nowrap;
                           border-bottom: 1px solid var(--line); }
.results thead th { vertical-align: bottom; font-weight: 600; }
.results thead tr.protocols th { text-align: center; white-space: normal; max-width: 16rem; font-size: .85rem;
                                 border: 0; padding-bottom: 0; }
.results thead tr.protocols th span { display: block; font-weight: 400; color: var(--soft); }
.results thead tr:last-child th { border-bottom: 2px solid var(--ink); }
.results tbody th { text-align: left; font-weight: 600; position: sticky; left: 0; background: var(--paper);
                     white-space: normal; min-width: 9rem; }
.results td a { color: inherit; }
.results td small, .results th small { display: block; color: var(--soft); font-weight: 400; font-size: .78rem; }
.results td small a { color: var(--link); }
.results td.best { background: var(--best); }
.results td.best > a { font-weight: 700; }
.results tr.baseline th, .results tr.baseline td { border-bottom: 1px solid var(--soft); }
.results tr.published th, .results tr.published td { background: var(--tint); font-style: italic; font-weight: 400; }
.results tr.heading th { position: static; font-weight: 400; font-size: .8rem; color: var(--soft); padding-top: 1rem; }
ul.notes { color: var(--soft); font-size: .85rem; padding-left: 1.2rem; }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em; }
.legend > span { margin-right: 1.2rem; white-space: nowrap; font-size: .85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; }
figcaption { font-size: .85rem; color: var(--soft); }
figcaption b { color: var(--ink); font-weight: 600; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 11px; font-family: inherit; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .label { fill: var(--ink); }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; }
.pictures figure { max-width: 100%; }
.pictures img { display: block; max-width: 100%; image-rendering: pixelated; border: 1px solid var(--line); }
details { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; padding: .35rem 0; }
details:target > summary { background: var(--best); }
details dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1.2rem;
             margin: .4rem 0 1rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .82rem/1.45 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
pre { background: var(--tint); padding: .8rem; overflow-x: auto; }
footer { margin-top: 3rem; color: var(--soft); font-size: .8rem; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --tint: #f2f2f2; --best: #e6e6e6; --link: #000; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  .wide { overflow: visible; }
  .results th, .results td { padding: .25rem .4rem; font-size: 8.5pt; }
  .results tbody th { position: static; }
  .results thead { display: table-header-group; }
  .charts { grid-template-columns: repeat(3, 1fr); }
  figure, tr, summary { break-inside: avoid; }
  h2, h3, h3 + p, .legend { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

# A link into a closed part opens it; not every browser does so by itself.
SCRIPT = """
function show() {
  for (let part = document.getElementById(location.hash.slice(1)); part; part = part.parentElement)
    if (part.tagName === "DETAILS") part.open = true;
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}
addEventListener("hashchange", show);
show();
"""


def stroke(number: int) -> str:
    """Return the SVG attributes of the line of a row."""
    dashes = ("", "6 3", "2 3")[min(number // len(COLOURS), 2)]
    return f'stroke="{COLOURS[number % len(COLOURS)]}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
