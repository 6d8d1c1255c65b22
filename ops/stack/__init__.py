# SPDX-License-Identifier: Apache-2.0
"""The local stack: broker, registry, ZooKeeper and a Flink cluster on this machine, under one supervisor.

layout ─► parts ─► render ─► supervisor        what runs, written down, then run
ports, processes, health                       what is on the machine
flink, submit                                  the cluster's jobs
lifecycle                                      up and down: all of it in order
"""
