"""Access to AWS: the only package that uses boto3.

Classes are given ready-made clients, so that an import opens no connection and tests choose the cloud.
"""
