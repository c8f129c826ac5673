"""Nonstop recording: the camera runs in a separate process, which the user's process monitors.

`plan` has the validated arguments, `run` the user's side, `loop` the recording process, `messages` what they send each
other, `space` the check of disk space; `joint` what a recording has in common with others that record together.

Events: `event_plan` has the arguments, `event_watch` polls the condition in the user's process (`channel_conditions`
for texts, `inside` for polygons, both by the values of `readings`), `events` decides in the recording process.
"""
