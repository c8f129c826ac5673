"""Read-only pages and windows that show what is recorded.

The live page of a recording::

    slots           ──(read-only)──▶  tap  ──▶  feed  ──▶  page  ──▶  browser
    control socket  ──(status)──────────────────▶           waterfall, spectrum, trends, tiles

`tap` reads lines from the slots of another process; `feed` holds the data that all browsers share, including the last
lines in colour (`history`); `page` builds a document from `waterfall`, `spectrum`, `trends` and `tiles`, styled by
`theme` and `page.css`; `server` serves it on the loopback address; `live_page` is the handle of its process.
`notebook` shows the same in a cell of a notebook, `cube_viewer` is a page of one cube.

`ring_viewer` shows the frames of a `SharedRing`, in a browser (`ring_page`) or a window (`matplotlib_window`).
`ring_frames` selects the frame that is shown, `ring_messages` are the messages between both processes; `demo` shows it.
"""
