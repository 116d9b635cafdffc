"""Large pictures row by row, from the top down: a panel is never wholly in memory where its format allows that.

| format | held in memory |
|---|---|
| PNG, not interlaced | a few hundred rows |
| TIFF (none, LZW, deflate, PackBits, JPEG; stripped or tiled) | one of its strips, or one row of its tiles |
| JPEG, BMP, WebP, interlaced PNG | the whole picture: their decoder gives no rows |
"""

from taktwatch.rows.bands import Band, Rows, open_rows, pieces

__all__ = ["Band", "Rows", "open_rows", "pieces"]
