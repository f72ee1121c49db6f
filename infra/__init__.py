"""The CloudFormation stack of the deployment on AWS, and what deploys and removes it."""
