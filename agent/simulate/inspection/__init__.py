"""Rendered inspections, second version: a tunnel's ring seen from a cart, a bridge's facade seen from the air.

`settings` says what there is to set, `rig` where the camera is, `lining` and `facade` what it looks at, `fixtures` what
hangs in front, `telemetry` what the carrier's sensors say, `flight` puts frames together with their truth, and
`close_ups` cuts training pictures from the same surfaces.
"""
