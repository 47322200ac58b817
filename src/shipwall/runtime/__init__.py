"""From events to alerts.

Takes: rule files and events. Gives: alerts that say why they fired.
Never: I/O, clocks.
"""
