# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plots as SVG, made of text: no library is needed to draw a few bars and lines."""
from xml.sax.saxutils import escape

COLOURS = ["#3465a4", "#c17d11", "#4e9a06", "#cc0000", "#75507b"]


def _page(path, width, height, title, parts):
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">\n'
                   f'<rect width="100%" height="100%" fill="white"/>\n<text x="10" y="20" font-size="15">{escape(title)}</text>\n'
                   + "\n".join(parts) + "\n</svg>\n")


def bars(path, title, values, mark=None):
    """values: (label, number). mark: where a line is drawn across."""
    top, row, left, wide = 40, 18, 330, 420
    most = max([v for _, v in values] + [mark or 0, 1e-9])
    parts = []
    for i, (label, value) in enumerate(values):
        y = top + i * row
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{value / most * wide:.1f}" height="{row - 5}" fill="{COLOURS[0]}"/>')
        parts.append(f'<text x="{left + value / most * wide + 5:.1f}" y="{y + 12}">{value:.2f}</text>')
    if mark:
        x = left + mark / most * wide
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + len(values) * row}" stroke="{COLOURS[3]}" stroke-dasharray="4 3"/>')
    _page(path, left + wide + 70, top + len(values) * row + 20, title, parts)
