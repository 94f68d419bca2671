"""How the device is: what systemd and Prometheus are told while it runs, and what `crack-agent check` looks at."""
