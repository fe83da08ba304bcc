"""One image's explanation as a page: a single HTML file that loads nothing from outside.

Pictures are PNG data URIs, enlarged without smoothing; curves are inline SVG. The page follows the
reader's light or dark setting, and its table becomes a list of cards on a narrow screen. The same
explanation gives the same bytes.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from string import Template

import numpy as np
from PIL import Image

from patronus.explain.image import Explained, Moved
from patronus.explain.statistics import Statistics

SMALL, LARGE = 128, 256  # CSS pixels a picture is wide, in the table and above it
# Dark violet to yellow, even in lightness and told apart by the colour-blind: viridis at 0, 1/4 ...
RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])
CURVE = (300, 128)  # width and height of a curve in CSS pixels
MARGIN = (8, 84, 30, 34)  # of its axes: top, right, bottom, left
LEAD = {True: "These are the prototypes whose raising or lowering changes this image most",
        False: "These are the prototypes that are most active in this one"}
LINE = 12  # least distance of two labels in pixels


def page(found: Explained, usual: Statistics | None, title: str, facts: Sequence[str]) -> str:
    """The HTML text. `title` names the image; `facts` are the lines of the small print.

    `usual`: the activations of a reference set, where they are known.
    """
    rows = "\n".join(row(found, usual, p) for p in range(len(found.dims)))
    error = np.abs(found.image.astype(int) - found.recon).mean()
    return PAGE.substitute(
        title=escape(title),
        image=picture(found.image, f"{title}, as the model sees it", LARGE),
        recon=picture(found.recon, f"{title}, reconstructed from its code and noise", LARGE),
        error=f"{error:.1f}", rows=rows, head=head(usual), lead=LEAD[usual is not None],
        facts="\n".join(f"<p>{escape(line)}</p>" for line in facts))


def head(usual: Statistics | None) -> str:
    """The header cells, each with what its column shows."""
    order = f"activation s, compared with {escape(usual.over)}; largest change of the image first" \
        if usual else "activation s, largest first; how unusual it is is not known"
    cells = [("Prototype", order),
             ("Where", "the patch that matches it best, and the match at every position "
                       "(dark: far, bright: near)")]
    if usual:
        cells.append(("What", "the image with s raised to its largest usual value, and lowered to "
                              "its least; the box is where it then matches best. Last, where it is "
                              "known, the training patch nearest to the prototype"))
    cells.append(("When", "s of the model’s estimate, from noise (left) to image (right)"))
    return "".join(f'<th scope="col">{name}<small>{text}</small></th>' for name, text in cells)


def row(found: Explained, usual: Statistics | None, p: int) -> str:
    """The table's row of the p-th prototype."""
    name = f"prototype {found.dims[p]}"
    lines = [("image", float(found.s[p]))]
    if usual:
        lines.append(("median", float(usual.usual[found.dims[p]])))
    cells = [("Prototype", numbers(found, usual, p)), ("Where", where(found, p, name))]
    if usual:
        cells.append(("What", what(found, usual, p, name)))
    cells.append(("When", curve(found.times, found.trace[:, p], lines, f"{name}: s over time")))
    return "<tr>" + "".join(f'<td data-label="{label}">{inside}</td>'
                            for label, inside in cells) + "</tr>"


def numbers(found: Explained, usual: Statistics | None, p: int) -> str:
    """Number, activation, and how unusual it is."""
    text = f'<strong>{found.dims[p]}</strong><p>s = {found.s[p]:.2f}</p>'
    if not usual:
        return text
    j, s = found.dims[p], np.zeros_like(usual.v_max)
    s[j] = found.s[p]
    share, z = usual.share_below(s)[j], usual.unusual(s)[j]
    told = "more than in any" if share >= 1 else "less than in any" if share <= 0 else \
        f"more than in {min(99, max(1, round(100 * share)))} %"
    return text + f"<p>z = {z:+.1f}</p><p>{told} of the reference images</p>"


def where(found: Explained, p: int, name: str) -> str:
    """The image with the box, and the map of the activation."""
    shape, box = found.image.shape[1:], found.boxes[p]
    return pictures(
        picture(found.image, f"the image, boxed where {name} fires", SMALL, box),
        chart(found.maps[p], found.frame, shape, f"map of how {name} fires", box))


def what(found: Explained, usual: Statistics, p: int, name: str) -> str:
    """The image with the prototype raised, and lowered, and its nearest training patch."""
    cells = [moved(found, found.raised, p, f"{name} raised", "raised"),
             moved(found, found.lowered, p, f"{name} lowered", "lowered")]
    patch = usual.nearest.get(int(found.dims[p]))
    if patch is not None:
        cells.append(f"<div>{picture(patch, f'the training patch nearest to {name}', SMALL // 2)}"
                     "<p>nearest in training</p></div>")
    return f'<div class="pictures">{"".join(cells)}</div>'


