"""Helpers of the tests that create, use, update and delete the CloudFormation stack on the emulator."""
