"""Pages and windows that look at what is recorded, and never touch it.

The live page of a recording::

    slots           ──(read-only)──▶  tap  ──▶  feed  ──▶  page  ──▶  browser
    control socket  ──(status)──────────────────▶           waterfall, spectrum, trends, tiles

`tap` reads lines out of the slots of another process, `feed` keeps what all browsers share, with the last lines in
colour (`history`); `page` puts a document together from `waterfall`, `spectrum`, `trends` and `tiles`, in the looks of
`theme` and `page.css`; `server` serves it on the loopback address, `live_page` is the handle of its process.
`notebook` is the same in a cell of a notebook, `cube_viewer` a page of one cube.

`ring_viewer` shows the frames of a `SharedRing`, in a browser (`ring_page`) or a window (`matplotlib_window`): with
`ring_frames`, which frame is shown, and `ring_messages`, what both processes say to each other. `demo` shows it.
"""