def moved(found: Explained, now: Moved, p: int, name: str, verb: str) -> str:
    """One moved image with its box, and in words what was asked and what came of it."""
    asked, got, old = now.requested[p], now.realised[p], found.s[p]
    return (f"<div>{picture(now.images[p], f'the image with {name}', SMALL, now.boxes[p])}"
            f"<p>{verb} from {old:.2f} to {asked:.2f}: the new image has {got:.2f}"
            f"{verdict(old, asked, got)}. It changed by {now.change[p]:.1f} gray levels.</p></div>")


def verdict(old: float, asked: float, got: float) -> str:
    """How far an image obeyed, in words."""
    way = asked - old
    if abs(way) < 0.01:
        return " (it had that value)"
    gone = (got - old) / way
    return ", the other way" if gone < 0 else ", hardly moved" if gone < 0.1 else \
        f", {min(gone, 9.99):.0%} of the way"


def pictures(*parts: str) -> str:
    return f'<div class="pictures">{"".join(parts)}</div>'


def picture(image: np.ndarray, alt: str, width: int, box: np.ndarray | None = None) -> str:
    """An image, uint8 (C, H, W), `width` CSS pixels wide, and a box drawn over it."""
    high, wide = image.shape[1:]
    kind = ' class="enlarged"' if wide < width else ""
    inside = f'<img{kind} src="{uri(image)}" alt="{escape(alt)}" style="width:100%">'
    return framed(inside, (high, wide), width, box)


def chart(values: np.ndarray, frame: Sequence[float], shape: tuple[int, int], alt: str,
          box: np.ndarray) -> str:
    """A map (h, w) in colours, at its place in an otherwise empty image of `shape` (H, W)."""
    y0, x0, y1, x1 = frame
    high, wide = shape
    style = (f"position:absolute;left:{x0 / wide:.2%};top:{y0 / high:.2%};"
             f"width:{(x1 - x0) / wide:.2%};height:{(y1 - y0) / high:.2%}")
    inside = (f'<img class="enlarged" src="{uri(coloured(values))}" alt="{escape(alt)}" '
              f'style="{style}">')
    return framed(inside, shape, SMALL, box)


def framed(inside: str, shape: tuple[int, int], width: int, box: np.ndarray | None) -> str:
    """A ground of the proportions of `shape` (H, W); the box has a pale rim to be seen anywhere."""
    high, wide = shape
    over = ""
    if box is not None:
        y0, x0, y1, x1 = (float(edge) for edge in box)
        corners = f'x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}"'
        over = (f'<svg viewBox="0 0 {wide} {high}" aria-hidden="true"><rect class="rim" {corners}/>'
                f'<rect class="box" {corners}/></svg>')
    return (f'<span class="picture" style="width:{width}px;aspect-ratio:{wide}/{high}">'
            f"{inside}{over}</span>")


def coloured(values: np.ndarray) -> np.ndarray:
    """A map (h, w) as colours, uint8 (3, h, w), from its least value to its largest."""
    values = values.astype(float)
    level = (values - values.min()) / (np.ptp(values) or 1)
    at = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(level, at, channel) for channel in RAMP.T]).round().astype(np.uint8)


def uri(image: np.ndarray) -> str:
    """An image, uint8 (C, H, W) with C = 1 or 3, as a PNG data URI."""
    held = io.BytesIO()
    Image.fromarray(np.moveaxis(image, 0, -1).squeeze(-1) if image.shape[0] == 1
                    else np.ascontiguousarray(np.moveaxis(image, 0, -1))).save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def curve(times: np.ndarray, values: np.ndarray, lines: Sequence[tuple[str, float]],
          alt: str) -> str:
    """Values (S,) over falling times (S,), with labelled levels, as inline SVG."""
    (width, height), (top, right, bottom, left) = CURVE, MARGIN
    levels = [*values.tolist(), *(level for _, level in lines)]
    ticks = nice(min(levels), max(levels))
    low, high = min(ticks[0], *levels), max(ticks[-1], *levels)
    last = (int(times.max()) + 99) // 100 * 100  # 999 is the last of 1000 times

    def x(t: float) -> float:
        return left + (width - left - right) * (1 - t / last)

    def y(value: float) -> float:
        return top + (height - top - bottom) * (1 - (value - low) / (high - low))

    def across(kind: str, value: float) -> str:
        return (f'<line class="{kind}" x1="{left}" x2="{width - right}" y1="{y(value):.1f}" '
                f'y2="{y(value):.1f}"/>')

    parts = [across("grid", v)
             + f'<text x="{left - 5}" y="{y(v) + 3.5:.1f}" text-anchor="end">{v:g}</text>'
             for v in ticks]
    parts += [f'<text x="{x(t):.1f}" y="{height - bottom + 13}" text-anchor="middle">{t}</text>'
              for t in (last, last // 2, 0)]
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 4}" text-anchor="middle">'
                 "time t</text>")
    for (name, level), at in zip(lines, apart([y(level) for _, level in lines]), strict=True):
        parts.append(across("level", level) + f'<text x="{width - right + 5}" y="{at + 3.5:.1f}">'
                     f"{name} {level:.2f}</text>")
    points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times, values, strict=True))
    return (f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(alt)}"><title>{escape(alt)}</title>{"".join(parts)}'
            f'<polyline points="{points}"/></svg>')


