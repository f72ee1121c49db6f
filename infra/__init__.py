"""The CloudFormation template of the deployment on AWS, and the code that deploys and deletes its stack."""
