"""A model of large clusters around Fanfold's own planner and stories: nothing decides twice.

Time is a number and the cluster a heap of events, but the `Run`, its story and the planner are the
real ones, so what they decide for 10,000 workers is what they would decide there. What things cost
was measured on real clusters of two workers (`costs`), where the model is also held to account
(`accounts`). `python -m tests.benchmarks.simulate_cluster` plays it.
"""