def apart(places: list[float]) -> list[float]:
    """At most two heights of labels, moved so that they do not overlap."""
    if len(places) < 2 or abs(places[0] - places[1]) >= LINE:
        return places
    middle, sign = sum(places) / 2, 1 if places[0] > places[1] else -1
    return [middle + sign * LINE / 2, middle - sign * LINE / 2]


def nice(low: float, high: float) -> list[float]:
    """About three round numbers between low and high."""
    raw = max(high - low, 1e-6) / 3
    power = 10 ** np.floor(np.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [round(float(k * step), 9) for k in np.arange(first, last + 1)] or [low]


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title: what, where, when</title>
<style>
:root { color-scheme: light dark; --ink: #222; --faint: #666; --line: #ddd; --ground: #eee;
  --paper: #fff; --mark: #0173b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --faint: #999; --line: #3a3a3a;
  --ground: #2a2a2a; --paper: #181818; --mark: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
.lead { color: var(--faint); max-width: 42rem; margin-bottom: 1.5rem; }
.pair { display: flex; gap: 1.25rem; margin-bottom: 2rem; }
figure { margin: 0; flex: 0 1 256px; min-width: 0; }
figcaption, footer, small { color: var(--faint); font-size: .85rem; line-height: 1.4; }
.picture { position: relative; display: block; max-width: 100%; background: var(--ground);
  overflow: hidden; }
.picture img { display: block; }
.picture svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.enlarged { image-rendering: pixelated; }
.rim, .box { fill: none; vector-effect: non-scaling-stroke; }
.rim { stroke: #fff; stroke-width: 4; }
.box { stroke: #0173b2; stroke-width: 2; }
.pictures { display: flex; gap: .5rem; }
.pictures > * { flex: 0 1 auto; min-width: 0; }
.pictures div p { max-width: 128px; font-size: .8rem; line-height: 1.3; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .9rem 1rem .9rem 0;
  border-top: 1px solid var(--line); }
th { border-top: 0; font-weight: 600; }
th small { display: block; font-weight: 400; }
td { font-variant-numeric: tabular-nums; font-size: .9rem; }
td strong { font-size: 1.6rem; line-height: 1; color: var(--mark); }
@media (min-width: 64.01rem) {
  th:nth-child(2) { width: 272px; }
  th:nth-child(3):not(:last-child) { width: 352px; }
  th:last-child { min-width: 300px; padding-right: 0; }
}
.curve { display: block; width: 100%; max-width: 26rem; height: auto; overflow: visible; }
.curve text { font-size: 10.5px; fill: var(--faint); }
.curve polyline { fill: none; stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; }
.curve .grid { stroke: var(--line); }
.curve .level { stroke: var(--faint); stroke-dasharray: 3 3; }
footer { border-top: 1px solid var(--line); padding-top: 1rem; }
footer p { max-width: 48rem; }
@media (max-width: 64rem) {
  table, thead, tbody, tr, th, td { display: block; width: auto; }
  tbody tr { border-top: 1px solid var(--line); padding: 1rem 0; }
  th, td { border: 0; padding: .4rem 0; }
  td:not(:first-child)::before { content: attr(data-label); display: block; color: var(--faint);
    font-size: .8rem; }
}
</style>
</head>
<body>
<main>
<h1>What Patronus sees in $title</h1>
<p class="lead">The model describes an image by how well its patches match learned prototypes.
$lead: where they match, what they draw, and when they appear as the image forms out of noise.</p>
<div class="pair">
<figure>$image<figcaption>the image, as the model sees it</figcaption></figure>
<figure>$recon<figcaption>its reconstruction; mean error $error of 255 gray levels</figcaption>
</figure>
</div>
<table>
<thead><tr>$head</tr></thead>
<tbody>
$rows
</tbody>
</table>
<footer>
$facts
</footer>
</main>
</body>
</html>
""")
