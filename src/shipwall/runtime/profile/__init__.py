"""What an image's containers normally do: learnt from their events, then compared with.

Takes: decoded events of all replicas of one image. Gives: a profile, and anomalies that explain themselves.
Never: learns while it judges; I/O, clocks.
Start here: `acts.py` says what is compared, `learn.py` when learning ends, `judge.py` what an anomaly tells.
"""
