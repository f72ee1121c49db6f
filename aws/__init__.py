"""The only boto3 of the program: queue, buckets and fleet as the tiers need them, nothing more.

A class here takes ready-made clients, so that importing opens nothing and tests choose the cloud.
"""
