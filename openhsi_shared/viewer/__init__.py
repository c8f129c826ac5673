"""Read-only pages and windows that show what is recorded.

The live page of a recording::

    slots           ──(read-only)──▶  tap  ──▶  feed  ──▶  page  ──▶  browser
    control socket  ──(status)──────────────────▶           waterfall, spectrum, trends, tiles

`tap` reads lines from the slots of another process; `feed` holds the data that all browsers share, including the last
lines in colour (`history`); `page` builds a document from `waterfall`, `spectrum`, `trends` and `tiles`, styled by
`theme` and `page.css`; `server` serves it on the loopback address; `live_page` is the handle of its process.
`notebook` shows the same in a cell of a notebook, `cube_viewer` is a page of one cube. `served_page` is what the
handles of pages have in common.

`ring_viewer` shows the frames of a `SharedRing`, in a browser (`ring_page`) or a window (`matplotlib_window`).
`ring_frames` selects the frame that is shown, `ring_messages` are the messages between both processes; `demo` shows it.

The page of a recorder of rows asks the recorder's process for its state::

    recorder  ──(when asked)──▶  recorder_state  ──▶  recorder_page  ──▶  browser
              ◀────────────(start, stop, clear, save, shift)────────────

`recorder_viewer` is its handle, `recorder_parts` are its pictures and boxes, `recorder_messages` what is sent.
"""

from typing import TYPE_CHECKING

from openhsi_shared.lazy_names import lazy_names

if TYPE_CHECKING:
    from openhsi_shared.viewer.recorder_viewer import view_recorder

__all__ = ["view_recorder"]

__getattr__, __dir__ = lazy_names(__name__, {"viewer.recorder_viewer": "view_recorder"})
