"""The agent's own page: what an inspector leaves open during a flight, and opens again on its record.

`server` answers, `guard` says to whom, `flight` reads a record that may still grow, `feed` tells what is new in it,
`live` holds the newest picture. The page itself lies in `page/`, with no build step and no address outside this device.
"""
