"""SVG drawings of measurements, by hand: the same numbers give the same bytes."""

import html
import math

COLOURS = ("#1b3a4b", "#c0392b", "#2f6f7e", "#8e6c1f", "#6aa6a1", "#7a3b69", "#505050")
FONT = 'font-family="sans-serif" font-size="12"'


def _document(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
            f'<rect width="{width}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def _text(x, y, text, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {extra}>{html.escape(str(text))}</text>'


def short(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bars(title, unit, rows):
    """Horizontal bars from 0. `rows`: (label, value, least, most); the last two draw the spread."""
    left, width, step = 230, 760, 24
    most = max((r[3] for r in rows), default=1) or 1
    scale = (width - left - 90) / most
    parts = [_text(10, 20, f"{title} ({unit})", extra='font-weight="bold"')]
    for i, (label, value, low, high) in enumerate(rows):
        y = 36 + i * step
        parts.append(_text(left - 8, y + 13, label, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="16" fill="{COLOURS[0 if not i else 2]}"/>')
        if high > low:
            parts.append(f'<line x1="{left + low * scale:.1f}" x2="{left + high * scale:.1f}" y1="{y + 8}" y2="{y + 8}" '
                         'stroke="#c0392b" stroke-width="2"/>')
        parts.append(_text(left + max(value, high) * scale + 6, y + 13, short(value)))
    return _document(width, 46 + len(rows) * step, parts)


def _decades(ys):
    """(place of y between 0 and 1, [where lines are drawn]) with a logarithmic y."""
    low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)) + 1e-9)
    high = max(high, low + 1)
    return (lambda y: (math.log10(y) - low) / (high - low)), [10.0 ** decade for decade in range(low, high + 1)]


def _fifths(ys):
    most = max(ys) or 1
    return (lambda y: y / most), [most * i / 5 for i in range(6)]


def lines(title, x_name, y_name, series, log=True):
    """Lines, with a logarithmic y or one from 0. `series`: {label: [(x, y)]}, x rising; logarithmic: y > 0."""
    left, top, width, height = 70, 36, 760, 420
    right, bottom = width - 150, height - 46
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    place, marks = _decades(ys) if log else _fifths(ys)
    span = (max(xs) - min(xs)) or 1

    def at(x, y):
        return left + (x - min(xs)) / span * (right - left), bottom - place(y) * (bottom - top)

    parts = [_text(10, 20, title, extra='font-weight="bold"'), _text((left + right) / 2, height - 8, x_name, "middle"),
             _text(left, top - 4, y_name)]
    for mark in marks:
        _, y = at(min(xs), mark)
        parts += [f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>', _text(left - 6, y + 4, f"{mark:g}", "end")]
    for x in sorted(set(xs)):
        parts.append(_text(at(x, marks[-1])[0], bottom + 16, f"{x:g}", "middle"))
    for i, (label, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (at(x, y) for x, y in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(right + 8, at(*points[-1])[1] + 4, label, extra=f'fill="{colour}"'))
    return _document(width, height, parts)


def flame(title, root):
    """A flame graph. `root`: (name, total, [children of the same kind]), children's totals within the parent's."""
    width, row = 960, 20

    def depth(node):
        return 1 + max((depth(child) for child in node[2]), default=0)

    rows = depth(root)
    height = 34 + rows * row
    parts = [_text(10, 20, title, extra='font-weight="bold"')]

    def draw(node, x, w, level):
        name, total, children = node
        y = height - (level + 1) * row
        share = total / root[1] * 100 if root[1] else 0
        colour = f"hsl({20 + sum(map(ord, name)) % 35},70%,{60 + level % 3 * 6}%)"
        parts.append(f'<g><title>{html.escape(name)}: {share:.2f} %</title><rect x="{x:.1f}" y="{y}" width="{max(w, 0.3):.1f}" '
                     f'height="{row - 1}" fill="{colour}"/>')
        if w > 7 * (len(name) + 7):
            parts.append(_text(x + 4, y + 14, f"{name} {share:.1f} %"))
        parts.append("</g>")
        for child in sorted(children, key=lambda c: (-c[1], c[0])):
            part = w * child[1] / total if total else 0
            draw(child, x, part, level + 1)
            x += part

    draw(root, 10, width - 20, 0)
    return _document(width, height, parts)
