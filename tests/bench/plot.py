# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plots as SVG, made of text: no library is needed to draw a few bars."""
import math
from xml.sax.saxutils import escape

COLOURS = {True: "#4e9a06", False: "#cc0000", None: "#3465a4"}


def ratios(path, title, values):
    """values: (label, ratio, aim or None). Bars to the left and right of 1, as long as the logarithm; the aim is a tick, and decides the colour."""
    top, row, left, wide = 40, 18, 470, 520
    low = min([0.1] + [v for _, ratio, aim in values for v in (ratio, aim) if v and v > 0])
    high = max([10] + [ratio for _, ratio, _ in values])
    scale = wide / (math.log(high) - math.log(low))

    def at(value):
        return left + (math.log(max(value, low)) - math.log(low)) * scale

    bottom = top + len(values) * row
    parts = []
    for mark in (0.01, 0.1, 0.5, 1, 2, 10, 100, 1000):
        if low <= mark <= high:
            parts.append(f'<line x1="{at(mark):.1f}" y1="{top - 4}" x2="{at(mark):.1f}" y2="{bottom}" stroke="#bbb"/>'
                         f'<text x="{at(mark):.1f}" y="{top - 6}" text-anchor="middle" fill="#777">{mark:g}</text>')
    for i, (label, ratio, aim) in enumerate(values):
        y = top + i * row
        colour = COLOURS[None if aim is None else ratio >= aim]
        begin, end = sorted((at(1), at(ratio)))
        parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
                     f'<rect x="{begin:.1f}" y="{y + 3}" width="{max(end - begin, 1):.1f}" height="{row - 5}" fill="{colour}"/>'
                     f'<text x="{max(end, at(1)) + 5:.1f}" y="{y + 13}">{ratio:.2f}</text>')
        if aim:
            parts.append(f'<line x1="{at(aim):.1f}" y1="{y + 1}" x2="{at(aim):.1f}" y2="{y + row - 1}" stroke="black" stroke-width="2"/>')
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 70}" height="{bottom + 20}" font-family="sans-serif" '
                   f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n<text x="10" y="18" font-size="15">{escape(title)}</text>\n'
                   + "\n".join(parts) + "\n</svg>\n")
