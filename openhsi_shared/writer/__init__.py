"""The spawned process that writes full slots to files, and its supervision.

`loop` runs in the child: `slot_cubes` makes cubes of slots, with `cube_channels`, `cube_marks` and `cube_references`;
`directories` are tried in turn, `late_previews` made at the end. `supervisor` and `handle` are in the parent, which
replaces writers (`replacing`) and keeps those that hang (`hung_writers`); `final_rescue` is the end. `messages` has
what both send each other.
"""
