"""What a camera and a disk can do together, measured before a recording.

camera_trial  rate and queue          ┐
disk_trial    cubes of its own frames ├──▶  measuring  ──▶  plan: sizes, margins, what is promised
memory                                ┘
"""
