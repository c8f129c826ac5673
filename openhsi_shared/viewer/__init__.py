"""Pages and windows that look at what is recorded, and never touch it.

The live page of a recording::

    slots ──(read-only)──▶  tap  ──▶  feed  ──▶  page  ──▶  browser
    door  ──(words)──────────────────▶           waterfall, spectrum, trends, tiles

`tap` reads lines out of the slots of another process, `feed` keeps what all browsers share, with the last lines in
colour (`history`); `page` puts a document together from `waterfall`, `spectrum`, `trends` and `tiles`, in the looks of
`theme` and `page.css`; `server` serves it on the loopback address, `live_page` is the handle of its process.
"""
